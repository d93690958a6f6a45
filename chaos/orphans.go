package main

import (
	"context"
	"strconv"
	"time"

	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/keys"

	"github.com/redis/go-redis/v9"
)

// orphans watches the leases of asynq until ctx ends. It returns the snapshots of a namespace whose lease expired, with
// the time of its last extension. The worker was lost within five seconds of it.
func orphans(ctx context.Context, rdb redis.UniversalClient, ns keys.Namespace) map[string]time.Time {
	lost := make(map[string]time.Time)
	for pause(ctx, time.Second) {
		// A lease has whole seconds, and a worker may be a little late.
		until := strconv.FormatInt(time.Now().Add(-2*time.Second).Unix(), 10)
		for _, queue := range []string{ns.QueueBulk(), ns.QueueInteractive()} {
			// An error means that Redis is unavailable on purpose.
			leases, _ := rdb.ZRangeByScoreWithScores(ctx, asynqx.Prefix(queue)+"lease",
				&redis.ZRangeBy{Min: "-inf", Max: until}).Result()
			for _, l := range leases {
				id := l.Member.(string)
				if _, known := lost[id]; !known {
					lost[id] = time.Unix(int64(l.Score), 0).Add(-asynqx.LeaseFor)
				}
			}
		}
	}
	return lost
}

package asynqx

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// orphanBatch bounds the active tasks that one scan checks. All workers together have far fewer in progress.
	orphanBatch = 10_000
	// orphanExpired is how long ago the new lease of an orphan expired: asynq allows 30 s for clock skew.
	orphanExpired = 31 * time.Second
)

var (
	//go:embed orphans.lua
	orphansSource string
	orphansScript = redis.NewScript(orphansSource)
)

// Orphans recovers the active tasks of a queue that have no lease. asynq recovers only tasks with an expired lease, so
// an orphan and its id would be stuck forever. See https://github.com/hibiken/asynq/issues/1144.
type Orphans struct {
	Redis redis.UniversalClient
	Queue string
	seen  []string // orphans in the previous scan
}

// Recover gives an expired lease to each orphan that it finds for the second time in a row, and returns their ids.
// asynq's own recovery then retries them. A worker that still runs such a task extends the lease within five seconds.
// If the recovery is faster, the task runs once more and the ledger prevents a second request.
//
// asynq's keys have times in Unix seconds by the clocks of its clients.
func (o *Orphans) Recover(ctx context.Context) (leased []string, err error) {
	prefix := Prefix(o.Queue)
	args := []any{time.Now().Add(-orphanExpired).Unix(), orphanBatch}
	for _, id := range o.seen {
		args = append(args, id)
	}
	reply, err := orphansScript.Run(ctx, o.Redis, []string{prefix + "active", prefix + "lease"}, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("recover tasks without a lease in queue %s: %w", o.Queue, err)
	}
	ids := func(v any) (all []string) {
		for _, id := range v.([]any) {
			all = append(all, id.(string))
		}
		return all
	}
	o.seen = ids(reply[1])
	return ids(reply[0]), nil
}

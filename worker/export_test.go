package worker

import (
	"context"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/asynqx"
)

// Orphans returns a function that recovers the orphans of a queue, so that a test need not wait for the interval
// between two scans.
func Orphans(rdb redis.UniversalClient, queue string) func(context.Context) ([]string, error) {
	return (&asynqx.Orphans{Redis: rdb, Queue: queue}).Recover
}

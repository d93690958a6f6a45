package worker

import (
	"context"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/asynqx"
)

// Orphans returns what looks for orphans in a queue, so that a test need not
// wait for the time between two looks.
func Orphans(rdb redis.UniversalClient, queue string) func(context.Context) ([]string, error) {
	return (&asynqx.Orphans{Redis: rdb, Queue: queue}).Recover
}

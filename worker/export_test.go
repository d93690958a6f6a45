package worker

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Orphans returns what looks for orphans in a queue, so that a test need not
// wait for the time between two looks.
func Orphans(rdb redis.UniversalClient, queue string) func(context.Context) ([]string, error) {
	return (&orphans{rdb: rdb, queue: queue}).look
}

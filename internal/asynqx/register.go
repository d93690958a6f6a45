package asynqx

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Register adds an empty queue to asynq's registry and reports whether it is new. asynq adds a queue only when its
// first task is enqueued. Until then its inspector returns an error that the queue does not exist.
func Register(ctx context.Context, c redis.UniversalClient, queue string) (bool, error) {
	n, err := c.SAdd(ctx, "asynq:queues", queue).Result()
	return n > 0, err
}

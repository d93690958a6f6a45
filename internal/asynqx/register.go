package asynqx

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Register makes a queue known to asynq before anything has been on it, and reports whether it is new. asynq itself
// does so when the first task is enqueued; until then its inspector answers that there is no such queue.
func Register(ctx context.Context, c redis.UniversalClient, queue string) (bool, error) {
	n, err := c.SAdd(ctx, "asynq:queues", queue).Result()
	return n > 0, err
}

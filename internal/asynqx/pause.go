package asynqx

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Pause is a paused queue, for example by asynqmon. No server takes tasks from it.
type Pause struct {
	Queue string
	Since time.Time // by the clock of the client that paused it; zero: not a time
}

// Paused returns the paused ones of queues, in the same order. Errors are those of Redis.
func Paused(ctx context.Context, c redis.UniversalClient, queues ...string) (all []Pause, err error) {
	for _, queue := range queues {
		since, err := c.Get(ctx, Prefix(queue)+"paused").Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read whether queue %s is paused: %w", queue, err)
		}
		p := Pause{Queue: queue}
		if seconds, err := strconv.ParseInt(since, 10, 64); err == nil {
			p.Since = time.Unix(seconds, 0).UTC()
		}
		all = append(all, p)
	}
	return all, nil
}

// Unpause resumes the queues. Errors are those of Redis.
func Unpause(ctx context.Context, c redis.UniversalClient, queues ...string) error {
	for _, queue := range queues {
		if err := c.Del(ctx, Prefix(queue)+"paused").Err(); err != nil {
			return fmt.Errorf("unpause queue %s: %w", queue, err)
		}
	}
	return nil
}

package rdb

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// awaitFor bounds one blocking call to Redis. A longer one saves round trips.
const awaitFor = 9 * time.Second

// AwaitElement waits until a list has an element, for at most nine seconds, and reports whether it has one. Any number
// of processes can wait for one list, and an element wakes all of them. The list does not change: BLMOVE moves the last
// element to its own place. Errors are those of the context and of Redis. If Redis does not allow BLMOVE (ACL, or a
// version before 6.2), the caller must poll.
//
// A blocking call cannot be canceled. When ctx ends, it continues in the background until it times out or the client is
// closed.
func AwaitElement(ctx context.Context, c redis.UniversalClient, list string) (found bool, err error) {
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*awaitFor)
		defer cancel()
		done <- c.BLMove(ctx, list, list, "RIGHT", "RIGHT", awaitFor).Err()
	}()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case err = <-done:
	}
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, err
}

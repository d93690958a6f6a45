package rdb

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// awaitFor is how long one wait in Redis lasts. It ends as soon as there is
// something; a longer one only costs fewer round trips.
const awaitFor = 9 * time.Second

// AwaitElement waits until a list has something in it, at most nine seconds, and
// reports whether it has. Any number of processes may wait for one list; all
// of them are told. It changes nothing: it has Redis move the last element, as
// soon as there is one, to where it is. Errors: the context's, or Redis' where
// it cannot do that (its ACL, a version before 6.2) and the caller has to poll.
//
// A wait cannot be broken off: when ctx has ended it goes on by itself, until
// the client is closed at the latest.
func AwaitElement(ctx context.Context, c redis.UniversalClient, list string) (some bool, err error) {
	got := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*awaitFor)
		defer cancel()
		got <- c.BLMove(ctx, list, list, "RIGHT", "RIGHT", awaitFor).Err()
	}()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case err = <-got:
	}
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, err
}

package worker

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	// checkEvery is asynq's TaskCheckInterval: how often a lane looks for a
	// task while it cannot wait for one in Redis, as in a paused queue.
	checkEvery = 50 * time.Millisecond
	// awaitFor is how long one wait in Redis lasts, and so how much longer an
	// idle worker may take to end.
	awaitFor = time.Second
)

// lane is an asynq server of one queue. Each queue has its own, so that a slot
// is never taken by the less urgent one; which of them gets the next permit is
// the limiter's to say. It takes tasks until ctx ends.
func (w *Worker) lane(ctx context.Context, queue string) *asynq.Server {
	return asynq.NewServerFromRedisClient(&waiting{w.o.Redis, ctx, w, queue}, asynq.Config{
		Concurrency: w.o.Concurrency,
		Queues:      map[string]int{queue: 1},
		// No error of ours spends a retry or archives a task: attempts are
		// counted in the ledger.
		IsFailure:                func(error) bool { return false },
		RetryDelayFunc:           retryDelay,
		TaskCheckInterval:        checkEvery,
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          w.o.CallTimeout + 5*time.Second,
		Logger:                   asynqLog{w.log},
		LogLevel:                 asynq.WarnLevel,
	})
}

// waiting is the Redis of one lane. asynq has no blocking pop: where it finds
// its queue empty it sleeps and looks again. Here that look lasts until there
// is something. So an idle worker takes a task in about a millisecond, whoever
// has put it there (any asynq client, a retry, asynq's own recovery), and asks
// once a second instead of twenty times. The signal is the list itself and no
// message beside it, so none can be lost.
type waiting struct {
	redis.UniversalClient
	ctx    context.Context // of the lane
	worker *Worker
	queue  string
}

// EvalSha knows asynq's dequeue by its keys.
func (c *waiting) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	pending := asynqKeys(c.queue) + "pending"
	dequeue := len(keys) == 4 && keys[0] == pending && strings.HasSuffix(keys[1], ":paused")
	for woken := false; ; {
		cmd := c.UniversalClient.EvalSha(ctx, sha, keys, args...)
		if !dequeue || woken || !errors.Is(cmd.Err(), redis.Nil) {
			// Woken for nothing: others were faster, or the queue is paused.
			// asynq sleeps then.
			return cmd
		}
		var err error
		if woken, err = c.worker.await(c.ctx, pending); err != nil {
			return cmd
		}
	}
}

// asynqKeys is the prefix of asynq's keys of one queue.
func asynqKeys(queue string) string { return "asynq:{" + queue + "}:" }

// await waits until a list in Redis has something in it, at most awaitFor, and
// reports whether it has. Any number of processes may wait for one list; all
// of them are told. It changes nothing: it has Redis move the last element, as
// soon as there is one, to where it is. Errors: the context's, or Redis' where
// it cannot do that (its ACL, a version before 6.2) and the caller has to poll.
//
// A wait cannot be broken off. Run ends after those of its own.
func (w *Worker) await(ctx context.Context, list string) (some bool, err error) {
	got := make(chan error, 1)
	w.waits.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*awaitFor)
		defer cancel()
		got <- w.o.Redis.BLMove(ctx, list, list, "RIGHT", "RIGHT", awaitFor).Err()
	})
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

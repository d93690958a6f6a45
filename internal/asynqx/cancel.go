package asynqx

import (
	"context"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	// cancelChannel is asynq's channel of requests to cancel a running task, for example from asynqmon. A message is
	// the task id.
	cancelChannel = "asynq:cancel"
	// cancelPing is the interval of health checks of an idle subscription. asynq uses three seconds.
	cancelPing = time.Minute
)

// Cancels cancels running tasks of this process on request. One subscription replaces that of each asynq server. The
// zero value is ready to use. It is safe for concurrent use.
type Cancels struct{ running sync.Map } // task id -> context.CancelFunc

// Handler wraps next: the context of a task ends when the task is canceled.
func (c *Cancels) Handler(next asynq.Handler) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		id, _ := asynq.GetTaskID(ctx)
		c.running.Store(id, cancel)
		defer c.running.Delete(id)
		return next.ProcessTask(ctx, t)
	})
}

// Run receives cancel requests until ctx ends.
func (c *Cancels) Run(ctx context.Context, r redis.UniversalClient) {
	subscription := r.Subscribe(ctx, cancelChannel)
	defer subscription.Close()
	requests := subscription.Channel(redis.WithChannelHealthCheckInterval(cancelPing))
	for {
		select {
		case <-ctx.Done():
			return
		case request := <-requests:
			if cancel, running := c.running.Load(request.Payload); running {
				cancel.(context.CancelFunc)()
			}
		}
	}
}

// Subscribe blocks until the server stops and returns a closed subscription: Cancels has the only open one.
func (t *taking) Subscribe(ctx context.Context, _ ...string) *redis.PubSub {
	<-t.ctx.Done()
	subscription := t.UniversalClient.Subscribe(ctx)
	subscription.Close()
	return subscription
}

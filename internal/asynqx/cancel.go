package asynqx

import (
	"context"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	// cancelChannel is asynq's channel of requests to cancel a running task, as asynqmon's button sends them. A message
	// is the id of the task.
	cancelChannel = "asynq:cancel"
	// cancelPing is how often an idle subscription is checked. asynq would check it every three seconds.
	cancelPing = time.Minute
)

// Cancels cancels the running tasks of this process on request. It replaces the subscription that each asynq server
// would have. The zero value is ready, and safe for concurrent use.
type Cancels struct{ running sync.Map } // id of a task -> context.CancelFunc

// Handler returns next with a context that ends when the task is canceled.
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

// Run receives requests until ctx ends.
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

// Subscribe returns when the server stops, with a closed subscription: see Cancels.
func (t *taking) Subscribe(ctx context.Context, _ ...string) *redis.PubSub {
	<-t.ctx.Done()
	subscription := t.UniversalClient.Subscribe(ctx)
	subscription.Close()
	return subscription
}

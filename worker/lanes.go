package worker

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/gate"
	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/lease"
	"tiwsnap/ratelimit"
	"tiwsnap/tasks"
)

const (
	// checkEvery is asynq's TaskCheckInterval: how often a lane looks for a
	// task while it cannot wait for one in Redis, as in a paused queue.
	checkEvery = 50 * time.Millisecond
	// cleanEvery is asynq's JanitorInterval. No task of ours is kept when it has
	// ended, so there is nothing to clean.
	cleanEvery = time.Hour
	// takeAhead is for how long the permits will last that the tasks in hand
	// wait for, beside a Redis: far from it permits are reserved sooner. What is
	// taken sooner is out of reach for other processes.
	takeAhead = 50 * time.Millisecond
	// takeFor is how long a process may take the rooms of batches after it has looked
	// last. The fewer do, the fewer round trips each room costs: more permits are
	// reported and reserved in one, and fewer are waited for in vain.
	takeFor = 3 * time.Second
	// mostTakers bounds the servers of one lane.
	mostTakers = 8
)

// lane is one queue of snapshots as one process takes from it. Each queue has
// its own, so that a slot is never taken by the less urgent one; which of them
// gets the next permit is the limiter's to say.
type lane struct {
	worker   *Worker
	queue    string
	priority ratelimit.Priority
	lease    *lease.Lease  // to take tasks under; nil: none is needed
	waiting  atomic.Int64  // tasks in hand without a permit
	fewer    chan struct{} // has something in it after that has gone down
}

func (w *Worker) lane(queue string, priority ratelimit.Priority) *lane {
	l := &lane{worker: w, queue: queue, priority: priority, fewer: make(chan struct{}, 1)}
	if priority == ratelimit.Bulk {
		l.lease = w.lease("bulk", takeFor)
	}
	return l
}

// lease is this process' share in what a few do for all.
func (w *Worker) lease(what string, lasts time.Duration) *lease.Lease {
	return &lease.Lease{Redis: w.o.Redis, Namespace: w.o.Namespace, Name: what, Owner: w.name, Duration: lasts}
}

// leave gives a lease back while the worker stops.
func (w *Worker) releaseLease(ctx context.Context, l *lease.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = l.Release(ctx) // else it runs out
}

// takers is how many asynq servers a lane needs, 1 to mostTakers: each takes
// one task in a round trip to Redis, and all together are to be half as fast
// again as the rate limit.
func (w *Worker) takers(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	trip := time.Second
	// The first one has to connect, and a busy machine is no distance.
	for first, n := time.Now(), 0; n < 3 || time.Since(first) < 500*time.Millisecond; n++ {
		began := time.Now()
		if w.o.Redis.Ping(ctx).Err() != nil {
			return 1 // Redis is away, and how far it will be nobody knows
		}
		if trip = min(trip, time.Since(began)); trip < 10*time.Millisecond {
			return 1 // much work is taken by more processes
		}
	}
	return min(max(1, int(math.Ceil(1.5*trip.Seconds()*float64(w.o.RateLimit)))), mostTakers)
}

// servers are the asynq servers of the lane. They take tasks until ctx ends.
func (l *lane) servers(ctx context.Context, takers int) (all []*asynq.Server) {
	for i := range takers {
		all = append(all, l.server(ctx, (l.worker.o.Concurrency+takers-1)/takers, i == 0))
	}
	return all
}

// forwardEvery is asynq's DelayedTaskCheckInterval: how often each process looks
// for tasks whose retry is due: one server for all queues of snapshots.
func (w *Worker) forwardEvery() time.Duration { return max(5*w.o.Second, checkEvery) }

// server is one asynq server of the lane. The first one of bulk also does what is
// done once in each process.
func (l *lane) server(ctx context.Context, concurrency int, first bool) *asynq.Server {
	w := l.worker
	taker := asynqx.Taker{Queue: l.queue, Wanted: l.wanted, Types: []string{tasks.TypeSnapshot},
		Foreign: w.logForeign(l.queue)}
	forward := time.Hour
	if first && l.priority == ratelimit.Bulk {
		forward, taker.Forwards = w.forwardEvery(), []string{w.o.Namespace.QueueInteractive()}
	}
	return asynq.NewServerFromRedisClient(taker.Redis(ctx, w.o.Redis), asynq.Config{
		Concurrency: concurrency,
		Queues:      map[string]int{l.queue: asynqx.Weight},
		// No error of ours archives a task: attempts are counted in the ledger.
		IsFailure:                isFailure,
		RetryDelayFunc:           retryDelay,
		TaskCheckInterval:        checkEvery,
		DelayedTaskCheckInterval: forward,
		JanitorInterval:          cleanEvery,
		ShutdownTimeout:          w.o.CallTimeout + 5*time.Second,
		Logger:                   asynqx.Log(w.log),
		LogLevel:                 asynq.WarnLevel,
	})
}

// foreign returns what names each type of task once that others have put on a
// queue of ours.
func (w *Worker) logForeign(queue string) func(kind, id string) {
	return func(kind, id string) {
		if _, named := w.foreign.LoadOrStore(queue+" "+kind, true); !named {
			w.log.Warn("a task of another application is on a queue of tiwsnap's, and stays there for it",
				"queue", queue, "type", kind, "id", id, "fix", "let that application use a queue of its own")
		}
	}
}

// permit waits for a permit to make the task of a snapshot.
func (l *lane) permit(ctx context.Context, p tasks.SnapshotPayload) (*gate.Permit, error) {
	l.waiting.Add(1)
	defer func() {
		l.waiting.Add(-1)
		l.poke()
	}()
	began := time.Now()
	permit, err := l.worker.gate.Create(ctx, p.ID, p.Room.SdkAppId, l.priority)
	if err == nil {
		l.worker.metrics.acquired(actionCreate, l.priority, began)
	}
	return permit, err
}

// poke makes one of the servers look whether another task is wanted.
func (l *lane) poke() {
	select {
	case l.fewer <- struct{}{}:
	default:
	}
}

// wanted waits until there is a use for another task, or ctx ends.
func (l *lane) wanted(ctx context.Context) {
	most := func() int64 {
		create := l.worker.create
		return int64(max(1, (takeAhead+3*create.Distance()).Seconds()*float64(create.Limit())))
	}
	for l.waiting.Load() >= most() {
		select {
		case <-l.fewer:
		case <-ctx.Done():
			return
		}
	}
	l.await(ctx)
	l.poke() // the next one
}

// await waits until this process is one of those that take tasks, or ctx ends. As
// many do as are needed for the rate limit where every call takes as long as it
// may, and one more, so that the death of one is no pause. Who reached nobody with
// its last call stands back: it may be the network here.
func (l *lane) await(ctx context.Context) {
	if l.lease == nil {
		return
	}
	w := l.worker
	n := 2 + w.create.Limit()*int(w.o.CallTimeout/time.Second)/w.o.Concurrency
	if w.gate.Unreached() {
		w.releaseLease(ctx, l.lease)
		pause(ctx, w.o.Second) // others take it
	}
	for {
		held, turn, err := l.lease.Acquire(ctx, n)
		if held || err != nil || !pause(ctx, turn) {
			return
		}
	}
}

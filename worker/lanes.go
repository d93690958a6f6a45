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
	// checkInterval is asynq's TaskCheckInterval: how often a lane polls for a
	// task when it cannot block on the queue, for example a paused one.
	checkInterval = 50 * time.Millisecond
	// janitorInterval is asynq's JanitorInterval. It is long, as ended tasks are
	// deleted at once and leave nothing to clean.
	janitorInterval = time.Hour
	// takeAhead limits the tasks that wait for a permit, as time at the rate limit.
	// Round trips to Redis are added. Other processes cannot run these tasks, so
	// the limit is low.
	takeAhead = 50 * time.Millisecond
	// bulkLease is how long a process may take bulk tasks after it last renewed its
	// lease. Fewer processes need fewer round trips per room: each reserves and
	// reports more permits at once, and fewer wait for permits that they do not get.
	bulkLease = 3 * time.Second
	// maxTakers limits the asynq servers of one lane.
	maxTakers = 8
)

// lane takes tasks from one queue of snapshots in one process. Each queue has a lane of
// its own, so that bulk tasks never occupy the slots of interactive ones. The limiter
// decides which lane gets the next permit.
type lane struct {
	worker   *Worker
	queue    string
	priority ratelimit.Priority
	lease    *lease.Lease  // required to take tasks; nil: not required
	waiting  atomic.Int64  // taken tasks that wait for a permit
	wake     chan struct{} // receives after waiting has decreased
}

func (w *Worker) lane(queue string, priority ratelimit.Priority) *lane {
	l := &lane{worker: w, queue: queue, priority: priority, wake: make(chan struct{}, 1)}
	if priority == ratelimit.Bulk {
		l.lease = w.lease("bulk", bulkLease)
	}
	return l
}

// lease returns a lease for work that a few processes do for all.
func (w *Worker) lease(name string, ttl time.Duration) *lease.Lease {
	return &lease.Lease{Redis: w.o.Redis, Namespace: w.o.Namespace, Name: name, Owner: w.name, Duration: ttl}
}

// releaseLease releases a lease, also while the worker stops.
func (w *Worker) releaseLease(ctx context.Context, l *lease.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = l.Release(ctx) // on an error it expires
}

// takers returns how many asynq servers a lane needs, 1 to maxTakers. Each takes one
// task per round trip to Redis, and together they must be 1.5 times as fast as the rate
// limit.
func (w *Worker) takers(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	roundTrip := time.Second
	// The shortest ping counts: the first has to connect, and a busy machine delays some.
	for first, n := time.Now(), 0; n < 3 || time.Since(first) < 500*time.Millisecond; n++ {
		began := time.Now()
		if w.o.Redis.Ping(ctx).Err() != nil {
			return 1 // Redis is down, its round trip is unknown
		}
		if roundTrip = min(roundTrip, time.Since(began)); roundTrip < 10*time.Millisecond {
			return 1 // close to Redis one server is enough
		}
	}
	return min(max(1, int(math.Ceil(1.5*roundTrip.Seconds()*float64(w.o.RateLimit)))), maxTakers)
}

// servers returns the asynq servers of the lane. They take tasks until ctx ends.
func (l *lane) servers(ctx context.Context, takers int) (all []*asynq.Server) {
	for i := range takers {
		all = append(all, l.server(ctx, (l.worker.o.Concurrency+takers-1)/takers, i == 0))
	}
	return all
}

// forwardInterval returns asynq's DelayedTaskCheckInterval: how often each process looks
// for tasks whose retry is due. One server does it for all queues of snapshots.
func (w *Worker) forwardInterval() time.Duration { return max(5*w.o.Second, checkInterval) }

// server returns one asynq server of the lane. The first server of the bulk lane also
// queues due retries for the whole process.
func (l *lane) server(ctx context.Context, concurrency int, first bool) *asynq.Server {
	w := l.worker
	taker := asynqx.Taker{Queue: l.queue, Wanted: l.wanted, Types: []string{tasks.TypeSnapshot},
		Foreign: w.logForeign(l.queue)}
	forward := time.Hour
	if first && l.priority == ratelimit.Bulk {
		forward, taker.Forwards = w.forwardInterval(), []string{w.o.Namespace.QueueInteractive()}
	}
	return asynq.NewServerFromRedisClient(taker.Redis(ctx, w.o.Redis), asynq.Config{
		Concurrency: concurrency,
		Queues:      map[string]int{l.queue: asynqx.Weight},
		// The ledger counts attempts, so asynq must not archive a task after errors.
		IsFailure:                isFailure,
		RetryDelayFunc:           retryDelay,
		TaskCheckInterval:        checkInterval,
		DelayedTaskCheckInterval: forward,
		JanitorInterval:          janitorInterval,
		ShutdownTimeout:          w.o.CallTimeout + 5*time.Second,
		Logger:                   asynqx.Log(w.log),
		LogLevel:                 asynq.WarnLevel,
	})
}

// logForeign returns a callback that warns once per type about tasks that another
// application has put on a queue of tiwsnap.
func (w *Worker) logForeign(queue string) func(kind, id string) {
	return func(kind, id string) {
		if _, named := w.foreign.LoadOrStore(queue+" "+kind, true); !named {
			w.log.Warn("a queue of tiwsnap has a task of another application, which is left there",
				"queue", queue, "type", kind, "id", id, "fix", "configure that application to use another queue")
		}
	}
}

// permit waits for a permit to send the request of a snapshot.
func (l *lane) permit(ctx context.Context, p tasks.SnapshotPayload) (*gate.Permit, error) {
	l.waiting.Add(1)
	defer func() {
		l.waiting.Add(-1)
		l.signal()
	}()
	began := time.Now()
	permit, err := l.worker.gate.Create(ctx, p.ID, p.Room.SdkAppId, l.priority)
	if err == nil {
		l.worker.metrics.acquired(actionCreate, l.priority, began)
	}
	return permit, err
}

// signal wakes one server that waits in wanted.
func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// wanted waits until the lane needs another task, or until ctx ends.
func (l *lane) wanted(ctx context.Context) {
	limit := func() int64 {
		create := l.worker.create
		return int64(max(1, (takeAhead+3*create.Distance()).Seconds()*float64(create.Limit())))
	}
	for l.waiting.Load() >= limit() {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		}
	}
	l.awaitLease(ctx)
	l.signal() // wake the next server
}

// awaitLease waits until this process holds a lease to take tasks, or until ctx ends.
// There are enough leases to reach the rate limit even if every call takes CallTimeout.
// One more covers the death of a process. If the last call found no connection, this
// process releases its lease, as its own network may be down.
func (l *lane) awaitLease(ctx context.Context) {
	if l.lease == nil {
		return
	}
	w := l.worker
	n := 2 + w.create.Limit()*int(w.o.CallTimeout/time.Second)/w.o.Concurrency
	if w.gate.Unreached() {
		w.releaseLease(ctx, l.lease)
		pause(ctx, w.o.Second) // another process takes it
	}
	for {
		held, turn, err := l.lease.Acquire(ctx, n)
		if held || err != nil || !pause(ctx, turn) {
			return
		}
	}
}

package worker

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/gate"
	"tiwsnap/ratelimit"
	"tiwsnap/tasks"
)

const (
	// checkEvery is asynq's TaskCheckInterval: how often a lane looks for a
	// task while it cannot wait for one in Redis, as in a paused queue.
	checkEvery = 50 * time.Millisecond
	// forwardEvery is asynq's DelayedTaskCheckInterval: how often each process
	// looks for tasks whose retry is due. It costs four round trips.
	forwardEvery = 5 * time.Second
	// cleanEvery is asynq's JanitorInterval. No task of ours is kept when it has
	// ended, so there is nothing to clean.
	cleanEvery = time.Hour
	// awaitFor is how long one wait in Redis lasts.
	awaitFor = 5 * time.Second
	// beatenMost bounds how long a lane waits that has found its queue empty
	// again and again when it was woken: others are faster, and the more there
	// are the longer.
	beatenLeast, beatenMost = 50 * time.Millisecond, time.Second
	// refusedFor is how long a lane takes nothing after Redis has refused to
	// give it a task: asynq would ask again at once.
	refusedFor = 500 * time.Millisecond
	// takeAhead is for how long the permits will last that the tasks in hand
	// wait for, beside a Redis: far from it permits are reserved sooner. What is
	// taken sooner is out of reach for other processes.
	takeAhead = 50 * time.Millisecond
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
	waiting  atomic.Int64  // tasks in hand without a permit
	fewer    chan struct{} // has something in it after that has gone down
}

func (w *Worker) lane(queue string, priority ratelimit.Priority) *lane {
	return &lane{worker: w, queue: queue, priority: priority, fewer: make(chan struct{}, 1)}
}

// takers is how many asynq servers a lane needs, 1 to mostTakers: each takes
// one task in a round trip to Redis, and all together are to be half as fast
// again as the rate limit.
func (w *Worker) takers(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	trip := time.Second
	for range 3 { // the first one has to connect
		began := time.Now()
		if w.o.Redis.Ping(ctx).Err() != nil {
			return 1 // Redis is away, and how far it will be nobody knows
		}
		trip = min(trip, time.Since(began))
	}
	if trip < 10*time.Millisecond {
		return 1 // much work is taken by more processes
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

// server is one asynq server of the lane. The first one also does what is done
// once in each process.
func (l *lane) server(ctx context.Context, concurrency int, first bool) *asynq.Server {
	w := l.worker
	forward := forwardEvery
	if !first {
		forward = time.Hour
	}
	return asynq.NewServerFromRedisClient(&waiting{UniversalClient: w.o.Redis, ctx: ctx, worker: w, queue: l.queue, wanted: l.wanted}, asynq.Config{
		Concurrency: concurrency,
		Queues:      map[string]int{l.queue: 1},
		// No error of ours spends a retry or archives a task: attempts are
		// counted in the ledger.
		IsFailure:                func(error) bool { return false },
		RetryDelayFunc:           retryDelay,
		TaskCheckInterval:        checkEvery,
		DelayedTaskCheckInterval: forward,
		JanitorInterval:          cleanEvery,
		ShutdownTimeout:          w.o.CallTimeout + 5*time.Second,
		Logger:                   asynqLog{w.log},
		LogLevel:                 asynq.WarnLevel,
	})
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
	l.poke() // the next one
}

// waiting is the Redis of one asynq server with one queue. asynq has no
// blocking pop: where it finds its queue empty it sleeps and looks again. Here
// that look lasts until there is something. So an idle worker takes a task in
// about a millisecond, whoever has put it there (any asynq client, a retry,
// asynq's own recovery), and asks once a second instead of twenty times. The
// signal is the list itself and no message beside it, so none can be lost.
type waiting struct {
	redis.UniversalClient
	ctx    context.Context // of the server
	worker *Worker
	queue  string
	wanted func(context.Context) // waits until another task is wanted
	empty  bool                  // as it was seen last
	beaten int                   // times in a row that it was empty on waking
}

// EvalSha knows asynq's scripts by their keys.
func (c *waiting) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	prefix := asynqKeys(c.queue)
	run := func() *redis.Cmd { return c.UniversalClient.EvalSha(ctx, sha, keys, args...) }
	if slices.Equal(keys, []string{prefix + "pending", prefix + "paused", prefix + "active", prefix + "lease"}) {
		if cmd := c.dequeue(run); cmd != nil {
			return cmd
		}
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(redis.Nil) // asynq sleeps then
		return cmd
	}
	cmd := run()
	c.handBack(cmd, keys, args)
	return cmd
}

// Eval is what asynq runs where Redis does not know a script yet.
func (c *waiting) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	cmd := c.UniversalClient.Eval(ctx, script, keys, args...)
	c.handBack(cmd, keys, args)
	return cmd
}

// dequeue runs asynq's script when there is a task, or returns nil.
func (c *waiting) dequeue(run func() *redis.Cmd) *redis.Cmd {
	if c.wanted != nil {
		c.wanted(c.ctx)
	}
	for woken := false; c.ctx.Err() == nil; {
		if !c.empty {
			cmd := run()
			err := cmd.Err()
			c.empty = errors.Is(err, redis.Nil)
			if err != nil && !c.empty && !redis.HasErrorPrefix(err, "NOSCRIPT") {
				pause(c.ctx, refusedFor)
			}
			switch {
			case !c.empty:
				c.beaten = 0
				return cmd
			case woken:
				// Woken for nothing: others were faster, or the queue is paused.
				pause(c.ctx, jitter(min(beatenLeast<<c.beaten, beatenMost)))
				c.beaten = min(c.beaten+1, 10)
				return cmd
			}
		}
		var err error
		if woken, err = c.worker.await(c.ctx, asynqKeys(c.queue)+"pending"); err != nil {
			c.empty = false
			return nil
		}
		c.empty = !woken
	}
	return nil
}

// handBack makes asynq run a task again at once that a server which stops has
// not begun. asynq itself has just put it among those to be retried, where it
// would lie until another server looks, up to a second later.
func (c *waiting) handBack(script *redis.Cmd, keys []string, args []any) {
	if c.ctx.Err() == nil || script.Err() != nil || len(keys) < 4 || keys[3] != asynqKeys(c.queue)+"retry" {
		return
	}
	id, _ := args[0].(string)
	if at, ok := args[2].(int64); ok && at <= time.Now().Unix() {
		_ = c.worker.inspector.RunTask(c.queue, id) // where it fails, asynq does it after all
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
// A wait cannot be broken off: when ctx has ended it goes on by itself, until
// the client is closed at the latest.
func (w *Worker) await(ctx context.Context, list string) (some bool, err error) {
	got := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*awaitFor)
		defer cancel()
		got <- w.o.Redis.BLMove(ctx, list, list, "RIGHT", "RIGHT", awaitFor).Err()
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

package schedule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
)

const (
	// tickClaim is the lease of a worker on a schedule. If the worker dies, another one makes the tick after it.
	tickClaim = 10 * time.Second
	// tickPoll is the longest time between two polls of a schedule, and tickPollSoon the time while another worker
	// makes its tick.
	tickPoll     = 10 * time.Second
	tickPollSoon = time.Second
	// A source that fails is read again after tickRetry. The delay doubles up to tickRetryMax. Retries end at the next
	// tick, but not before tickTries and not after tickGiveUp.
	tickRetry    = 2 * time.Second
	tickRetryMax = time.Minute
	tickGiveUp   = 10 * time.Minute
	tickTries    = 30 * time.Second
	// tickRetryFull is the delay between two attempts while Redis accepts no new work.
	tickRetryFull = 15 * time.Second
	// maxCause bounds the stored reason of a failure, in characters.
	maxCause = 500
)

// Clock makes the ticks of schedules. Each tick makes a batch. Every worker has a clock.
type Clock struct {
	name      string // unique among all processes
	schedules []Schedule
	store     *Store
	producer  *enqueue.Client
	ledger    *ledger.Ledger
	log       *slog.Logger
}

// NewClock returns a clock for the schedules of a namespace in rdb.
func NewClock(rdb redis.UniversalClient, ns keys.Namespace, all []Schedule, log *slog.Logger) *Clock {
	return &Clock{
		name: rand.Text(), schedules: all, store: NewStore(rdb, ns), producer: enqueue.New(rdb, ns),
		ledger: ledger.New(rdb, ledger.Options{Namespace: ns}), log: log,
	}
}

// Run makes ticks until ctx ends.
func (c *Clock) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, s := range c.schedules {
		all.Go(func() { c.run(ctx, s) })
	}
	all.Wait()
}

func (c *Clock) run(ctx context.Context, s Schedule) {
	for wait := time.Duration(0); pause(ctx, wait); {
		var err error
		if wait, err = c.tick(ctx, s); err != nil {
			if ctx.Err() == nil {
				c.log.Warn("cannot make the tick of a schedule, retrying", "schedule", s.Name, "err", err)
			}
			wait = tickPollSoon
		}
	}
}

// tick makes the next tick of a schedule if it is due, and returns the time until the next poll. No tick makes two
// batches: the id of the batch is made of the schedule and the tick, so several workers make the same one. A wrong
// clock does no harm, because the time is that of Redis and a settled tick is never made again.
func (c *Clock) tick(ctx context.Context, s Schedule) (wait time.Duration, err error) {
	state, now, err := c.store.Begin(ctx, s)
	if err != nil {
		return 0, err
	}
	if wait := waitUntilDue(s, state, now); wait > 0 {
		return wait, nil
	}
	mine, err := c.store.claim(ctx, s, c.name, tickClaim)
	if err != nil || !mine {
		return tickPollSoon, err
	}
	release := c.renewClaim(ctx, s)
	defer release()
	// Another worker may have made the tick before this claim.
	if state, now, err = c.store.Begin(ctx, s); err != nil {
		return 0, err
	}
	if wait := waitUntilDue(s, state, now); wait > 0 {
		return wait, nil
	}
	return 0, c.makeTick(ctx, s, state, now)
}

// renewClaim renews the claim on a schedule until release is called.
func (c *Clock) renewClaim(ctx context.Context, s Schedule) (release func()) {
	renewing, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(renewing, tickClaim/4) {
			c.store.extend(renewing, s, tickClaim) // on failure another worker may make the tick, too
		}
	}()
	return func() {
		cancel()
		<-done
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		c.store.release(last, s) // on failure the claim expires
	}
}

// waitUntilDue returns the time until a tick is due, at most tickPoll.
func waitUntilDue(s Schedule, state State, now time.Time) time.Duration {
	if !state.Paused.IsZero() {
		return tickPoll
	}
	due, missed := s.due(state.Last, begun(state), now)
	next := s.Spec.Next(now)
	switch t := state.Trying; {
	case t != nil && len(due) > 0 && due[0].Equal(t.Tick):
		next = t.RetryAt
	case len(due) > 0 || len(missed) > 0:
		return 0
	}
	if next.IsZero() {
		return tickPoll
	}
	return min(tickPoll, next.Sub(now))
}

// begun returns the tick that is being retried, or zero.
func begun(state State) time.Time {
	if state.Trying == nil {
		return time.Time{}
	}
	return state.Trying.Tick
}

// makeTick makes the first tick that is due. It settles the tick or records that it must be retried.
func (c *Clock) makeTick(ctx context.Context, s Schedule, state State, now time.Time) error {
	due, missed := s.due(state.Last, begun(state), now)
	o := Outcome{At: now, Missed: len(missed)}
	if t := state.Trying; t != nil && t.Tick.After(state.Last) && (len(due) == 0 || !due[0].Equal(t.Tick)) {
		// A later tick is due by now and is made instead of the one that was retried.
		o.Missed = 0
		for _, tick := range missed {
			if tick.Before(t.Tick) {
				o.Missed++
			}
		}
		o.Tick, o.Result, o.Error = t.Tick, Failed, t.Error
		return c.settleTick(ctx, s, o)
	}
	if len(due) == 0 {
		o.Tick, o.Result = missed[len(missed)-1], Late
		return c.settleTick(ctx, s, o)
	}
	o.Tick = due[0]
	id := s.BatchID(o.Tick)
	made, err := c.ledger.Batch(ctx, id)
	if err == nil {
		// A worker made the batch and died before it settled the tick.
		o.Result, o.Batch, o.Rooms = Enqueued, id, made.Total
		return c.settleTick(ctx, s, o)
	}
	if !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	if s.SkipOverlap && state.Batch != "" {
		before, err := c.ledger.Batch(ctx, state.Batch)
		switch {
		case err == nil && !before.Ended():
			o.Result, o.Error = Skipped, fmt.Sprintf("%s is still in progress", state.Batch)
			return c.settleTick(ctx, s, o)
		case err != nil && !errors.Is(err, ledger.ErrNotFound):
			return err
		}
	}

	begin := time.Now()
	batch, err := c.producer.Batch(ctx, s.Rooms(ctx, &o.Report), enqueue.BatchOptions{
		ID: id, Defaults: s.Defaults, By: "schedule " + s.Name,
	})
	now = now.Add(time.Since(begin))
	o.At = now
	if err == nil || errors.Is(err, enqueue.ErrExists) { // ErrExists: another worker made it from an earlier reading
		o.Result, o.Batch, o.Rooms = Enqueued, id, batch.Rooms
		return c.settleTick(ctx, s, o)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.retryTick(ctx, s, state, o, err, now)
}

// retryTick records that a tick failed and when to retry it, or gives up and settles it.
func (c *Clock) retryTick(ctx context.Context, s Schedule, state State, o Outcome, cause error, now time.Time) error {
	t := Trying{Tick: o.Tick, Begun: now}
	if before := state.Trying; before != nil && before.Tick.Equal(o.Tick) {
		t = *before
	}
	t.Failures++
	t.Error = fmt.Sprintf("%.*s", maxCause, cause)
	var full *enqueue.FullError
	var evicts *enqueue.EvictionError
	if t.Waits = errors.As(cause, &full) || errors.As(cause, &evicts); t.Waits {
		t.RetryAt = now.Add(tickRetryFull)
	} else {
		t.RetryAt = now.Add(min(tickRetryMax, tickRetry<<min(t.Failures-1, 10)))
		giveUp := t.Begun.Add(tickGiveUp)
		if next := s.Spec.Next(t.Tick); !next.IsZero() && next.Before(giveUp) {
			giveUp = next
		}
		if least := t.Begun.Add(tickTries); giveUp.Before(least) {
			giveUp = least
		}
		if !t.RetryAt.Before(giveUp) {
			o.Result, o.Error = Failed, t.Error
			return c.settleTick(ctx, s, o)
		}
	}
	c.log.Warn("tick failed, retrying", "schedule", s.Name, "tick", t.Tick, "at", t.RetryAt, "err", cause)
	return c.store.Try(ctx, s, t)
}

// settleTick records the end of a tick, and logs it unless another worker has.
func (c *Clock) settleTick(ctx context.Context, s Schedule, o Outcome) error {
	first, err := c.store.Settle(ctx, s, o)
	if err != nil || !first {
		return err
	}
	log := c.log.With("schedule", s.Name, "tick", o.Tick)
	if o.Missed > 0 {
		log.Warn("missed ticks are not made up", "ticks", o.Missed)
	}
	switch o.Result {
	case Enqueued:
		log.Info("tick made", "batch", o.Batch, "rooms", o.Rooms)
		if o.BadRows > 0 {
			log.Warn("bad rows left out", "rows", o.BadRows, "first", o.Reasons)
		}
	case Skipped:
		log.Warn("tick skipped", "why", o.Error)
	case Failed:
		log.Error("tick failed: nothing was enqueued", "err", o.Error)
	}
	return nil
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

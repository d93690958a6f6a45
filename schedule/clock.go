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
	// tickClaim is how long one worker has a schedule to itself after its last
	// sign of life. Then another one makes the tick.
	tickClaim = 10 * time.Second
	// tickLook is the longest time between two looks at a schedule, and
	// tickSoon the time while another worker is at it.
	tickLook = 10 * time.Second
	tickSoon = time.Second
	// A source that fails is read again after tickRetry, then after twice as
	// long, and so on up to tickRetryMax. It is tried until the next tick,
	// but for tickGiveUp at most and tickTries at the least.
	tickRetry    = 2 * time.Second
	tickRetryMax = time.Minute
	tickGiveUp   = 10 * time.Minute
	tickTries    = 30 * time.Second
	// maxCause is how much is kept of why a tick could not be made, in characters.
	maxCause = 500
	// tickWaits is the time between two tries while Redis takes no new work.
	tickWaits = 15 * time.Second
)

// Clock makes the ticks of schedules: each is a batch. Every worker has one.
type Clock struct {
	name      string // among the clocks of all processes
	schedules []Schedule
	store     *Store
	producer  *enqueue.Client
	ledger    *ledger.Ledger
	log       *slog.Logger
}

// NewClock returns a clock of these schedules in a namespace of rdb.
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
				c.log.Warn("schedule waits", "schedule", s.Name, "err", err)
			}
			wait = tickSoon
		}
	}
}

// tick makes the next tick of a schedule that is due, if any, and returns when
// to look again. A tick is one batch whoever makes it, since the schedule and
// the tick are its id. Time is what the clock of Redis says, and no tick
// is made again once it is settled: no clock that is wrong or jumps makes two
// of one.
func (c *Clock) tick(ctx context.Context, s Schedule) (wait time.Duration, err error) {
	state, now, err := c.store.Begin(ctx, s)
	if err != nil {
		return 0, err
	}
	if wait := untilDue(s, state, now); wait > 0 {
		return wait, nil
	}
	mine, err := c.store.claim(ctx, s, c.name, tickClaim)
	if err != nil || !mine {
		return tickSoon, err
	}
	release := c.keepClaim(ctx, s)
	defer release()
	// Another worker may have made it between the look and the claim.
	if state, now, err = c.store.Begin(ctx, s); err != nil {
		return 0, err
	}
	if wait := untilDue(s, state, now); wait > 0 {
		return wait, nil
	}
	return 0, c.makeTick(ctx, s, state, now)
}

// keepClaim keeps the claim on a schedule until it is released.
func (c *Clock) keepClaim(ctx context.Context, s Schedule) (release func()) {
	keeping, cancel := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		for pause(keeping, tickClaim/4) {
			c.store.extend(keeping, s, tickClaim) // if it fails another worker makes the tick too
		}
	}()
	return func() {
		cancel()
		<-kept
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		c.store.release(last, s) // if it fails it expires
	}
}

// untilDue is how long there is nothing to do, at most tickLook.
func untilDue(s Schedule, state State, now time.Time) time.Duration {
	if !state.Paused.IsZero() {
		return tickLook
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
		return tickLook
	}
	return min(tickLook, next.Sub(now))
}

// begun is the tick that is being tried, or zero.
func begun(state State) time.Time {
	if state.Trying == nil {
		return time.Time{}
	}
	return state.Trying.Tick
}

// makeTick makes the first tick that is due, and settles it or notes that it is
// to be tried again.
func (c *Clock) makeTick(ctx context.Context, s Schedule, state State, now time.Time) error {
	due, missed := s.due(state.Last, begun(state), now)
	o := Outcome{At: now, Missed: len(missed)}
	if t := state.Trying; t != nil && t.Tick.After(state.Last) && (len(due) == 0 || !due[0].Equal(t.Tick)) {
		// The tick after it is due by now, and only that will be made.
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
		// By a worker that has died right after that.
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
			o.Result, o.Error = Skipped, fmt.Sprintf("%s is still open", state.Batch)
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
	if err == nil || errors.Is(err, enqueue.ErrExists) { // another worker has just made it, of what the source was then
		o.Result, o.Batch, o.Rooms = Enqueued, id, batch.Rooms
		return c.settleTick(ctx, s, o)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.tryAgain(ctx, s, state, o, err, now)
}

// tryAgain notes that the rooms of a tick could not be enqueued, or gives up.
func (c *Clock) tryAgain(ctx context.Context, s Schedule, state State, o Outcome, cause error, now time.Time) error {
	t := Trying{Tick: o.Tick, Begun: now}
	if before := state.Trying; before != nil && before.Tick.Equal(o.Tick) {
		t = *before
	}
	t.Failures++
	t.Error = fmt.Sprintf("%.*s", maxCause, cause)
	var full *enqueue.FullError
	var evicts *enqueue.EvictionError
	if t.Waits = errors.As(cause, &full) || errors.As(cause, &evicts); t.Waits {
		t.RetryAt = now.Add(tickWaits)
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
	c.log.Warn("tick is tried again", "schedule", s.Name, "tick", t.Tick, "at", t.RetryAt, "err", cause)
	return c.store.Try(ctx, s, t)
}

// settleTick writes the end of a tick and tells of it, unless another worker has.
func (c *Clock) settleTick(ctx context.Context, s Schedule, o Outcome) error {
	first, err := c.store.Settle(ctx, s, o)
	if err != nil || !first {
		return err
	}
	log := c.log.With("schedule", s.Name, "tick", o.Tick)
	if o.Missed > 0 {
		log.Warn("ticks were missed and are not made up", "ticks", o.Missed)
	}
	switch o.Result {
	case Enqueued:
		log.Info("tick made", "batch", o.Batch, "rooms", o.Rooms)
		if o.BadRows > 0 {
			log.Warn("bad rows were left out", "rows", o.BadRows, "first", o.Reasons)
		}
	case Skipped:
		log.Warn("tick skipped", "why", o.Error)
	case Failed:
		log.Error("tick failed: nothing was enqueued", "err", o.Error)
	}
	return nil
}

// pause waits for d and reports whether ctx is still alive.
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

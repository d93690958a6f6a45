package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/schedule"
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

// cron makes the ticks of a schedule until ctx ends. Every worker runs it.
func (w *Worker) cron(ctx context.Context, s schedule.Schedule) {
	for wait := time.Duration(0); pause(ctx, wait); {
		var err error
		if wait, err = w.tick(ctx, s); err != nil {
			if ctx.Err() == nil {
				w.log.Warn("schedule waits", "schedule", s.Name, "err", err)
			}
			wait = tickSoon
		}
	}
}

// Tick makes the next tick of each schedule that is due, if any. Run does it all
// the time.
func (w *Worker) Tick(ctx context.Context) error {
	var errs []error
	for _, s := range w.o.Schedules {
		_, err := w.tick(ctx, s)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tick makes the next tick of a schedule that is due, if any, and returns when
// to look again. A tick is one batch whoever makes it, since the schedule and
// the tick are its id. Time is what the clock of Redis says, and no tick
// is made again once it is settled: no clock that is wrong or jumps makes two
// of one.
func (w *Worker) tick(ctx context.Context, s schedule.Schedule) (wait time.Duration, err error) {
	state, now, err := w.schedules.Begin(ctx, s)
	if err != nil {
		return 0, err
	}
	if wait := untilDue(s, state, now); wait > 0 {
		return wait, nil
	}
	mine, err := w.schedules.Claim(ctx, s, w.name, tickClaim)
	if err != nil || !mine {
		return tickSoon, err
	}
	release := w.keepClaim(ctx, s)
	defer release()
	// Another worker may have made it between the look and the claim.
	if state, now, err = w.schedules.Begin(ctx, s); err != nil {
		return 0, err
	}
	if wait := untilDue(s, state, now); wait > 0 {
		return wait, nil
	}
	return 0, w.makeTick(ctx, s, state, now)
}

// keepClaim keeps the claim on a schedule until it is released.
func (w *Worker) keepClaim(ctx context.Context, s schedule.Schedule) (release func()) {
	keeping, cancel := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		for pause(keeping, tickClaim/4) {
			w.schedules.Extend(keeping, s, tickClaim) // if it fails another worker makes the tick too
		}
	}()
	return func() {
		cancel()
		<-kept
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		w.schedules.Release(last, s) // if it fails it expires
	}
}

// untilDue is how long there is nothing to do, at most tickLook.
func untilDue(s schedule.Schedule, state schedule.State, now time.Time) time.Duration {
	if !state.Paused.IsZero() {
		return tickLook
	}
	due, missed := s.Due(state.Last, begun(state), now)
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
func begun(state schedule.State) time.Time {
	if state.Trying == nil {
		return time.Time{}
	}
	return state.Trying.Tick
}

// makeTick makes the first tick that is due, and settles it or notes that it is
// to be tried again.
func (w *Worker) makeTick(ctx context.Context, s schedule.Schedule, state schedule.State, now time.Time) error {
	due, missed := s.Due(state.Last, begun(state), now)
	o := schedule.Outcome{At: now, Missed: len(missed)}
	if t := state.Trying; t != nil && t.Tick.After(state.Last) && (len(due) == 0 || !due[0].Equal(t.Tick)) {
		// The tick after it is due by now, and only that will be made.
		o.Missed = 0
		for _, tick := range missed {
			if tick.Before(t.Tick) {
				o.Missed++
			}
		}
		o.Tick, o.Result, o.Error = t.Tick, schedule.Failed, t.Error
		return w.settleTick(ctx, s, o)
	}
	if len(due) == 0 {
		o.Tick, o.Result = missed[len(missed)-1], schedule.Late
		return w.settleTick(ctx, s, o)
	}
	o.Tick = due[0]
	id := s.BatchID(o.Tick)
	made, err := w.ledger.Batch(ctx, id)
	if err == nil {
		// By a worker that has died right after that.
		o.Result, o.Batch, o.Rooms = schedule.Enqueued, id, made.Total
		return w.settleTick(ctx, s, o)
	}
	if !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	if s.SkipOverlap && state.Batch != "" {
		before, err := w.ledger.Batch(ctx, state.Batch)
		switch {
		case err == nil && !before.Ended():
			o.Result, o.Error = schedule.Skipped, fmt.Sprintf("%s is still open", state.Batch)
			return w.settleTick(ctx, s, o)
		case err != nil && !errors.Is(err, ledger.ErrNotFound):
			return err
		}
	}

	begin := time.Now()
	batch, err := w.producer.Batch(ctx, s.Rooms(ctx, &o.Report), enqueue.BatchOptions{ID: id, Defaults: s.Defaults, By: "schedule " + s.Name})
	now = now.Add(time.Since(begin))
	o.At = now
	if err == nil || errors.Is(err, enqueue.ErrExists) { // another worker has just made it, of what the source was then
		o.Result, o.Batch, o.Rooms = schedule.Enqueued, id, batch.Rooms
		return w.settleTick(ctx, s, o)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return w.tryAgain(ctx, s, state, o, err, now)
}

// tryAgain notes that the rooms of a tick could not be enqueued, or gives up.
func (w *Worker) tryAgain(ctx context.Context, s schedule.Schedule, state schedule.State, o schedule.Outcome, cause error, now time.Time) error {
	t := schedule.Trying{Tick: o.Tick, Begun: now}
	if before := state.Trying; before != nil && before.Tick.Equal(o.Tick) {
		t = *before
	}
	t.Failures++
	t.Error = fmt.Sprintf("%.*s", maxCause, cause)
	var full *enqueue.FullError
	var evicts *rdb.EvictionError
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
			o.Result, o.Error = schedule.Failed, t.Error
			return w.settleTick(ctx, s, o)
		}
	}
	w.log.Warn("tick is tried again", "schedule", s.Name, "tick", t.Tick, "at", t.RetryAt, "err", cause)
	return w.schedules.Try(ctx, s, t)
}

// settleTick writes the end of a tick and tells of it, unless another worker has.
func (w *Worker) settleTick(ctx context.Context, s schedule.Schedule, o schedule.Outcome) error {
	first, err := w.schedules.Settle(ctx, s, o)
	if err != nil || !first {
		return err
	}
	log := w.log.With("schedule", s.Name, "tick", o.Tick)
	if o.Missed > 0 {
		log.Warn("ticks were missed and are not made up", "ticks", o.Missed)
	}
	switch o.Result {
	case schedule.Enqueued:
		log.Info("tick made", "batch", o.Batch, "rooms", o.Rooms)
		if o.BadRows > 0 {
			log.Warn("bad rows were left out", "rows", o.BadRows, "first", o.Reasons)
		}
	case schedule.Skipped:
		log.Warn("tick skipped", "why", o.Error)
	case schedule.Failed:
		log.Error("tick failed: nothing was enqueued", "err", o.Error)
	}
	return nil
}

// Package schedule enqueues class lists at fixed times.
//
// A Schedule has a cron expression, a time zone and a Source of rooms. A tick is one of its times: there the rooms are
// read and enqueued as a batch. The Clock of each worker makes the ticks; a Store keeps the state of each schedule in
// Redis, so that a tick makes exactly one batch.
package schedule

import (
	"time"

	"tiwsnap/tasks"
)

// Schedule is a class list that is snapshotted at every tick.
type Schedule struct {
	Name     string     // prefix of the ids of its batches: 1 to 32 of a-z, 0-9 and -
	Cron     string     // the expression as the user wrote it
	Zone     string     // the time zone as the user wrote it
	Spec     Spec       // both, parsed
	Source   Source     // of the rooms
	Defaults tasks.Room // values for fields that a room leaves out
	// CheckCallback checks the CallbackURL of a room; see rooms.Options. Default: any URL is accepted.
	CheckCallback func(url string) error
	Missed        Missed // default MissedOne
	// MissedWithin is the maximum age of a missed tick that is made up; default 24 h.
	MissedWithin time.Duration
	// SkipOverlap skips a tick while the batch of the previous tick is in progress.
	SkipOverlap bool
}

// Missed says which ticks are made up that no worker could make when they were due.
type Missed string

const (
	MissedSkip Missed = "skip" // none
	MissedOne  Missed = "one"  // the last one
	MissedAll  Missed = "all"  // all in their order, at most MaxMissed
)

const (
	// MaxMissed is how many missed ticks are made up at most: the last ones.
	MaxMissed = 100
	// late is the age at which a tick counts as missed. A restarting worker is back by then.
	late = time.Minute
	// stamp is the format of a tick in the id of a batch.
	stamp = "20060102t150405z"
)

// BatchID returns the id of the batch of a tick. It is the same in every worker.
func (s Schedule) BatchID(tick time.Time) string {
	return s.Name + "-" + tick.UTC().Format(stamp)
}

// HandID returns the id of a batch that a person starts by hand.
func (s Schedule) HandID(now time.Time) string {
	return s.Name + "-by-hand-" + now.UTC().Format(stamp)
}

// due returns the ticks after last and until now in two lists: ticks to make, and ticks that count as missed. A tick
// older than MissedWithin is in neither. begun is a tick that was begun in time and is being retried, or zero: it does
// not count as missed.
func (s Schedule) due(last, begun, now time.Time) (due, missed []time.Time) {
	after := last
	if oldest := now.Add(-s.MissedWithin); after.Before(oldest) {
		after = oldest
	}
	for tick := s.Spec.Next(after); !tick.IsZero() && !tick.After(now); tick = s.Spec.Next(tick) {
		due = append(due, tick)
	}
	keep := 1
	if s.Missed == MissedAll {
		keep = MaxMissed
	}
	if first := len(due) - keep; first > 0 {
		due, missed = due[first:], due[:first]
	}
	if s.Missed == MissedSkip && len(due) > 0 && now.Sub(due[0]) > late && !due[0].Equal(begun) {
		due, missed = nil, append(missed, due[0])
	}
	return due, missed
}

// Ticks returns the next n ticks after t, or fewer if there are fewer, in the time zone of the schedule.
func (s Schedule) Ticks(t time.Time, n int) []time.Time {
	all := []time.Time{}
	for t = s.Spec.Next(t); len(all) < n && !t.IsZero(); t = s.Spec.Next(t) {
		all = append(all, t.In(s.Spec.Zone()))
	}
	return all
}

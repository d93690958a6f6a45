// Package schedule knows the schedules: when class lists are due, where their
// rooms come from, and the outcome of each tick. Its Clock makes the ticks.
package schedule

import (
	"time"

	"tiwsnap/tasks"
)

// Schedule is a class list that is snapshotted at every tick.
type Schedule struct {
	Name     string // begins the ids of its batches: 1 to 32 of a-z, 0-9 and -
	Cron     string // as it was written, with its zone
	Zone     string
	Spec     Spec
	Source   Source
	Defaults tasks.Room // fill in what a room leaves out
	// CheckCallback checks the CallbackURL of a room; see rooms.Options. Default:
	// any may be named.
	CheckCallback func(url string) error
	Missed        Missed // default MissedOne
	// MissedWithin is how old a missed tick may be; default 24 h.
	MissedWithin time.Duration
	// SkipOverlap leaves a tick out while the batch of the one before is open.
	SkipOverlap bool
}

// Missed is what to do with ticks that could not be made when they were due.
type Missed string

// The choices of Missed.
const (
	MissedSkip Missed = "skip"
	MissedOne  Missed = "one" // the last of them
	MissedAll  Missed = "all" // in their order, at most MaxMissed
)

// MaxMissed is how many missed ticks are made up at most: the last ones.
const MaxMissed = 100

// late is how long after its time a tick counts as missed. A worker that
// restarts is back by then.
const late = time.Minute

// stamp is a tick in a batch id.
const stamp = "20060102t150405z"

// BatchID is the id of the batch of a tick: the same in every worker.
func (s Schedule) BatchID(tick time.Time) string {
	return s.Name + "-" + tick.UTC().Format(stamp)
}

// HandID is the id of a batch that somebody makes by hand.
func (s Schedule) HandID(now time.Time) string {
	return s.Name + "-by-hand-" + now.UTC().Format(stamp)
}

// due is the ticks after last and until now: those to make and those that were
// missed, each in their order. begun is a tick that was begun in time and is not
// done yet, or zero: it does not count as missed. Ticks older than MissedWithin
// are in neither.
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

// Ticks returns the next n ticks after t, or as many as there are, in the zone
// of the schedule.
func (s Schedule) Ticks(t time.Time, n int) []time.Time {
	all := []time.Time{}
	for t = s.Spec.Next(t); len(all) < n && !t.IsZero(); t = s.Spec.Next(t) {
		all = append(all, t.In(s.Spec.Zone()))
	}
	return all
}

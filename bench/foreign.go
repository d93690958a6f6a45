package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// foreign measures how much of what somebody else leaves of the quota is used.
func foreign(ctx context.Context, r *recorder) (err error) {
	const (
		phase    = 30 * time.Second
		adapting = 10 * time.Second // after a change
	)
	s, err := r.newStage("foreign", referee())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.startWorkers(ctx, 4); err != nil {
		return err
	}
	if err := s.batch(ctx, "foreign", firstRoom, 4000); err != nil {
		return err
	}
	if err := s.Sim.WaitCalls(ctx, 5*capacity); err != nil {
		return err
	}
	loads := []int{5, 15, 0}
	var changes []time.Time
	for _, load := range loads {
		if err := s.Sim.SetFaults(tiwtest.Faults{ForeignLoad: load}); err != nil {
			return err
		}
		changes = append(changes, time.Now())
		r.say("somebody else spends %d of %d", load, capacity)
		if !pause(ctx, phase) {
			return ctx.Err()
		}
	}
	changes = append(changes, time.Now())

	calls := s.Sim.Calls()
	all, good, bad := timesOf(calls, anyCall), timesOf(calls, accepted), timesOf(calls, rejected)
	for i, load := range loads {
		from, to := changes[i].Add(adapting), changes[i+1]
		left := float64(capacity-load) * to.Sub(from).Seconds()
		name := fmt.Sprintf("others spend %d", load)
		r.add(name+": of what is left, from 10 s after the change on", percent(float64(count(good, from, to)), left), "%",
			atLeast(95))
		r.add(name+": requests rejected",
			percent(float64(count(bad, changes[i], to)), float64(count(all, changes[i], to))), "%", noted)
	}
	from, to := changes[0], changes[len(loads)]
	r.add("all of it: requests rejected", percent(float64(count(bad, from, to)), float64(count(all, from, to))),
		"%", atMost(2))
	r.add("after the end, back to full", backToFull(good, changes[len(loads)-1], to).Seconds(), "s", atMost(10))
	return nil
}

// backToFull is how long after from it took until two seconds held 95 % of the
// cap; to-from where that did not happen.
func backToFull(times []time.Time, from, to time.Time) time.Duration {
	const window = 2 * time.Second
	for t := from; !t.Add(window).After(to); t = t.Add(100 * time.Millisecond) {
		if float64(count(times, t, t.Add(window))) >= 0.95*capacity*window.Seconds() {
			return t.Sub(from)
		}
	}
	return to.Sub(from)
}

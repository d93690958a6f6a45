package main

import (
	"context"
	"time"
)

const (
	stallTick  = 2 * time.Millisecond
	stallLeast = 10 * time.Millisecond
)

// stall is a while in which this process, and so the referee, did not get to
// run. A request that came meanwhile bears the time of its end.
type stall struct {
	At   float64 `json:"at_s"` // since the start
	Took float64 `json:"took_s"`
}

// stalls watches until ctx ends, and returns those of more than 10 ms.
func stalls(ctx context.Context, start time.Time) (all []stall) {
	last := time.Now()
	for pause(ctx, stallTick) {
		now := time.Now()
		if late := now.Sub(last) - stallTick; late > stallLeast {
			all = append(all, stall{last.Sub(start).Seconds(), late.Seconds()})
		}
		last = now
	}
	return all
}

// longest is how long the longest one took, in seconds.
func longest(all []stall) (took float64) {
	for _, s := range all {
		took = max(took, s.Took)
	}
	return took
}

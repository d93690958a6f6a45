package tiwtest

import (
	"context"
	"time"
)

const (
	stallTick  = 2 * time.Millisecond
	stallLeast = 10 * time.Millisecond
)

// Stall is a while in which this process, and so a server in it, did not get
// to run. A call that came meanwhile bears the time of its end.
type Stall struct {
	At   float64 `json:"at_s"` // since the start
	Took float64 `json:"took_s"`
}

// Stalls watches until ctx ends, and returns those of more than 10 ms.
func Stalls(ctx context.Context, start time.Time) (all []Stall) {
	tick := time.NewTicker(stallTick)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return all
		case <-tick.C:
		}
		now := time.Now()
		if late := now.Sub(last) - stallTick; late > stallLeast {
			all = append(all, Stall{last.Sub(start).Seconds(), late.Seconds()})
		}
		last = now
	}
}

// Over counts the seconds that held more than limit calls. The first call of
// each is given the time at which it may have come: the server sees what comes
// during a stall only after it. The calls are in the order of their arrival.
func Over(calls []Call, limit int, start time.Time, stalls []Stall) (n int) {
	for i := limit; i < len(calls); i++ {
		first := calls[i-limit].AtNs
		for _, s := range stalls {
			begin := start.Add(time.Duration(s.At * 1e9)).UnixNano()
			if begin < first && first < begin+int64((s.Took+stallLeast.Seconds())*1e9) {
				first = begin
				break
			}
		}
		if calls[i].AtNs-first < second {
			n++
		}
	}
	return n
}

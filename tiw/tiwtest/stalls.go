package tiwtest

import (
	"context"
	"time"
)

const (
	stallTick  = 2 * time.Millisecond
	stallLeast = 10 * time.Millisecond
)

// Stall is a period in which this process, and so a server in it, did not run.
// Requests that arrived during a stall have the time of its end.
type Stall struct {
	At   float64 `json:"at_s"` // seconds since the start
	Took float64 `json:"took_s"`
}

// WatchStalls returns the stalls of more than 10 ms until ctx ends.
func WatchStalls(ctx context.Context, start time.Time) (all []Stall) {
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

// OverLimit counts the sliding seconds with more than limit requests. The server
// sees a request that arrives during a stall only after the stall. So a first
// request during a stall counts from the beginning of the stall. The requests are
// in order of arrival.
func OverLimit(requests []Request, limit int, start time.Time, stalls []Stall) (n int) {
	for i := limit; i < len(requests); i++ {
		first := requests[i-limit].AtNs
		for _, s := range stalls {
			begin := start.Add(time.Duration(s.At * 1e9)).UnixNano()
			if begin < first && first < begin+int64((s.Took+stallLeast.Seconds())*1e9) {
				first = begin
				break
			}
		}
		if requests[i].AtNs-first < second {
			n++
		}
	}
	return n
}

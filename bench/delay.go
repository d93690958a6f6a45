package main

import (
	"context"
	"fmt"
	"time"
)

// delay drains while each request has a way of its own to where it is counted,
// so that some overtake others. One drain has too few refusals to tell a share
// of them, so there are several, each of which has to learn the margin anew.
func delay(ctx context.Context, r *recorder) error {
	const drains, rooms = 5, 600
	var all drained
	var least time.Duration
	for i := range drains {
		o := referee()
		o.Delay, o.DelaySigma = 20*time.Millisecond, 0.35
		d, err := r.drained(ctx, fmt.Sprintf("drain %d of %d", i+1, drains), 4, rooms, o)
		if err != nil {
			return err
		}
		least += floor(d.requests, capacity)
		all.span += d.span
		all.requests += d.requests
		all.rejected += d.rejected
		all.sliding = max(all.sliding, d.sliding)
	}
	r.add("requests rejected", percent(float64(all.rejected), float64(all.requests)), "%", atMost(0.3))
	r.add("of the cap", percent(least.Seconds(), all.span.Seconds()), "%", atLeast(97))
	r.add("fullest second", float64(all.sliding), "", noted)
	return nil
}

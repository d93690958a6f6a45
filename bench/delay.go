package bench

import (
	"context"
	"fmt"
	"time"
)

// delay drains while each request has a way of its own to where it is counted,
// so that some overtake others.
func delay(ctx context.Context, r *recorder) error {
	for _, n := range []int{600, 3000} {
		o := referee()
		o.Delay, o.DelaySigma = 20*time.Millisecond, 0.35
		name := fmt.Sprintf("%s rooms", grouped(fmt.Sprint(n)))
		d, err := r.drained(ctx, name, 4, n, o)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.add(name+": requests rejected", percent(float64(d.rejected), float64(d.requests)), "%", atMost(0.3))
		r.add(name+": of the cap", percent(floor(n, capacity).Seconds(), d.span.Seconds()), "%", atLeast(97))
		r.add(name+": fullest second", float64(d.sliding), "", noted)
	}
	return nil
}

package ratelimit_test

import (
	"fmt"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/ratelimit"
)

func TestThroughput(t *testing.T) {
	needs.Time(t)
	for _, c := range []struct {
		processes int
		workers   int
		limit     int
		margin    time.Duration
		delay     time.Duration // one way
		hold      time.Duration
		min       float64 // permits a second
	}{
		{processes: 1, workers: 5, limit: 20, margin: 15 * time.Millisecond, min: 19.69},
		{processes: 4, workers: 5, limit: 20, margin: 15 * time.Millisecond, min: 19.69},
		{processes: 20, workers: 2, limit: 20, margin: 15 * time.Millisecond, min: 19.69},
		{processes: 40, workers: 2, limit: 20, margin: 15 * time.Millisecond, min: 19},
		{processes: 3, workers: 2, limit: 1, margin: 15 * time.Millisecond, min: 0.95},
		{processes: 2, workers: 5, limit: 20, margin: 100 * time.Millisecond, min: 18.1},
		{processes: 1, workers: 5, limit: 100, margin: 15 * time.Millisecond, min: 98},
		{processes: 1, workers: 5, limit: 20, margin: 15 * time.Millisecond, delay: 10 * time.Millisecond, min: 19.6},
		{processes: 4, workers: 5, limit: 20, margin: 15 * time.Millisecond, delay: 50 * time.Millisecond, min: 17.8},
		{processes: 1, workers: 10, limit: 20, margin: 15 * time.Millisecond, delay: 50 * time.Millisecond, min: 19.6},
		{processes: 1, workers: 10, limit: 20, margin: 15 * time.Millisecond, delay: 50 * time.Millisecond,
			hold: 100 * time.Millisecond, min: 19.6},
		// A token that moves to another process returns a round trip later. The rates are 17.9 and 16.5 if all move.
		{processes: 2, workers: 20, limit: 20, margin: 15 * time.Millisecond, delay: 50 * time.Millisecond,
			hold: 100 * time.Millisecond, min: 18},
		{processes: 2, workers: 20, limit: 20, margin: 15 * time.Millisecond, delay: 100 * time.Millisecond,
			hold: 200 * time.Millisecond, min: 16},
		{processes: 8, workers: 20, limit: 20, margin: 15 * time.Millisecond, delay: 100 * time.Millisecond,
			hold: 200 * time.Millisecond, min: 15},
	} {
		name := fmt.Sprintf("limit %d with a margin of %v for %d processes %v away from Redis that write %v before sending",
			c.limit, c.margin, c.processes, c.delay, c.hold)
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				var limiters []*ratelimit.Limiter
				var links []*link
				for range c.processes {
					l, client := w.link(t, func() time.Duration { return c.delay })
					links = append(links, l)
					limiters = append(limiters, newLimiter(t, ratelimit.Options{Redis: client, Limit: c.limit, Margin: c.margin}))
				}
				// The permits of the first second are available at the start. Distant processes measure the round trip
				// to Redis during the next two. With 400 more permits, a round trip lost by chance is at most 0.5 %.
				n, first := max(5, min(5*c.limit, 200)), c.limit
				if c.delay > 0 {
					n, first = 400, 3*c.limit
				}
				_, u := drain(t, first+n, c.workers, c.hold, limiters...)
				u.wantAtMost(t, c.limit)
				calls := 0
				for _, l := range links {
					calls += l.count()
				}
				rate := float64(n) / u.at[first+n-1].Sub(u.at[first-1]).Seconds()
				t.Logf("%.2f permits a second, %.2f calls to Redis each", rate, float64(calls)/float64(first+n))
				if rate < c.min {
					t.Errorf("%.2f permits a second, want at least %.2f", rate, c.min)
				}
				s, err := limiters[0].State(t.Context())
				if most, _ := u.peak(); err != nil || s.Peak > c.limit || s.Peak < most-1 {
					t.Errorf("State().Peak = %d, %v, want %d", s.Peak, err, most)
				}
			})
		})
	}
}

func TestDrain(t *testing.T) {
	needs.Time(t)
	for _, n := range []int{1, 4, 16} {
		t.Run(fmt.Sprint(n, " processes"), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				r := &api{limit: 20}
				r.start()
				r.sendAll(t.Context(), 600, 32, processes(t, w, n, ratelimit.Options{})...)
				took := r.calls[len(r.calls)-1].at
				if _, refused := r.count(0, time.Hour); refused > 0 || took > 29650*time.Millisecond {
					t.Errorf("600 requests took %v, %d were refused, want at most 29.65s and none", took, refused)
				}
			})
		})
	}
}

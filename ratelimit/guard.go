package ratelimit

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// guard keeps one process at its limit whatever the shared state says: limit
// limiters of one token a second each, used in turn. Of any limit+1 sends two
// took the same limiter, so they are more than a second apart.
type guard struct {
	mu       sync.Mutex
	limiters []*rate.Limiter // at least limit
	limit    int
	turn     int
}

func newGuard(limit int) *guard {
	g := &guard{}
	g.set(limit)
	return g
}

// set changes the limit. No limiter is ever thrown away: while the limit goes
// down and up again no second holds more than the greater one.
func (g *guard) set(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = limit
	for len(g.limiters) < limit {
		// The extra millisecond covers rounding, and the moment between the
		// end of wait and the send.
		g.limiters = append(g.limiters, rate.NewLimiter(rate.Every(time.Second+time.Millisecond), 1))
	}
}

func (g *guard) next() *rate.Limiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn = (g.turn + 1) % g.limit
	return g.limiters[g.turn]
}

// wait returns when this process may send. The token counts from the moment
// of the return and not, as with rate.Limiter.Wait, from when it was due.
func (g *guard) wait(ctx context.Context) error {
	limiter := g.next()
	for {
		now := time.Now()
		r := limiter.ReserveN(now, 1)
		d := r.DelayFrom(now)
		if d == 0 {
			return nil
		}
		r.CancelAt(now)
		if err := sleep(ctx, d); err != nil {
			return err
		}
	}
}

// sleep returns after d, or earlier with the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

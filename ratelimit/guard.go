package ratelimit

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// guard applies the limit to one process, whatever the shared state says. It uses as many limiters as the limit in
// round-robin order, each with one token per second. Of any limit+1 sends, two used the same limiter, so they are more
// than a second apart.
type guard struct {
	mu       sync.Mutex
	limiters []*rate.Limiter // at least limit
	limit    int
	current  int // index of the limiter used last
}

func newGuard(limit int) *guard {
	g := &guard{}
	g.set(limit)
	return g
}

// set changes the limit. It keeps all limiters, so that a limit which goes down and up again never allows more than the
// higher one in any second.
func (g *guard) set(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = limit
	for len(g.limiters) < limit {
		// The extra millisecond covers rounding, and the time between the end of wait and the send.
		g.limiters = append(g.limiters, rate.NewLimiter(rate.Every(time.Second+time.Millisecond), 1))
	}
}

func (g *guard) next() *rate.Limiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.current = (g.current + 1) % g.limit
	return g.limiters[g.current]
}

// wait blocks until this process may send. The token counts from the return of wait. With rate.Limiter.Wait it would
// count from when it was due, which may be earlier.
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

// sleep waits for d, or until ctx ends and then returns its error.
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

package ratelimit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tiwsnap/ratelimit"
)

// TestPermits has a bucket of one token.
func TestPermits(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, a, b *ratelimit.Limiter)
	}{
		{"is returned the lead time before its instant", func(t *testing.T, a, b *ratelimit.Limiter) {
			began := time.Now()
			mustUse(t, mustAcquire(t, a, ratelimit.Bulk))
			p := mustAcquire(t, a, ratelimit.Bulk)
			wantElapsed(t, began, 1005*time.Millisecond)
			mustUse(t, p)
			wantElapsed(t, began, 1015*time.Millisecond)
		}},
		{"goes to the next waiter of the process after Release", func(t *testing.T, a, b *ratelimit.Limiter) {
			began := time.Now()
			p := mustAcquire(t, a, ratelimit.Bulk)
			next := make(chan *ratelimit.Permit)
			go func() { next <- mustAcquire(t, a, ratelimit.Bulk) }()
			time.Sleep(100 * time.Millisecond)
			p.Release()
			p.Release()
			q := <-next
			p.Release()
			wantElapsed(t, began, 100*time.Millisecond)
			if err := p.Use(t.Context()); !errors.Is(err, ratelimit.ErrStale) {
				t.Errorf("Use() after Release(): error = %v, want ErrStale", err)
			}
			mustUse(t, q)
		}},
		{"goes to another process after Release if none waits in this one", func(t *testing.T, a, b *ratelimit.Limiter) {
			began := time.Now()
			mustAcquire(t, a, ratelimit.Bulk).Release()
			synctest.Wait()
			mustUse(t, mustAcquire(t, b, ratelimit.Bulk))
			wantElapsed(t, began, 3*time.Millisecond)
		}},
		{"is used once", func(t *testing.T, a, b *ratelimit.Limiter) {
			p := mustAcquire(t, a, ratelimit.Bulk)
			mustUse(t, p)
			p.Release()
			if err := p.Use(t.Context()); !errors.Is(err, ratelimit.ErrStale) {
				t.Errorf("second Use(): error = %v, want ErrStale", err)
			}
		}},
		{"expires if it is held too long, and its token is free", func(t *testing.T, a, b *ratelimit.Limiter) {
			p := mustAcquire(t, a, ratelimit.Bulk)
			time.Sleep(900*time.Millisecond + time.Millisecond)
			mustUse(t, mustAcquire(t, b, ratelimit.Bulk))
			if err := p.Use(t.Context()); !errors.Is(err, ratelimit.ErrStale) {
				t.Errorf("Use(): error = %v, want ErrStale", err)
			}
		}},
		{"counts from Sent", func(t *testing.T, a, b *ratelimit.Limiter) {
			p := mustAcquire(t, a, ratelimit.Bulk)
			began := time.Now()
			if err := p.Use(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(70 * time.Millisecond)
			p.Sent()
			mustUse(t, mustAcquire(t, b, ratelimit.Bulk))
			wantElapsed(t, began, (70+1015)*time.Millisecond)
		}},
		{"without a report counts from the end of its validity", func(t *testing.T, a, b *ratelimit.Limiter) {
			p := mustAcquire(t, a, ratelimit.Bulk)
			began := time.Now()
			if err := p.Use(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.Release()
			mustUse(t, mustAcquire(t, b, ratelimit.Bulk))
			wantElapsed(t, began, (1000+1015)*time.Millisecond)
		}},
		{"is returned if the wait for its instant is canceled", func(t *testing.T, a, b *ratelimit.Limiter) {
			mustUse(t, mustAcquire(t, a, ratelimit.Bulk))
			p := mustAcquire(t, a, ratelimit.Bulk)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if err := p.Use(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Use(): error = %v, want deadline exceeded", err)
			}
			began := time.Now()
			mustUse(t, mustAcquire(t, a, ratelimit.Bulk))
			wantElapsed(t, began, 9*time.Millisecond)
		}},
		{"is returned if no waiter is left", func(t *testing.T, a, b *ratelimit.Limiter) {
			mustUse(t, mustAcquire(t, a, ratelimit.Bulk))
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if _, err := a.Acquire(ctx, ratelimit.Bulk); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Acquire(): error = %v, want deadline exceeded", err)
			}
			time.Sleep(time.Second)
			began := time.Now()
			mustUse(t, mustAcquire(t, b, ratelimit.Bulk))
			wantElapsed(t, began, 0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				_, ca := w.link(t, nil)
				_, cb := w.link(t, nil)
				c.test(t,
					newLimiter(t, ratelimit.Options{Redis: ca, Limit: 1}),
					newLimiter(t, ratelimit.Options{Redis: cb, Limit: 1}))
			})
		})
	}
}

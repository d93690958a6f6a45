package ratelimit_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"tiwsnap/ratelimit"
)

// Each process keeps the limit even if the clock of Redis runs five times too fast.
func TestLocalLimit(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		_, client := w.link(t, nil)
		l := newLimiter(t, ratelimit.Options{Redis: client, Limit: 5})
		began := time.Now()
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				w.mu.Lock()
				w.offset = 4 * time.Since(began)
				w.mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
		u := new(uses)
		for range 3 {
			wg.Go(func() {
				for useOne(ctx, l, 0, u) == nil {
				}
			})
		}
		wg.Wait()
		u.wantAtMost(t, 5)
		if n := u.count(); n < 45 {
			t.Errorf("%d permits were used in 10 s, want at least 45", n)
		}
	})
}

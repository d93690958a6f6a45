package ratelimit_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/ratelimit"
)

// processes returns n limiters, each like a process near Redis.
func processes(t *testing.T, w *world, n int, o ratelimit.Options) []*ratelimit.Limiter {
	var limiters []*ratelimit.Limiter
	for range n {
		_, o.Redis = w.link(t, func() time.Duration { return 200 * time.Microsecond })
		limiters = append(limiters, newLimiter(t, o))
	}
	return limiters
}

// The latency of the API varies so much that 2 % of the requests would be refused with the minimum margin.
func TestMarginAdapts(t *testing.T) {
	needs.Time(t)
	var requests, refused int
	var least, took time.Duration
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) { // with a new bucket
			r := &api{limit: 20, way: lognormal(seed, 20*time.Millisecond, 0.35)}
			limiters := processes(t, newWorld(t), 4, ratelimit.Options{})
			r.start()
			r.sendAll(t.Context(), 600, 32, limiters...)
			n, lost := r.count(0, time.Hour)
			last := r.calls[n-1].at - r.calls[0].at
			requests, refused, took = requests+n, refused+lost, took+last
			least += time.Duration((n-1)/20) * time.Second
			t.Logf("%.1f s, %d of %d refused", last.Seconds(), lost, n)
		})
	}
	share, used := float64(refused)/float64(requests), least.Seconds()/took.Seconds()
	t.Logf("%.2f %% refused, %.1f %% of the limit used", 100*share, 100*used)
	if share > 0.003 || used < 0.97 {
		t.Errorf("%.2f %% of the requests were refused at %.1f %% of the limit", 100*share, 100*used)
	}
}

// Other clients of the account use 5 of the 20 requests per second, then 15, then none.
func TestOtherClients(t *testing.T) {
	needs.Time(t)
	const phase, settling = 30 * time.Second, 10 * time.Second
	rates := []int{0, 5, 15, 0}
	for _, n := range []int{1, 4, 16} {
		t.Run(fmt.Sprint(n, " processes"), func(t *testing.T) {
			var requests, lost int
			for shift := range 2 { // shifts the changes against the seconds in which permits are used
				first := 5*time.Second + time.Duration(shift)*537*time.Millisecond
				inVirtualTime(t, func(t *testing.T, w *world) {
					r := &api{limit: 20, foreign: func(d time.Duration) int {
						return rates[max(0, min(3, int((d-first+phase)/phase)))]
					}}
					limiters := processes(t, w, n, ratelimit.Options{})
					r.start()
					ctx, stop := context.WithTimeout(t.Context(), first+3*phase)
					defer stop()
					r.sendAll(ctx, 100_000, 32, limiters...)
					for i, others := range rates[1:] {
						from := first + time.Duration(i)*phase
						calls, refused := r.count(from, from+phase)
						settled, b := r.count(from+settling, from+phase)
						share := float64(settled-b) / (phase - settling).Seconds() / float64(20-others)
						t.Logf("others use %d: %.1f %% of the available rate used after 10 s, %d of %d refused", others,
							100*share, refused, calls)
						if share < 0.95 {
							t.Errorf("others use %d: %.1f %% of the available rate used after 10 s, want at least 95 %%", others, 100*share)
						}
					}
					a, b := r.count(first, first+3*phase)
					requests, lost = requests+a, lost+b
				})
			}
			t.Logf("%d of %d requests were refused", lost, requests)
			if lost*100 > requests*2 {
				t.Errorf("%d of %d requests were refused, want at most 2 %%", lost, requests)
			}
		})
	}
}

// With Spread, requests are evenly spread: after the first second, every sliding second has at least 18 of the 20.
func TestSpread(t *testing.T) {
	needs.Time(t)
	for _, n := range []int{1, 4} {
		t.Run(fmt.Sprint(n, " processes"), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				r := &api{limit: 20}
				limiters := processes(t, w, n, ratelimit.Options{})
				r.start()
				ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
				defer stop()
				var spreading sync.WaitGroup
				spreading.Go(func() {
					for ctx.Err() == nil {
						limiters[0].Spread()
						time.Sleep(time.Second)
					}
				})
				defer spreading.Wait()
				time.Sleep(time.Millisecond)
				r.sendAll(ctx, 100_000, 32, limiters...)
				for from := time.Second; from < 19*time.Second; from += 10 * time.Millisecond {
					if calls, refused := r.count(from, from+time.Second); calls < 18 || calls > 20 || refused > 0 {
						t.Errorf("%d requests in the second from %v on, %d of them refused, want 18 to 20 and none", calls, from, refused)
					}
				}
			})
		})
	}
}

// The limit of four busy processes is lowered and raised again.
func TestSetLimit(t *testing.T) {
	const phase = 5 * time.Second
	inVirtualTime(t, func(t *testing.T, w *world) {
		r := &api{limit: 20}
		limiters := processes(t, w, 4, ratelimit.Options{})
		_, client := w.link(t, nil)
		r.start()
		ctx, stop := context.WithTimeout(t.Context(), 3*phase)
		defer stop()
		go func() {
			for _, limit := range []int{10, 0} {
				time.Sleep(phase)
				if err := ratelimit.Set(ctx, client, key, limit); err != nil {
					t.Errorf("Set(%d): %v", limit, err)
				}
			}
		}()
		r.sendAll(ctx, 100_000, 32, limiters...)
		for i, limit := range []int{20, 10, 20} {
			from := time.Duration(i)*phase + 1500*time.Millisecond
			const counted = phase - 2*time.Second
			calls, refused := r.count(from, from+counted)
			rate := float64(calls) / counted.Seconds()
			if rate < 0.9*float64(limit) || rate > 1.1*float64(limit) || refused > 0 {
				t.Errorf("%.1f requests a second at a limit of %d, %d refused", rate, limit, refused)
			}
		}
	})
}

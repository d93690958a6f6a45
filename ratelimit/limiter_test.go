package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/needs"
	"tiwsnap/ratelimit"
)

// inWorld runs a test in virtual time. The bucket was created two seconds ago, and its margin has come down to the
// minimum. No process has set a limit yet.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, c := w.line(t, nil)
		l, err := ratelimit.New(ratelimit.Options{Redis: c, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		closeLimiter(t, l)
		if err := c.HSet(t.Context(), key+":meta", "margin", "0", "asked_low", "0", "asked_high", "0").Err(); err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

func mustAcquire(t testing.TB, l *ratelimit.Limiter, p ratelimit.Priority) *ratelimit.Permit {
	t.Helper()
	permit, err := l.Acquire(t.Context(), p)
	if err != nil {
		t.Fatalf("acquire: %v", err)
	}
	return permit
}

func mustUse(t testing.TB, p *ratelimit.Permit) {
	t.Helper()
	if err := p.Use(t.Context()); err != nil {
		t.Fatalf("use: %v", err)
	}
	p.Sent()
}

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
			inWorld(t, func(t *testing.T, w *world) {
				var limiters []*ratelimit.Limiter
				var lines []*line
				for range c.processes {
					l, client := w.line(t, func() time.Duration { return c.delay })
					lines = append(lines, l)
					limiters = append(limiters, limiter(t, ratelimit.Options{Redis: client, Limit: c.limit, Margin: c.margin}))
				}
				// The permits of the first second are available at the start. Distant processes measure the round trip
				// to Redis during the next two. With 400 more permits, a round trip lost by chance is at most 0.5 %.
				n, first := max(5, min(5*c.limit, 200)), c.limit
				if c.delay > 0 {
					n, first = 400, 3*c.limit
				}
				_, u := drain(t, first+n, c.workers, c.hold, limiters...)
				u.atMost(t, c.limit)
				calls := 0
				for _, l := range lines {
					calls += l.count()
				}
				rate := float64(n) / u.at[first+n-1].Sub(u.at[first-1]).Seconds()
				t.Logf("%.2f permits a second, %.2f calls to Redis each", rate, float64(calls)/float64(first+n))
				if rate < c.min {
					t.Errorf("%.2f permits a second, want at least %.2f", rate, c.min)
				}
				s, err := limiters[0].State(t.Context())
				if most, _ := u.most(); err != nil || s.Peak > c.limit || s.Peak < most-1 {
					t.Errorf("fullest second of %d, %v; it was %d", s.Peak, err, most)
				}
			})
		})
	}
}

func TestNoProcessStarves(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		var wg sync.WaitGroup
		var each [3]uses
		for i := range each { // more processes than tokens
			_, client := w.line(t, nil)
			l := limiter(t, ratelimit.Options{Redis: client, Limit: 2})
			for range 5 {
				wg.Go(func() {
					for useOne(ctx, l, 0, &each[i]) == nil {
					}
				})
			}
		}
		wg.Wait()
		for i := range each {
			if n := each[i].count(); n < 20 {
				t.Errorf("process %d used %d permits of some 118", i, n)
			}
		}
	})
}

func TestPriorities(t *testing.T) {
	// serve queues waiters while the first permit is held, then serves all of
	// them and returns the order: i for Interactive, b for Bulk.
	serve := func(t *testing.T, w *world, queue string) string {
		_, client := w.line(t, nil)
		l := limiter(t, ratelimit.Options{Redis: client, Limit: 100})
		first := mustAcquire(t, l, ratelimit.Bulk)
		var order strings.Builder // written by holders, one at a time
		var wg sync.WaitGroup
		for _, c := range queue {
			wg.Go(func() {
				p := mustAcquire(t, l, map[rune]ratelimit.Priority{'i': ratelimit.Interactive, 'b': ratelimit.Bulk}[c])
				order.WriteRune(c)
				mustUse(t, p)
			})
			synctest.Wait()
		}
		mustUse(t, first)
		wg.Wait()
		return order.String()
	}
	for _, c := range []struct{ name, queue, want string }{
		{"the more urgent waiter is served first", "bbbiii", "iiibbb"},
		{"nine in ten are for the urgent while both wait", "bbb" + strings.Repeat("i", 30),
			"iiiiiiiiib" + "iiiiiiiiib" + "iiiiiiiiib" + "iii"},
		{"one kind alone gets all", strings.Repeat("b", 12), strings.Repeat("b", 12)},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				if diff := cmp.Diff(c.want, serve(t, w, c.queue)); diff != "" {
					t.Errorf("order of service (-want +got):\n%s", diff)
				}
			})
		})
	}
	t.Run("a reservation goes to the most urgent waiter of its moment", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			_, client := w.line(t, nil)
			l := limiter(t, ratelimit.Options{Redis: client, Limit: 1})
			mustUse(t, mustAcquire(t, l, ratelimit.Bulk))
			var wg sync.WaitGroup
			var order []ratelimit.Priority
			for _, p := range []ratelimit.Priority{ratelimit.Bulk, ratelimit.Interactive} {
				wg.Go(func() {
					permit := mustAcquire(t, l, p)
					order = append(order, p)
					mustUse(t, permit)
				})
				time.Sleep(500 * time.Millisecond) // the first waiter has long made the limiter reserve a permit
			}
			wg.Wait()
			if diff := cmp.Diff([]ratelimit.Priority{ratelimit.Interactive, ratelimit.Bulk}, order); diff != "" {
				t.Errorf("order of service (-want +got):\n%s", diff)
			}
		})
	})
}

// TestPermits has a bucket of one token.
func TestPermits(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, a, b *ratelimit.Limiter)
	}{
		{"is handed out the lead before its instant", func(t *testing.T, a, b *ratelimit.Limiter) {
			began := time.Now()
			mustUse(t, mustAcquire(t, a, ratelimit.Bulk))
			p := mustAcquire(t, a, ratelimit.Bulk)
			within(t, began, 1005*time.Millisecond)
			mustUse(t, p)
			within(t, began, 1015*time.Millisecond)
		}},
		{"released goes to the next waiter of the process at once", func(t *testing.T, a, b *ratelimit.Limiter) {
			began := time.Now()
			p := mustAcquire(t, a, ratelimit.Bulk)
			next := make(chan *ratelimit.Permit)
			go func() { next <- mustAcquire(t, a, ratelimit.Bulk) }()
			time.Sleep(100 * time.Millisecond)
			p.Release()
			p.Release()
			q := <-next
			p.Release()
			within(t, began, 100*time.Millisecond)
			if err := p.Use(t.Context()); !errors.Is(err, ratelimit.ErrStale) {
				t.Errorf("use after release: %v, want ErrStale", err)
			}
			mustUse(t, q)
		}},
		{"released goes to another process if nobody waits in this one", func(t *testing.T, a, b *ratelimit.Limiter) {
			began := time.Now()
			mustAcquire(t, a, ratelimit.Bulk).Release()
			synctest.Wait()
			mustUse(t, mustAcquire(t, b, ratelimit.Bulk))
			within(t, began, 3*time.Millisecond)
		}},
		{"is used once", func(t *testing.T, a, b *ratelimit.Limiter) {
			p := mustAcquire(t, a, ratelimit.Bulk)
			mustUse(t, p)
			p.Release()
			if err := p.Use(t.Context()); !errors.Is(err, ratelimit.ErrStale) {
				t.Errorf("second use: %v, want ErrStale", err)
			}
		}},
		{"is void when it was held too long, and its token is free", func(t *testing.T, a, b *ratelimit.Limiter) {
			p := mustAcquire(t, a, ratelimit.Bulk)
			time.Sleep(900*time.Millisecond + time.Millisecond)
			mustUse(t, mustAcquire(t, b, ratelimit.Bulk))
			if err := p.Use(t.Context()); !errors.Is(err, ratelimit.ErrStale) {
				t.Errorf("use: %v, want ErrStale", err)
			}
		}},
		{"counts from when it was sent", func(t *testing.T, a, b *ratelimit.Limiter) {
			p := mustAcquire(t, a, ratelimit.Bulk)
			began := time.Now()
			if err := p.Use(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(70 * time.Millisecond)
			p.Sent()
			mustUse(t, mustAcquire(t, b, ratelimit.Bulk))
			within(t, began, (70+1015)*time.Millisecond)
		}},
		{"of which no more is heard counts as sent as late as it can be", func(t *testing.T, a, b *ratelimit.Limiter) {
			p := mustAcquire(t, a, ratelimit.Bulk)
			began := time.Now()
			if err := p.Use(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.Release()
			mustUse(t, mustAcquire(t, b, ratelimit.Bulk))
			within(t, began, (1000+1015)*time.Millisecond)
		}},
		{"is given back when the wait for its instant is broken off", func(t *testing.T, a, b *ratelimit.Limiter) {
			mustUse(t, mustAcquire(t, a, ratelimit.Bulk))
			p := mustAcquire(t, a, ratelimit.Bulk)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if err := p.Use(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("use: %v, want deadline exceeded", err)
			}
			began := time.Now()
			mustUse(t, mustAcquire(t, a, ratelimit.Bulk))
			within(t, began, 9*time.Millisecond)
		}},
		{"that nobody waits for any more is given back", func(t *testing.T, a, b *ratelimit.Limiter) {
			mustUse(t, mustAcquire(t, a, ratelimit.Bulk))
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if _, err := a.Acquire(ctx, ratelimit.Bulk); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("acquire: %v, want deadline exceeded", err)
			}
			time.Sleep(time.Second)
			began := time.Now()
			mustUse(t, mustAcquire(t, b, ratelimit.Bulk))
			within(t, began, 0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				_, ca := w.line(t, nil)
				_, cb := w.line(t, nil)
				c.test(t,
					limiter(t, ratelimit.Options{Redis: ca, Limit: 1}),
					limiter(t, ratelimit.Options{Redis: cb, Limit: 1}))
			})
		})
	}
}

// within checks the virtual time since began, to the millisecond.
func within(t *testing.T, began time.Time, want time.Duration) {
	t.Helper()
	if took := time.Since(began).Round(time.Millisecond); took != want {
		t.Errorf("it took %v, want %v", took, want)
	}
}

func TestClose(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, ca := w.line(t, nil)
		_, cb := w.line(t, nil)
		a := limiter(t, ratelimit.Options{Redis: ca, Limit: 1})
		b := limiter(t, ratelimit.Options{Redis: cb, Limit: 1})
		mustUse(t, mustAcquire(t, a, ratelimit.Bulk))

		waiter := make(chan error)
		go func() {
			_, err := a.Acquire(t.Context(), ratelimit.Bulk)
			waiter <- err
		}()
		time.Sleep(900 * time.Millisecond) // a has reserved the next permit
		began := time.Now()
		closeLimiter(t, a)
		if err := <-waiter; !errors.Is(err, ratelimit.ErrClosed) {
			t.Errorf("waiter: %v, want ErrClosed", err)
		}
		if _, err := a.Acquire(t.Context(), ratelimit.Bulk); !errors.Is(err, ratelimit.ErrClosed) {
			t.Errorf("acquire after close: %v, want ErrClosed", err)
		}
		within(t, began, 0)
		p := mustAcquire(t, b, ratelimit.Bulk)
		within(t, began, 105*time.Millisecond) // the use by a counts, and so does the margin
		go closeLimiter(t, b)
		synctest.Wait()
		mustUse(t, p)
	})
}

func TestCloseWithoutRedis(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		line, c := w.line(t, nil)
		l := limiter(t, ratelimit.Options{Redis: c})
		line.set(true, false)
		go l.Acquire(t.Context(), ratelimit.Bulk)
		time.Sleep(time.Minute)
		began := time.Now()
		closeLimiter(t, l)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("close took %v", took)
		}
	})
}

func TestStateTellsWhatIsWrong(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		line, c := w.line(t, nil)
		l := limiter(t, ratelimit.Options{Redis: c})
		for range 3 {
			mustUse(t, mustAcquire(t, l, ratelimit.Bulk))
		}
		synctest.Wait()
		s, err := l.State(t.Context())
		want := ratelimit.State{Limit: 20, Lowest: 20, Highest: 20, Effective: 20, Used: 3, Peak: 3, Out: 3,
			Margin: 15 * time.Millisecond}
		if diff := cmp.Diff(want, s); diff != "" || err != nil {
			t.Errorf("state (-want +got), error %v:\n%s", err, diff)
		}

		line.set(true, false)
		go l.Acquire(t.Context(), ratelimit.Interactive)
		time.Sleep(10 * time.Second)
		s, err = l.State(t.Context())
		if !errors.Is(err, errCut) || !errors.Is(s.Err, errCut) || s.Waiting != [2]int{0, 1} || s.Limit != 20 {
			t.Errorf("with the line cut: %+v, error %v", s, err)
		}
	})
}

// Each process keeps the limit even if the clock of Redis runs five times too fast.
func TestProcessIsExactByItself(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, client := w.line(t, nil)
		l := limiter(t, ratelimit.Options{Redis: client, Limit: 5})
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
		u.atMost(t, 5)
		if n := u.count(); n < 45 {
			t.Errorf("%d permits were used in 10 s", n)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := ratelimit.New(ratelimit.Options{Limit: 10001, Validity: time.Millisecond, Margin: -1})
	want := strings.Join([]string{
		"rate limiter: option Redis is missing",
		"option Key is missing",
		"option Limit is 10001, it must be from 1 to 10000",
		"option Margin is -1ns, it must be from 1µs to 100ms",
		"option Validity is 1ms, it must be from 200ms to 10s",
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

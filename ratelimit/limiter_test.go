package ratelimit_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/ratelimit"
)

func TestNoProcessStarves(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		var wg sync.WaitGroup
		var each [3]uses
		for i := range each { // more processes than tokens
			_, client := w.link(t, nil)
			l := newLimiter(t, ratelimit.Options{Redis: client, Limit: 2})
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
				t.Errorf("process %d used %d of about 118 permits, want at least 20", i, n)
			}
		}
	})
}

func TestPriorities(t *testing.T) {
	// serviceOrder queues waiters while the first permit is held. Then it serves all of them and returns the order: i for
	// Interactive, b for Bulk.
	serviceOrder := func(t *testing.T, w *world, queue string) string {
		_, client := w.link(t, nil)
		l := newLimiter(t, ratelimit.Options{Redis: client, Limit: 100})
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
		{"urgent waiters get nine in ten permits while both wait", "bbb" + strings.Repeat("i", 30),
			"iiiiiiiiib" + "iiiiiiiiib" + "iiiiiiiiib" + "iii"},
		{"bulk waiters alone get all permits", strings.Repeat("b", 12), strings.Repeat("b", 12)},
	} {
		t.Run(c.name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				if diff := cmp.Diff(c.want, serviceOrder(t, w, c.queue)); diff != "" {
					t.Errorf("order of service (-want +got):\n%s", diff)
				}
			})
		})
	}
	t.Run("a reserved permit goes to the waiter that is most urgent then", func(t *testing.T) {
		inVirtualTime(t, func(t *testing.T, w *world) {
			_, client := w.link(t, nil)
			l := newLimiter(t, ratelimit.Options{Redis: client, Limit: 1})
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

func TestClose(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		_, ca := w.link(t, nil)
		_, cb := w.link(t, nil)
		a := newLimiter(t, ratelimit.Options{Redis: ca, Limit: 1})
		b := newLimiter(t, ratelimit.Options{Redis: cb, Limit: 1})
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
			t.Errorf("Acquire() during Close(): error = %v, want ErrClosed", err)
		}
		if _, err := a.Acquire(t.Context(), ratelimit.Bulk); !errors.Is(err, ratelimit.ErrClosed) {
			t.Errorf("Acquire() after Close(): error = %v, want ErrClosed", err)
		}
		wantElapsed(t, began, 0)
		p := mustAcquire(t, b, ratelimit.Bulk)
		wantElapsed(t, began, 105*time.Millisecond) // the use by a counts, and so does the margin
		go closeLimiter(t, b)
		synctest.Wait()
		mustUse(t, p)
	})
}

func TestCloseWithoutRedis(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		link, c := w.link(t, nil)
		l := newLimiter(t, ratelimit.Options{Redis: c})
		link.set(true, false)
		go l.Acquire(t.Context(), ratelimit.Bulk)
		time.Sleep(time.Minute)
		began := time.Now()
		closeLimiter(t, l)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("Close() took %v, want at most 2s", took)
		}
	})
}

func TestState(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		link, c := w.link(t, nil)
		l := newLimiter(t, ratelimit.Options{Redis: c})
		for range 3 {
			mustUse(t, mustAcquire(t, l, ratelimit.Bulk))
		}
		synctest.Wait()
		s, err := l.State(t.Context())
		want := ratelimit.State{Limit: 20, Lowest: 20, Highest: 20, Effective: 20, Used: 3, Peak: 3, Out: 3,
			Margin: 15 * time.Millisecond}
		if diff := cmp.Diff(want, s); diff != "" || err != nil {
			t.Errorf("State(): error = %v (-want +got):\n%s", err, diff)
		}

		link.set(true, false)
		go l.Acquire(t.Context(), ratelimit.Interactive)
		time.Sleep(10 * time.Second)
		s, err = l.State(t.Context())
		if !errors.Is(err, errCut) || !errors.Is(s.Err, errCut) || s.Waiting != [2]int{0, 1} || s.Limit != 20 {
			t.Errorf("State() with a cut link = %+v, %v", s, err)
		}
	})
}

package ratelimit_test

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"tiwsnap/ratelimit"
)

// api simulates the API at the other end of a network. It accepts up to limit calls of the account in any second,
// by their time of arrival, and refuses the others. Refused calls count, too. Other clients may use the same quota.
type api struct {
	limit    int
	calendar bool                    // counts calls per calendar second, not in a sliding window
	way      func() time.Duration    // one-way latency of a request or a response
	foreign  func(time.Duration) int // calls per second of other clients, evenly spread, by the time since the start
	began    time.Time

	mu      sync.Mutex
	next    time.Time // next call of the other clients
	counted []time.Time
	calls   []call // of the test, by arrival
}

type call struct {
	at time.Duration // since the start
	ok bool
}

// lognormal returns durations around a median, the same for the same seed.
func lognormal(seed uint64, median time.Duration, sigma float64) func() time.Duration {
	random := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	return func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(float64(median) * math.Exp(sigma*random.NormFloat64()))
	}
}

// arrive counts a call at t and reports whether it is accepted.
func (r *api) arrive(t time.Time) bool {
	n := 0
	for i := len(r.counted) - 1; i >= 0; i-- {
		c := r.counted[i]
		if r.calendar && c.Truncate(time.Second).Equal(t.Truncate(time.Second)) || !r.calendar && t.Sub(c) < time.Second {
			n++
		} else if t.Sub(c) > time.Second {
			break
		}
	}
	r.counted = append(r.counted, t)
	return n < r.limit
}

// send sends one request and waits for the response.
func (r *api) send(answer func() time.Duration) bool {
	if r.way != nil {
		time.Sleep(r.way())
	}
	r.mu.Lock()
	now := time.Now()
	if r.foreign != nil {
		for !r.next.After(now) {
			n := r.foreign(r.next.Sub(r.began))
			if n == 0 {
				r.next = r.next.Add(10 * time.Millisecond)
				continue
			}
			r.arrive(r.next)
			r.next = r.next.Add(time.Second / time.Duration(n))
		}
	}
	ok := r.arrive(now)
	r.calls = append(r.calls, call{now.Sub(r.began), ok})
	r.mu.Unlock()
	if !ok {
		time.Sleep(10 * time.Millisecond)
	} else {
		time.Sleep(answer())
	}
	if r.way != nil {
		time.Sleep(r.way())
	}
	return ok
}

// start starts the clock of the API.
func (r *api) start() {
	r.began, r.next = time.Now(), time.Now()
}

// count returns the number of calls of the test in [from, before), and how many of them were refused.
func (r *api) count(from, before time.Duration) (n, refused int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.calls {
		if from <= c.at && c.at < before {
			n++
			if !c.ok {
				refused++
			}
		}
	}
	return n, refused
}

// sendAll sends from several workers of each limiter until n requests are accepted or ctx ends.
func (r *api) sendAll(ctx context.Context, n, workers int, limiters ...*ratelimit.Limiter) {
	todo := make(chan struct{}, n)
	for range n {
		todo <- struct{}{}
	}
	close(todo)
	answer := lognormal(2, 80*time.Millisecond, 0.35)
	var wg sync.WaitGroup
	for _, l := range limiters {
		for range workers {
			wg.Go(func() {
				for range todo {
					for r.sendOne(ctx, l, ratelimit.Bulk, answer) == nil {
						break
					}
					if ctx.Err() != nil {
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// sendOne sends a request until it is accepted.
func (r *api) sendOne(ctx context.Context, l *ratelimit.Limiter, priority ratelimit.Priority,
	answer func() time.Duration) error {
	for {
		p, err := l.Acquire(ctx, priority)
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Millisecond) // the time to store the intent
		if p.Use(ctx) != nil {
			continue
		}
		p.Sent()
		if r.send(answer) {
			return nil
		}
		p.Throttled()
	}
}

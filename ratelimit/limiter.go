// Package ratelimit is a distributed rate limiter for one API action of one account. All processes that use the same
// Redis key share one token bucket, a Lua script in Redis. No second, however it is aligned, has more requests than the
// limit, and a backlog uses nearly all of it. The limiter adapts to rejections by the API. README.md explains the model
// and its proof.
package ratelimit

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"
)

var (
	// ErrClosed is returned by Acquire after Close.
	ErrClosed = errors.New("rate limiter is closed")
	// ErrStale means that the permit has expired, or was used or released before. Acquire a new one to send.
	ErrStale = errors.New("permit is void")
)

// MaxLimit is the highest supported limit, in requests per second.
const MaxLimit = 10_000

// Priority is the priority of a waiter.
type Priority int

const (
	Bulk        Priority = iota // can wait
	Interactive                 // a person is waiting
)

// interactiveRun is the number of permits in a row for Interactive while Bulk waits: nine of ten.
const interactiveRun = 9

const (
	callTimeout = time.Second           // of one call to Redis; a permit that takes longer has nearly expired
	minBackoff  = 25 * time.Millisecond // after the first failed call
	maxBackoff  = time.Second           // after many

	sendTime    = 100 * time.Millisecond // end of a permit's validity that is left for its request
	reportDelay = 50 * time.Millisecond  // longest delay of a report, to combine several in one call
	bunchDelay  = 200 * time.Millisecond // the same if Options.Bunch is above 1; must stay below a second

	// callInterval is the longest time between two calls: the bucket remembers the limit of a worker for at least 30 s.
	callInterval = 25 * time.Second
)

// batch returns the number of permits that a process reserves at once: least, or the permits of 40 ms if the limit is
// above 100. A process that is far from Redis reserves those of five round trips more: reserving a permit and recording
// the intent take a round trip each, and the reservation starts up to two before the instant.
func batch(least, limit int, distance time.Duration) int {
	n := least
	if limit > 100 {
		n = max(n, limit/25)
	}
	return n + int(math.Round(5*distance.Seconds()*float64(limit)))
}

// Limiter is the client of one process for a shared token bucket. It is safe for concurrent use. Close it when done.
//
// A bucket has Limit tokens. A permit takes one token, which returns one second plus the margin after its use. So no
// second, however it is aligned, has more than Limit requests. README.md has the proof, explains how margin and limit
// adapt to rejections, and lists the cases that the limiter cannot prevent.
//
// The process reserves a few permits ahead, more if Redis is far away, and gives each to the most urgent waiter when
// its instant is near. One round trip reports uses and reserves the next permits. While Redis is unavailable there are
// no permits, and after its state is lost there are none for some seconds. Each process also applies the limit to
// itself.
type Limiter struct {
	lead    time.Duration
	bunch   int
	bucket  *bucket
	guard   *guard
	wake    chan struct{}
	stopped chan struct{} // closed when run has ended
	stop    context.CancelFunc

	mu           sync.Mutex
	waiting      [2]*list.List // of chan *Permit, by Priority
	reserveAfter [2]time.Time  // earliest next reservation, by Priority
	inLine       bool          // this process is in the queue for bulk permits
	streak       int           // permits in a row for Interactive while Bulk waited
	ahead        []*Permit     // reservations that are not sent yet, by instant
	batch        int           // bound of ahead
	distance     time.Duration // shortest recent round trip to Redis
	number       uint64        // of the next permit
	reports      []report      // not yet sent to Redis
	reportAt     time.Time     // when to send them, unless a reservation comes before
	counts       counts        // requests that are in no record yet
	unrecorded   *record       // record that may not be in the history
	callNow      bool          // a call to Redis is due
	spread       bool          // request spreading in the next call
	failures     int           // failed calls in a row
	last         answer        // to the last successful call
	err          error         // of the last call
	callAfter    time.Time     // earliest next call (backoff)
	callBy       time.Time     // latest next call
	closed       bool
}

// New returns a running limiter. It calls Redis at once but does not wait, so that the second for which a new bucket is
// closed passes before the first Acquire. The error lists all invalid options.
func New(o Options) (*Limiter, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("rate limiter: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &Limiter{
		lead:    o.Lead,
		bunch:   o.Bunch,
		bucket:  newBucket(o),
		guard:   newGuard(o.Limit),
		batch:   batch(o.Bunch, o.Limit, 0),
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		stop:    stop,
		waiting: [2]*list.List{list.New(), list.New()},
		counts:  counts{},
		last:    answer{limit: o.Limit},
		callNow: true,
	}
	go l.run(ctx)
	return l, nil
}

// Acquire waits for a permit, also while Redis is unavailable. The caller must call Use and Sent, or Release. Until
// then the permit occupies one of the few reservations of this process, for up to Lead plus Validity. Errors are
// ErrClosed and those of the context.
func (l *Limiter) Acquire(ctx context.Context, priority Priority) (*Permit, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ready := make(chan *Permit, 1)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, ErrClosed
	}
	queue := l.waiting[Bulk]
	if priority >= Interactive {
		queue = l.waiting[Interactive]
	}
	place := queue.PushBack(ready)
	l.mu.Unlock()
	l.signal()

	select {
	case p := <-ready:
		if p == nil {
			return nil, ErrClosed
		}
		return p, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	queue.Remove(place)
	l.mu.Unlock()
	select {
	case p := <-ready: // handed out at the same time
		if p != nil {
			p.Release()
		}
	default:
	}
	return nil, ctx.Err()
}

// Spread spreads the bulk permits of all processes evenly over the second for the next five seconds. Without it they
// come in a burst, which completes a short job up to 0.9 s sooner. For a long job spreading costs these 0.9 s once, and
// then no part of a second is without a token. It does not block.
func (l *Limiter) Spread() {
	l.mu.Lock()
	l.spread, l.callNow = true, true
	l.mu.Unlock()
	l.signal()
}

// Limit returns the current limit as of the last call to Redis: the one set by hand, or else the lowest that a worker
// is configured for.
func (l *Limiter) Limit() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.limit
}

// Distance returns the shortest recent round trip to Redis, 0 to 250 ms; 0 before the first.
func (l *Limiter) Distance() time.Duration { return l.bucket.roundTrip() }

// State is the state of a limiter and its bucket.
type State struct {
	Limit     int           // permits in any second: set by hand, or the lowest that a worker is configured for
	Lowest    int           // lowest limit that a worker was configured for in the last minute; 0: there was none
	Highest   int           // highest one
	Effective int           // available rate: Limit less what other clients of the account use
	Used      int           // permits of all processes used in the last second, as far as reported
	Peak      int           // the same in the peak second of this minute and the last, by the clock of Redis
	Out       int           // tokens of all processes that are reserved, or used and not returned yet
	Waiting   [2]int        // callers of Acquire in this process, by Priority
	Margin    time.Duration // current one
	Err       error         // of the last call to Redis for permits; nil: it succeeded
}

// State reads the state of the bucket from Redis. On an error, which is that of Redis, only the fields that this
// process knows are set.
func (l *Limiter) State(ctx context.Context) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := l.bucket.call(ctx, request{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		a = answer{limit: l.last.limit}
	}
	s := a.state()
	s.Waiting, s.Err = [2]int{l.waiting[Bulk].Len(), l.waiting[Interactive].Len()}, l.err
	return s, err
}

// Read returns the state of a bucket without a Limiter. The limit of the options applies only if there is no worker.
// Errors are invalid options and those of Redis.
func Read(ctx context.Context, o Options) (State, error) {
	o.Follows = true
	o, err := o.withDefaults()
	if err != nil {
		return State{}, fmt.Errorf("rate limiter: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := newBucket(o).call(ctx, request{})
	return a.state(), err
}

func (a answer) state() State {
	return State{
		Limit: a.limit, Lowest: a.lowest, Highest: a.highest, Effective: a.currentLimit,
		Used: a.used, Peak: a.peak, Out: a.out, Margin: a.margin,
	}
}

// Close stops the limiter. Waiters get ErrClosed at once, and reservations that nobody holds return to the bucket. A
// held permit can still be used: Close waits for it, at most for its validity. The error is that of the context, if it
// ended first.
func (l *Limiter) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	for _, queue := range l.waiting {
		for queue.Len() > 0 {
			queue.Remove(queue.Front()).(chan *Permit) <- nil
		}
	}
	l.mu.Unlock()
	l.signal()
	defer l.stop()
	select {
	case <-l.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signal wakes run.
func (l *Limiter) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run reserves permits and hands them out, as the only goroutine that does.
func (l *Limiter) run(ctx context.Context) {
	defer close(l.stopped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		req, idle, done := l.next(time.Now())
		switch {
		case done:
			return
		case req != nil:
			l.call(ctx, *req)
			continue
		}
		timer.Reset(idle)
		select {
		case <-l.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// next does all local work that is due at now. It returns the next request to Redis, or else the time until more work
// is due, or that the limiter is closed and finished.
func (l *Limiter) next(now time.Time) (req *request, idle time.Duration, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	idle = math.MaxInt64
	due := func(t time.Time) bool {
		d := t.Sub(now)
		if d > 0 {
			idle = min(idle, d)
		}
		return d <= 0
	}

	waiting := func() int { return l.waiting[Bulk].Len() + l.waiting[Interactive].Len() }
	unclaimed := 0 // reservations that are not handed out yet
	l.ahead = slices.DeleteFunc(l.ahead, func(p *Permit) bool {
		switch {
		case p.state == lost, p.state == used && due(p.latest.Add(sendTime)):
			// It is unknown whether and when the request was sent. The token stays out until the permit expires.
			return true
		case p.state == used:
			return false
		case p.state == void, due(p.latest) || p.overdue(now), p.state == free && l.closed:
			p.state = void
			l.report(report{id: p.id})
			return true
		case p.state == held:
			return false
		case waiting() <= unclaimed:
			if due(p.at) {
				p.state = void
				l.report(report{id: p.id})
				return true
			}
		case due(p.at.Add(-l.lead - l.distance)):
			p.state = held
			l.pop() <- p
			return false
		}
		unclaimed++
		return false
	})

	urgent, count := l.reservation(unclaimed, due)
	leave := l.inLine && l.waiting[Bulk].Len() == 0
	if count > 0 || len(l.reports) > 0 && due(l.reportAt) || leave || l.callNow || !l.closed && due(l.callBy) {
		if !due(l.callAfter) {
			return nil, idle, false
		}
		req = &request{reports: l.reports, leave: leave, spread: l.spread, urgent: urgent, number: l.number, count: count}
		l.number += uint64(count)
		l.reports, l.inLine, l.callNow, l.spread = nil, l.inLine && !leave, false, false
		return req, 0, false
	}
	return nil, idle, l.closed && len(l.ahead) == 0 && len(l.reports) == 0
}

// reservation returns the number of permits to reserve now, and whether they are urgent. unclaimed is the number of
// reservations that are not handed out yet.
func (l *Limiter) reservation(unclaimed int, due func(time.Time) bool) (urgent bool, count int) {
	if len(l.ahead) > l.batch/2 {
		return false, 0
	}
	count = l.batch - len(l.ahead)
	if n := l.waiting[Interactive].Len() - unclaimed; n > 0 && due(l.reserveAfter[Interactive]) {
		return true, min(count, n)
	}
	if n := l.waiting[Bulk].Len() - unclaimed; n > 0 && due(l.reserveAfter[Bulk]) {
		return false, min(count, n)
	}
	return false, 0
}

// report queues a report. At a low limit it is sent at once; otherwise it waits for others, to save calls.
func (l *Limiter) report(r report) {
	if len(l.reports) == 0 {
		l.reportAt = time.Now()
		switch {
		case l.bunch > 1:
			l.reportAt = l.reportAt.Add(bunchDelay)
		case l.batch > 1:
			l.reportAt = l.reportAt.Add(reportDelay)
		}
	}
	l.reports = append(l.reports, r)
}

// pop removes the most urgent waiter. At least one queue must not be empty.
func (l *Limiter) pop() chan<- *Permit {
	queue := l.waiting[Interactive]
	if l.waiting[Bulk].Len() > 0 {
		if queue.Len() > 0 && l.streak < interactiveRun {
			l.streak++
		} else {
			queue, l.streak = l.waiting[Bulk], 0
		}
	}
	return queue.Remove(queue.Front()).(chan *Permit)
}

// call makes one call to Redis and processes the answer.
func (l *Limiter) call(ctx context.Context, req request) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	a, err := l.bucket.call(ctx, req)
	cancel()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	if err == nil {
		l.failures, l.last = 0, a
		l.guard.set(a.limit)
		l.distance = l.bucket.roundTrip()
		l.batch = batch(l.bunch, a.limit, l.distance)
		l.callBy = time.Now().Add(callInterval)
		for _, r := range a.permits {
			l.ahead = append(l.ahead, &Permit{limiter: l, reservation: r})
		}
		slices.SortStableFunc(l.ahead, func(p, q *Permit) int { return p.at.Compare(q.at) })
		if req.count > 0 {
			l.reserveAfter[priorityOf(req.urgent)] = a.again
			if !req.urgent {
				l.inLine = len(a.permits) == 0
			}
		}
		return
	}
	if l.closed {
		return // tokens of lost reports return when their permits expire
	}
	l.reports = append(req.reports, l.reports...)
	for i := range req.count { // Redis may have reserved them despite the error
		l.reports = append(l.reports, report{id: l.bucket.id(req.number + uint64(i))})
	}
	l.callNow = true
	backoff := min(maxBackoff, minBackoff<<min(l.failures, 10))
	l.callAfter = time.Now().Add(backoff/2 + mathrand.N(backoff))
	l.failures++
}

func priorityOf(urgent bool) Priority {
	if urgent {
		return Interactive
	}
	return Bulk
}

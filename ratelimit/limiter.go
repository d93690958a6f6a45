// Package ratelimit is a rate limiter for one API action of one account, shared
// by all processes of a Redis. No second holds more than the limit, and a
// backlog uses nearly all of it. README.md has the proof.
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
	// ErrClosed means that the limiter was closed.
	ErrClosed = errors.New("rate limiter is closed")
	// ErrStale means that the permit is void: its time has passed, or it was
	// used or released before. Whoever still wants to send acquires a new one.
	ErrStale = errors.New("permit is void")
)

// MaxLimit is the greatest limit that is supported.
const MaxLimit = 10_000

// Priority says who is served first.
type Priority int

const (
	Bulk        Priority = iota // can wait
	Interactive                 // somebody is waiting for it
)

// interactiveRun is how many permits in a row Interactive gets while Bulk
// waits too: nine in ten.
const interactiveRun = 9

const (
	callTimeout = time.Second           // one call to Redis; a permit that took longer to get is hardly of use
	minBackoff  = 25 * time.Millisecond // after the first failed call
	maxBackoff  = time.Second           // after many

	sendTime    = 100 * time.Millisecond // what is left of a permit's validity for its send, at least
	reportDelay = 50 * time.Millisecond  // of a report, where permits are many,
	bunchDelay  = 200 * time.Millisecond // and where they are reserved in bunches; it must come within a second

	// silence is the longest time between two calls to Redis: the bucket
	// remembers a limit for 30 seconds at the least.
	silence = 25 * time.Second
)

// batch is how many permits a process reserves at once: those of its options, or the
// share of 40 ms of a limit above 100. A process that is far from Redis reserves more, so
// that enough are on their way: each takes a round trip to be reserved, and one
// to be written down, and is asked for up to two before its instant.
func batch(least, limit int, distance time.Duration) int {
	n := least
	if limit > 100 {
		n = max(n, limit/25)
	}
	return n + int(math.Round(5*distance.Seconds()*float64(limit)))
}

// Limiter is one process's side of a shared token bucket. Safe for concurrent
// use. Close it when done.
//
// A bucket has Limit tokens. The use of a permit takes one out, and it comes
// back a second plus the margin later, so that no second, however drawn, holds
// more than Limit sends. README.md has the proof, how margin and limit adapt
// to refusals, and what is out of reach.
//
// The process reserves a few permits ahead, more where Redis is far away, and
// hands each to the most urgent waiter when its instant is near. The report of
// a use and the next reservation are one round trip. Redis being away or its
// state lost means no permits; for its own part every process also keeps to the
// limit by itself.
type Limiter struct {
	lead    time.Duration
	bunch   int
	bucket  *bucket
	guard   *guard
	wake    chan struct{}
	stopped chan struct{} // closed when run has ended
	stop    context.CancelFunc

	mu         sync.Mutex
	waiting    [2]*list.List // of chan *Permit, by Priority
	askAfter   [2]time.Time  // no reservation for them before
	inLine     bool          // Bulk was told when to come back
	streak     int           // permits in a row for Interactive while Bulk waited
	ahead      []*Permit     // reservations of this process that are not sent yet, by instant
	batch      int           // how many of them there may be
	distance   time.Duration // the shortest round trip to Redis
	number     uint64        // of the next permit
	reports    []report      // not yet told to Redis
	reportAt   time.Time     // when they must be, unless a reservation comes before
	counts     counts        // of requests that are in no record yet
	unrecorded *record       // not known to be in the history
	greet      bool          // Redis must be called
	spread     bool          // and is to spread what is not urgent
	failures   int           // calls to Redis that failed in a row
	last       answer        // to the last call that did not fail
	err        error         // of the last call
	callAfter  time.Time     // no call to Redis before
	callBy     time.Time     // and one at the latest by then
	closed     bool
}

// New returns a running limiter. It does not wait for Redis but calls it at
// once, so that the second for which a new bucket stays shut passes before the
// first permit is wanted. The error lists every fault of the options.
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
		greet:   true,
	}
	go l.run(ctx)
	return l, nil
}

// Acquire waits for a permit. The holder must call Use and Sent on it, or Release: until
// then nobody else in this process gets one, for up to Lead plus Validity.
// While Redis is away Acquire keeps waiting. Errors: ErrClosed, and the
// context's.
func (l *Limiter) Acquire(ctx context.Context, urgency Priority) (*Permit, error) {
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
	if urgency >= Interactive {
		queue = l.waiting[Interactive]
	}
	place := queue.PushBack(ready)
	l.mu.Unlock()
	l.poke()

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
	case p := <-ready: // handed over in the same moment
		if p != nil {
			p.Release()
		}
	default:
	}
	return nil, ctx.Err()
}

// Spread has Bulk permits spread evenly over the second, those of all processes,
// for the next five seconds. Without it they come in a bunch, as tokens do:
// that ends a short piece of work up to 0.9 s sooner. Where much is to be done
// spreading costs the same 0.9 s once, and no part of a second is without a
// token. It does not block.
func (l *Limiter) Spread() {
	l.mu.Lock()
	l.spread, l.greet = true, true
	l.mu.Unlock()
	l.poke()
}

// Limit returns the limit in force as this process knows it: the one that was
// set by hand, or else the lowest that a worker is configured for.
func (l *Limiter) Limit() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.limit
}

// Distance returns the shortest round trip to Redis of late, 0 to 250 ms; 0
// before the first.
func (l *Limiter) Distance() time.Duration { return l.bucket.away() }

// State is what a limiter can tell about itself and its bucket.
type State struct {
	Limit     int           // permits in any second: set by hand, or the lowest that a worker is configured for
	Lowest    int           // limit that a worker was configured for within the last minute; 0: there was none
	Highest   int           // the same
	Effective int           // what is left of them, lower where others spend too
	Used      int           // permits of all processes used in the last second, as far as reported
	Peak      int           // the same in the peak second of this minute and the last, by the clock of Redis
	Out       int           // tokens of all processes that are out: reserved, or used and not back yet
	Waiting   [2]int        // callers of Acquire in this process, by Priority
	Margin    time.Duration // at the moment
	Err       error         // of the last call to Redis for permits; nil while all is well
}

// State asks Redis how the bucket is. With an error, which is that of Redis,
// only what this process knows by itself is filled in.
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

// Read returns the state of a bucket for somebody who takes no permits: the
// limit of the options counts only where no worker has asked for one. The error
// is that of the options or of Redis.
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

// Close ends the limiter. Waiters get ErrClosed at once and a reservation that
// nobody holds goes back to the bucket. A permit that is held may still be
// used: Close waits for it, at most for its validity. The error is the
// context's, if that ended first.
func (l *Limiter) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	for _, queue := range l.waiting {
		for queue.Len() > 0 {
			queue.Remove(queue.Front()).(chan *Permit) <- nil
		}
	}
	l.mu.Unlock()
	l.poke()
	defer l.stop()
	select {
	case <-l.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poke makes run look again.
func (l *Limiter) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run is the only one that reserves permits and hands them out.
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
			l.tell(ctx, *req)
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

// next does all that is due at now without Redis. It returns the request that
// Redis must hear, or else for how long there is nothing to do unless
// something happens, or that all is done.
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
	unclaimed := 0 // reservations that are for waiters to come
	l.ahead = slices.DeleteFunc(l.ahead, func(p *Permit) bool {
		switch {
		case p.state == lost, p.state == used && due(p.latest.Add(sendTime)):
			// Whether and when it was sent, nobody knows: its token stays out
			// for as long as it may take.
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
	if count > 0 || len(l.reports) > 0 && due(l.reportAt) || leave || l.greet || !l.closed && due(l.callBy) {
		if !due(l.callAfter) {
			return nil, idle, false
		}
		req = &request{reports: l.reports, leave: leave, spread: l.spread, urgent: urgent, number: l.number, count: count}
		l.number += uint64(count)
		l.reports, l.inLine, l.greet, l.spread = nil, l.inLine && !leave, false, false
		return req, 0, false
	}
	return nil, idle, l.closed && len(l.ahead) == 0 && len(l.reports) == 0
}

// reservation returns how many permits to reserve now, and whether they are
// urgent, if so many of those reserved are for waiters to come.
func (l *Limiter) reservation(unclaimed int, due func(time.Time) bool) (urgent bool, count int) {
	if len(l.ahead) > l.batch/2 {
		return false, 0
	}
	count = l.batch - len(l.ahead)
	if n := l.waiting[Interactive].Len() - unclaimed; n > 0 && due(l.askAfter[Interactive]) {
		return true, min(count, n)
	}
	if n := l.waiting[Bulk].Len() - unclaimed; n > 0 && due(l.askAfter[Bulk]) {
		return false, min(count, n)
	}
	return false, 0
}

// report queues a report. One alone is told at once; where permits are many
// they wait for each other.
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

// pop takes the most urgent waiter out of the queues, of which one at least
// is not empty.
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

// tell makes one call to Redis and takes in the answer.
func (l *Limiter) tell(ctx context.Context, req request) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	a, err := l.bucket.call(ctx, req)
	cancel()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	if err == nil {
		l.failures, l.last = 0, a
		l.guard.set(a.limit)
		l.distance = l.bucket.away()
		l.batch = batch(l.bunch, a.limit, l.distance)
		l.callBy = time.Now().Add(silence)
		for _, r := range a.permits {
			l.ahead = append(l.ahead, &Permit{limiter: l, reservation: r})
		}
		slices.SortStableFunc(l.ahead, func(p, q *Permit) int { return p.at.Compare(q.at) })
		if req.count > 0 {
			l.askAfter[priority(req.urgent)] = a.again
			if !req.urgent {
				l.inLine = len(a.permits) == 0
			}
		}
		return
	}
	if l.closed {
		return // what is untold comes right by itself, only later
	}
	l.reports = append(req.reports, l.reports...)
	for i := range req.count { // Redis may have reserved them all the same
		l.reports = append(l.reports, report{id: l.bucket.id(req.number + uint64(i))})
	}
	l.greet = true
	backoff := min(maxBackoff, minBackoff<<min(l.failures, 10))
	l.callAfter = time.Now().Add(backoff/2 + mathrand.N(backoff))
	l.failures++
}

func priority(urgent bool) Priority {
	if urgent {
		return Interactive
	}
	return Bulk
}

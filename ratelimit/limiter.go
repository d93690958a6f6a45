// Package ratelimit hands out permits to call one API action of one account,
// to any number of processes that share a Redis: never more than the limit
// are used in any second, and nearly as many as the limit when they are wanted.
package ratelimit

import (
	"cmp"
	"container/list"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrClosed means that the limiter was closed.
	ErrClosed = errors.New("rate limiter is closed")
	// ErrStale means that the permit is void: its time has passed, or it was
	// used or released before. Whoever still wants to send acquires a new one.
	ErrStale = errors.New("permit is void")
)

// Priority says who is served first in a process.
type Priority int

const (
	Bulk        Priority = iota // can wait
	Interactive                 // somebody is waiting for it
)

// interactiveRun is how many permits in a row Interactive gets while Bulk
// waits too: nine in ten.
const interactiveRun = 9

const (
	callTimeout = time.Second            // one call to Redis; a permit that took longer to get is hardly of use
	minBackoff  = 25 * time.Millisecond  // after the first failed call
	maxBackoff  = time.Second            // after many
	askAgain    = 250 * time.Millisecond // after being turned away, up to twice that

	sendTime = 100 * time.Millisecond // what is left of a permit's validity for its send, at least
)

// Options of a Limiter. The zero value of a field is its default.
type Options struct {
	// Redis holds the bucket. Its clock is the only one that counts. Let the
	// client heed the context's deadline (ContextTimeoutEnabled), or a frozen
	// server is noticed only after the client's own timeouts.
	Redis redis.UniversalClient
	// Key is the prefix of the bucket's two keys, from keys.Limit. All
	// limiters with this key share one limit.
	Key string
	// Limit is how many permits may be used in any second, 1 to 1000,
	// default 20.
	Limit int
	// Margin is added to the second before a token returns, up to 1 s, default
	// 15 ms. It covers how much the way from the use of a permit to where
	// requests are counted varies.
	Margin time.Duration
	// Spacing is the least time between two permits, up to 1 s. The default is
	// 5 ms, or a quarter of a second divided by Limit where that is less.
	Spacing time.Duration
	// Validity is how long after its instant a permit's send must be done, 200 ms
	// to 10 s, default 1 s; Use fails in the last 100 ms of it. A permit that is never accounted for (its
	// process died) is missing for this much longer than a used one.
	Validity time.Duration
	// Lead is how long before its instant a permit is handed out, up to 1 s,
	// default 10 ms: time to write down what is about to be sent.
	Lead time.Duration
}

func (o Options) withDefaults() (Options, error) {
	o.Limit = cmp.Or(o.Limit, 20)
	o.Margin = cmp.Or(o.Margin, 15*time.Millisecond)
	o.Spacing = cmp.Or(o.Spacing, min(5*time.Millisecond, time.Second/4/time.Duration(max(o.Limit, 1))))
	o.Validity = cmp.Or(o.Validity, time.Second)
	o.Lead = cmp.Or(o.Lead, 10*time.Millisecond)

	var errs []error
	if o.Redis == nil {
		errs = append(errs, errors.New("option Redis is missing"))
	}
	if o.Key == "" {
		errs = append(errs, errors.New("option Key is missing"))
	}
	if o.Limit < 1 || o.Limit > 1000 {
		errs = append(errs, fmt.Errorf("option Limit is %d, it must be from 1 to 1000", o.Limit))
	}
	for _, d := range []struct {
		name            string
		value, min, max time.Duration
	}{
		{"Margin", o.Margin, time.Microsecond, time.Second},
		{"Spacing", o.Spacing, time.Microsecond, time.Second},
		{"Validity", o.Validity, 2 * sendTime, 10 * time.Second},
		{"Lead", o.Lead, time.Microsecond, time.Second},
	} {
		if d.value < d.min || d.value > d.max {
			errs = append(errs, fmt.Errorf("option %s is %v, it must be from %v to %v", d.name, d.value, d.min, d.max))
		}
	}
	return o, errors.Join(errs...)
}

// Limiter is one process's side of a shared token bucket. Safe for concurrent
// use. Close it when done.
//
// A bucket has Limit tokens. The use of a permit takes one out, and it comes
// back a second plus the margin later:
//
//	               used                       token back
//	permit 1         |------- 1 s --------|margin|
//	permit 2           |------- 1 s --------|margin|
//	  ...
//	permit Limit           |------- 1 s --------|margin|
//	permit Limit+1   no token: waits ----------->|
//
// Why no second, however drawn, holds more than Limit sends: a token counts as
// out from the reservation of its permit on. Until the send is reported it is
// out for as long as the latest send requires for which there is time, so that
// a report moves its return to an earlier moment, and never to one less than a
// second plus the margin after the send. Now take any second and, of the
// permits sent in it, the one that was reserved last. When its instant was
// chosen, at most Limit-1 other tokens were to be out beyond that instant. All
// others were to return before it, so their sends lie more than a second before
// this one. Hence the second holds at most Limit, whatever the order of the
// sends, however late anybody was and whoever died.
//
// The holder reports a send when it is done. Being held up between Use and the
// send, as happens on a busy machine, makes it late like any other delay, and
// the token is out for longer.
//
// The process reserves one permit ahead and hands it to the most urgent waiter
// when its instant is near. The report of its use and the next reservation are
// one round trip to Redis. So one process gets at most one permit in the time
// of a round trip plus what its holder takes from Acquire to Use, and a token
// returns a round trip later than it could. With Limit 20 that is 19.7 permits
// a second beside Redis and 19.3 at a round trip of 20 ms; at 100 ms it is 17.9
// for several processes together and at most 10 for one, 5 if the holder also
// makes a round trip before it sends.
//
// Where the state of the bucket is lost or older than what this process has
// seen (FLUSHALL, a failover), nothing is handed out until every permit that
// may be out has had its time: about three seconds. Without Redis there are no
// permits. Beside the bucket every process keeps to the limit by itself.
//
// Out of reach are a holder that is stopped for so long between Use and its
// send that the permit's validity is over by then, a clock of Redis that jumps
// forward, and a loss of state that nobody notices but processes that began
// after it.
type Limiter struct {
	lead    time.Duration
	margin  time.Duration
	bucket  *bucket
	guard   *guard
	name    string // of this process in permit ids
	wake    chan struct{}
	stopped chan struct{} // closed when run has ended
	stop    context.CancelFunc

	mu        sync.Mutex
	waiting   [2]*list.List // of chan *Permit, by Priority
	streak    int           // permits in a row for Interactive while Bulk waited
	ahead     *Permit       // the one reservation of this process
	number    uint64        // of the next permit
	reports   []report      // not yet told to Redis
	throttled bool          // not yet told to Redis
	greet     bool          // Redis has not been called yet
	failures  int           // calls to Redis that failed in a row
	err       error         // of the last call
	callAfter time.Time     // no call to Redis before
	askAfter  time.Time     // no reservation before
	closed    bool
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
		lead:   o.Lead,
		margin: o.Margin,
		bucket: &bucket{
			redis:    o.Redis,
			keys:     []string{o.Key, o.Key + ":meta"},
			limit:    o.Limit,
			keep:     time.Second + o.Margin,
			validity: o.Validity,
			spacing:  o.Spacing,
		},
		guard:   newGuard(o.Limit),
		name:    rand.Text()[:10],
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		stop:    stop,
		waiting: [2]*list.List{list.New(), list.New()},
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

// Throttled tells everybody that the API has refused a request because the
// quota was spent (RequestLimitExceeded): somebody else uses it too. The
// effective limit is cut and recovers by one each second. It does not block.
func (l *Limiter) Throttled() {
	l.mu.Lock()
	l.throttled = true
	l.mu.Unlock()
	l.poke()
}

// State is what a limiter can tell about itself and its bucket.
type State struct {
	Limit     int           // permits in any second, as configured
	Effective int           // the same at the moment, lower after Throttled
	Used      int           // permits of all processes used in the last second, as far as reported
	Out       int           // tokens of all processes that are out: reserved, or used and not back yet
	Waiting   [2]int        // callers of Acquire in this process, by Priority
	Margin    time.Duration // as configured
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
	return State{
		Limit:     l.bucket.limit,
		Effective: a.effective,
		Used:      a.used,
		Out:       a.out,
		Waiting:   [2]int{l.waiting[Bulk].Len(), l.waiting[Interactive].Len()},
		Margin:    l.margin,
		Err:       l.err,
	}, err
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

	waiting := l.waiting[Bulk].Len() + l.waiting[Interactive].Len()
	if p := l.ahead; p != nil {
		switch {
		case p.state == lost, p.state == used && due(p.latest.Add(sendTime)):
			// Whether and when it was sent, nobody knows: its token stays out
			// for as long as it may take.
			l.ahead = nil
		case p.state == used:
		case due(p.latest) || p.overdue(now), p.state == void, p.state == free && l.closed:
			p.state = void
			l.settle(report{id: p.id})
		case p.state == held:
		case waiting == 0:
			if due(p.at) {
				l.settle(report{id: p.id})
			}
		case due(p.at.Add(-l.lead)):
			p.state = held
			l.pop() <- p
		}
	}

	reserve := l.ahead == nil && waiting > 0 && due(l.askAfter)
	if reserve || len(l.reports) > 0 || l.throttled || l.greet {
		if !due(l.callAfter) {
			return nil, idle, false
		}
		req = &request{reports: l.reports, throttled: l.throttled}
		if reserve {
			l.number++
			req.reserve = l.name + "-" + strconv.FormatUint(l.number, 36)
		}
		l.reports, l.throttled, l.greet = nil, false, false
		return req, 0, false
	}
	return nil, idle, l.closed && l.ahead == nil
}

// settle parts with the permit ahead.
func (l *Limiter) settle(r report) {
	l.ahead = nil
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
		l.failures = 0
		switch {
		case a.permit != nil:
			l.ahead = &Permit{limiter: l, reservation: a.permit}
		case req.reserve != "":
			// More processes than tokens, or a bucket that is shut.
			l.askAfter = time.Now().Add(askAgain + mathrand.N(askAgain))
		}
		return
	}
	if l.closed {
		return // what is untold comes right by itself, only later
	}
	l.reports = append(req.reports, l.reports...)
	if req.reserve != "" { // Redis may have done it all the same
		l.reports = append(l.reports, report{id: req.reserve})
	}
	l.throttled = l.throttled || req.throttled
	l.greet = true
	backoff := min(maxBackoff, minBackoff<<min(l.failures, 10))
	l.callAfter = time.Now().Add(backoff/2 + mathrand.N(backoff))
	l.failures++
}

// Permit allows one send.
type Permit struct {
	limiter *Limiter
	*reservation
	state permitState // guarded by the limiter's mu
}

type permitState int

const (
	free permitState = iota // reserved, not handed out
	held
	used // but not sent yet
	sent
	lost // used, and perhaps sent
	void
)

// Use waits for the permit's instant. After nil the caller must send at once,
// and tell by Sent when that is done; after any error the permit is gone.
// Errors: ErrStale, and the context's.
func (p *Permit) Use(ctx context.Context) error {
	l := p.limiter
	err := sleep(ctx, time.Until(p.at))
	if err == nil && p.mayBeUsed() {
		err = l.guard.wait(ctx)
	}
	if err != nil {
		p.Release()
		return err
	}
	defer l.poke()
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.state != held {
		return ErrStale
	}
	// The clock is read last, so that it counts whatever has held this up.
	if p.overdue(time.Now()) {
		p.state = void
		return ErrStale
	}
	p.state = used
	return nil
}

// Sent tells that what the permit was used for has just been sent. It does not
// block. Without it the token is missing for longer: by the validity.
func (p *Permit) Sent() {
	now := time.Now()
	l := p.limiter
	l.mu.Lock()
	if p.state == used || p.state == lost {
		p.state = sent
		if l.ahead == p {
			l.ahead = nil
		}
		l.reports = append(l.reports, report{p.id, now})
	}
	l.mu.Unlock()
	l.poke()
}

func (p *Permit) mayBeUsed() bool {
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	return p.state == held && !p.overdue(time.Now())
}

// Release gives a permit back that will not be used, to the next waiter of
// this process or to the bucket. Of one that was used and not sent it tells
// that no more will be heard of it. It does nothing to a permit that was sent
// or released before, or that has become void.
func (p *Permit) Release() {
	l := p.limiter
	l.mu.Lock()
	switch p.state {
	case held:
		p.state = void
		l.ahead = &Permit{limiter: l, reservation: p.reservation}
	case used:
		p.state = lost
	}
	l.mu.Unlock()
	l.poke()
}

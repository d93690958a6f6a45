package ratelimit

import (
	"context"
	"slices"
	"time"
)

// Permit allows one request.
type Permit struct {
	limiter *Limiter
	*reservation
	state permitState // guarded by the limiter's mu
}

type permitState int

const (
	free permitState = iota // reserved, not handed out
	held                    // returned by Acquire
	used                    // Use succeeded, the request is being sent
	sent                    // Sent was called
	lost                    // released after Use: perhaps sent
	void                    // expired, or returned unused
)

// Use waits for the instant of the permit. After nil the caller must send at once and then call Sent. After an error
// the permit is no longer valid. Errors are ErrStale and those of the context.
func (p *Permit) Use(ctx context.Context) error {
	l := p.limiter
	err := sleep(ctx, time.Until(p.at))
	if err == nil && p.valid() {
		err = l.guard.wait(ctx)
	}
	if err != nil {
		p.Release()
		return err
	}
	defer l.signal()
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.state != held {
		return ErrStale
	}
	// Read the clock last, so that every delay counts.
	if p.overdue(time.Now()) {
		p.state = void
		return ErrStale
	}
	p.state = used
	p.count(1, 0)
	return nil
}

// Sent reports that the request was sent just now. It does not block. Without it the token returns later, by the
// validity.
func (p *Permit) Sent() {
	now := time.Now()
	l := p.limiter
	l.mu.Lock()
	if p.state == used || p.state == lost {
		p.state = sent
		l.ahead = slices.DeleteFunc(l.ahead, func(q *Permit) bool { return q == p })
		l.report(report{id: p.id, sent: now})
	}
	l.mu.Unlock()
	l.signal()
}

// Throttled reports that the API rejected the request of the permit with RequestLimitExceeded. The bucket adapts for
// all processes. It does not block.
func (p *Permit) Throttled() {
	l := p.limiter
	l.mu.Lock()
	p.count(0, 1)
	l.report(report{id: p.id, refused: true})
	l.reportAt = time.Now()
	l.mu.Unlock()
	l.signal()
}

// valid reports whether the permit is held and has not expired.
func (p *Permit) valid() bool {
	p.limiter.mu.Lock()
	defer p.limiter.mu.Unlock()
	return p.state == held && !p.overdue(time.Now())
}

// Release returns an unused permit to the next waiter of this process or to the bucket. After Use without Sent it means
// that Sent will not be called, and the token returns when the permit expires. It does nothing if the permit was sent
// or released before, or has expired.
func (p *Permit) Release() {
	l := p.limiter
	l.mu.Lock()
	switch p.state {
	case held:
		p.state = void
		l.ahead[slices.Index(l.ahead, p)] = &Permit{limiter: l, reservation: p.reservation}
	case used:
		p.state = lost
	}
	l.mu.Unlock()
	l.signal()
}

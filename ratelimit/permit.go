package ratelimit

import (
	"context"
	"slices"
	"time"
)

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
	p.count(1, 0)
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
		l.ahead = slices.DeleteFunc(l.ahead, func(q *Permit) bool { return q == p })
		l.report(report{id: p.id, sent: now})
	}
	l.mu.Unlock()
	l.poke()
}

// Throttled tells everybody that the API has refused the request of the permit
// because the quota was spent (RequestLimitExceeded). It does not block.
func (p *Permit) Throttled() {
	l := p.limiter
	l.mu.Lock()
	p.count(0, 1)
	l.report(report{id: p.id, refused: true})
	l.reportAt = time.Now()
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
		l.ahead[slices.Index(l.ahead, p)] = &Permit{limiter: l, reservation: p.reservation}
	case used:
		p.state = lost
	}
	l.mu.Unlock()
	l.poke()
}

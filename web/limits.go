package web

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rates limits how often each of many does something: a token bucket for each.
// It is safe for concurrent use.
type rates struct {
	limit rate.Limit // a second
	burst int        // at once

	mu sync.Mutex
	by map[string]*rate.Limiter
}

// maxRated bounds those that are remembered.
const maxRated = 10_000

// take counts one of who. If there were too many it returns after what time
// there is one more, else 0.
func (q *rates) take(who string) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	l := q.by[who]
	if l == nil {
		if len(q.by) >= maxRated {
			q.forget(now)
		}
		if q.by == nil {
			q.by = map[string]*rate.Limiter{}
		}
		l = rate.NewLimiter(q.limit, q.burst)
		q.by[who] = l
	}
	if l.AllowN(now, 1) {
		return 0
	}
	wait := time.Duration((1 - l.TokensAt(now)) / float64(q.limit) * float64(time.Second))
	return max(wait, time.Second)
}

// forget drops those that have done nothing lately, or all.
func (q *rates) forget(now time.Time) {
	for who, l := range q.by {
		if l.TokensAt(now) >= float64(q.burst) {
			delete(q.by, who)
		}
	}
	if len(q.by) >= maxRated {
		clear(q.by)
	}
}

// requests limits how many requests a principal makes. A person's browser loads
// a wall of pictures at once; how many are served at a time is bounded by slots.
type requests struct{ tokens, persons rates }

func newRequests() *requests {
	return &requests{tokens: rates{limit: 50, burst: 200}, persons: rates{limit: 200, burst: 2000}}
}

// take counts one request. It returns a *Problem if there were too many.
func (q *requests) take(p Principal) *Problem {
	limit := &q.persons
	if p.Token {
		limit = &q.tokens
	}
	wait := limit.take(p.Key())
	if wait == 0 {
		return nil
	}
	return NewProblem(http.StatusTooManyRequests, codeRate, "more than %g requests a second", float64(limit.limit)).
		RetryAfter(wait)
}

// attempts limits how often credentials are tried: of each address, and in all.
// A login counts whether it succeeds or not.
type attempts struct{ address, all rates }

func newAttempts() *attempts {
	return &attempts{
		address: rates{limit: rate.Every(10 * time.Second), burst: 10},
		all:     rates{limit: rate.Every(time.Second), burst: 60},
	}
}

// take counts an attempt from remote, which is an IP address with a port. It
// returns a *LimitedError if there were too many.
func (a *attempts) take(remote string) error {
	// An address that is refused takes nothing from the others.
	if wait := a.address.take(network(remote).String()); wait > 0 {
		return &LimitedError{wait}
	}
	if wait := a.all.take(""); wait > 0 {
		return &LimitedError{wait}
	}
	return nil
}

// network is what counts as one address: of IPv6 the 64 bits that one customer
// has at least.
func network(remote string) netip.Prefix {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := addr.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// slots bound what is under way at a time: in all, and for one of those that
// share them, so that nobody alone can keep the others out by being slow. The
// zero value bounds nothing. It is safe for concurrent use.
type Slots struct {
	What     string        // for the answer to those who find none, as in "lists are being uploaded"
	All, Own int           // 0: any number
	Retry    time.Duration // Retry-After of that answer

	mu    sync.Mutex
	taken int
	by    map[string]int
	freed chan struct{} // closed when one is
}

// try takes a slot, and reports whether there was one. Otherwise freed is closed
// when there may be.
func (s *Slots) try(who string) (ok bool, freed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.All > 0 && s.taken >= s.All || s.Own > 0 && s.by[who] >= s.Own {
		if s.freed == nil {
			s.freed = make(chan struct{})
		}
		return false, s.freed
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.taken++
	s.by[who]++
	return true, nil
}

func (s *Slots) free(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.by[who]--; s.by[who] == 0 {
		delete(s.by, who)
	}
	if s.freed != nil {
		close(s.freed)
		s.freed = nil
	}
}

// take takes a slot for who makes the request of ctx, until free is called. The
// error is a *Problem.
func (s *Slots) Take(ctx context.Context) (free func(), err error) { return s.Await(ctx, 0) }

// await is take for those who wait for a slot, for patience at most.
func (s *Slots) Await(ctx context.Context, patience time.Duration) (free func(), err error) {
	who := PrincipalOf(ctx).Key()
	if PrincipalOf(ctx).Name == "" { // as with a link to pictures
		who = "address " + network(AddressOf(ctx)).String()
	}
	if !s.wait(ctx, who, patience) {
		return nil, NewProblem(http.StatusServiceUnavailable, codeBusy,
			"too many %s already: at most %d, and %d of one token or user", s.What, s.All, s.Own).RetryAfter(s.Retry)
	}
	return func() { s.free(who) }, nil
}

// wait takes a slot, for which it waits for patience at most, and reports whether there was one.
func (s *Slots) wait(ctx context.Context, who string, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ok, freed := s.try(who)
		if ok {
			return true
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return false
		}
	}
}

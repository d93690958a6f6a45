package web

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rates is a rate limit for each of many clients, by token buckets. It is safe for concurrent use.
type rates struct {
	limit rate.Limit // a second
	burst int        // at once

	mu sync.Mutex
	by map[string]*rate.Limiter
}

// maxRated bounds the clients in memory.
const maxRated = 10_000

// take counts one event of a client. It returns 0, or how long until the next one is allowed.
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

// forget drops clients with full buckets, or all if there are none.
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

// requests limits the requests of a principal. A browser loads a page of many images at once: Slots bound how many are
// served at a time.
type requests struct{ tokens, persons rates }

func newRequests() *requests {
	return &requests{tokens: rates{limit: 50, burst: 200}, persons: rates{limit: 200, burst: 2000}}
}

// take counts a request. It returns a *Problem if there were too many.
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

// attempts limits login attempts and wrong tokens, for each address and in total. A login counts whether it succeeds
// or not.
type attempts struct{ address, all rates }

func newAttempts() *attempts {
	return &attempts{
		address: rates{limit: rate.Every(10 * time.Second), burst: 10},
		all:     rates{limit: rate.Every(time.Second), burst: 60},
	}
}

// take counts an attempt from remote, an IP address with a port. It returns a *LimitedError if there were too many.
func (a *attempts) take(remote string) error {
	// A refused address uses up nothing of the total.
	if wait := a.address.take(network(remote).String()); wait > 0 {
		return &LimitedError{wait}
	}
	if wait := a.all.take(""); wait > 0 {
		return &LimitedError{wait}
	}
	return nil
}

// network returns the network that counts as one address: of IPv6 the /64 that one customer has at least.
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

// Slots bound how much runs at a time, in total and for each client, so that one slow client cannot block the others.
// The zero value has no bounds. It is safe for concurrent use.
type Slots struct {
	What     string        // for the error, as in "lists are being uploaded"
	All, Own int           // in total and for each client; 0: unlimited
	Retry    time.Duration // Retry-After of the error

	mu    sync.Mutex
	taken int
	by    map[string]int
	freed chan struct{} // closed when one is
}

// try takes a slot and reports whether one was free. If not, freed is closed when one may be.
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

// Take takes a slot for the principal of ctx until free is called. The error is a *Problem.
func (s *Slots) Take(ctx context.Context) (free func(), err error) { return s.Await(ctx, 0) }

// Await is Take, but waits for a slot for at most patience.
func (s *Slots) Await(ctx context.Context, patience time.Duration) (free func(), err error) {
	who := PrincipalOf(ctx).Key()
	if PrincipalOf(ctx).Name == "" { // with a shared link
		who = "address " + network(AddressOf(ctx)).String()
	}
	if !s.wait(ctx, who, patience) {
		return nil, NewProblem(http.StatusServiceUnavailable, codeBusy,
			"too many %s already: at most %d, and %d of one token or user", s.What, s.All, s.Own).RetryAfter(s.Retry)
	}
	return func() { s.free(who) }, nil
}

// wait takes a slot, for which it waits for at most patience. It reports whether there was one.
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

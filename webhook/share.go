package webhook

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	// mostUnderWay is how many requests of one process are under way to one host.
	mostUnderWay = 8
	// mostInHand is how many more wait in the process for their turn, and turnFor how long they do.
	mostInHand = 56
	turnFor    = 20 * time.Second
	// opensAfter is how many failures in a row open the breaker of a host. It lets one request through after
	// openFirst, and as long as that fails after twice as long each time, up to openMost.
	opensAfter = 5
	openFirst  = 5 * time.Second
	openMost   = 5 * time.Minute
	// comeBack spreads the requests that were put off, so that they do not come back all at once.
	comeBack = 10 * time.Second
)

// Shares keeps the hosts of receivers apart: in one process at most 8 requests
// are under way to one host, and a host that does not answer is left alone for
// a while. It is safe for concurrent use. The zero value is ready.
type Shares struct {
	// Changed is told when the breaker of a host opens (until then it is left alone, because of err) and when it
	// closes (err is nil). Default: nobody is.
	Changed func(host string, until time.Time, err error)

	mu    sync.Mutex
	hosts map[string]*share
}

// share is what is known of one host.
type share struct {
	underWay, inHand int
	changed          chan struct{} // closed when a place may have become free
	failures         int           // in a row
	open             bool
	until            time.Time     // while open
	backoff          time.Duration // the next one
	probing          bool          // the one request of an open breaker is under way
	err              error         // why it is open
}

// BusyError means that a request was not made, because the host has its share of
// them already or does not answer.
type BusyError struct {
	Host  string
	After time.Duration // try again then
	Err   error         // why the host is left alone; nil where it has its share
}

func (e *BusyError) Error() string {
	if e.Err == nil {
		return e.Host + " has its share of requests already"
	}
	return e.Host + " is left alone for a while" + suffix(e.Err)
}

func (e *BusyError) Unwrap() error { return e.Err }

// Acquire waits for a place among the requests to a host. release gives it back
// with what Send has returned, or with a nil *Error and sent false if nothing was
// sent. The error is a *BusyError.
func (s *Shares) Acquire(ctx context.Context, host string) (release func(sent bool, err error), err error) {
	timer := time.NewTimer(turnFor)
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hosts == nil {
		s.hosts = map[string]*share{}
	}
	h := s.hosts[host]
	if h == nil {
		h = &share{changed: make(chan struct{})}
		s.hosts[host] = h
	}
	defer s.forget(host, h)
	for {
		switch {
		case h.open && (h.probing || time.Now().Before(h.until)):
			after := max(time.Until(h.until), 0) + time.Second + rand.N(comeBack)
			return nil, &BusyError{host, after, h.err}
		case h.open:
			h.probing = true
			return s.take(host, h, true), nil
		case h.underWay < mostUnderWay:
			return s.take(host, h, false), nil
		case h.inHand >= mostInHand:
			return nil, &BusyError{Host: host, After: comeBack/2 + rand.N(comeBack/2)}
		}
		h.inHand++
		changed := h.changed
		s.mu.Unlock()
		ended := false
		select {
		case <-changed:
		case <-timer.C:
			ended = true
		case <-ctx.Done():
			ended = true
		}
		s.mu.Lock()
		if h.inHand--; ended {
			return nil, &BusyError{Host: host, After: rand.N(comeBack)}
		}
	}
}

// take takes a place. The lock is held.
func (s *Shares) take(host string, h *share, probe bool) func(bool, error) {
	h.underWay++
	return func(sent bool, err error) {
		s.mu.Lock()
		opened, closed := h.release(probe, sent, err)
		until := h.until
		s.forget(host, h)
		s.mu.Unlock()
		switch {
		case s.Changed == nil:
		case opened:
			s.Changed(host, until, err)
		case closed:
			s.Changed(host, time.Time{}, nil)
		}
	}
}

// release gives a place back and notes what has become of the request.
func (h *share) release(probe, sent bool, err error) (opened, closed bool) {
	h.underWay--
	if probe {
		h.probing = false
	}
	var e *Error
	switch {
	case !sent || errors.As(err, &e) && e.Final && e.Status == 0:
		// That says nothing of the host.
	case err == nil || e != nil && e.Status != 0 && e.Status < 500 && e.Status != http.StatusTooManyRequests:
		closed = h.open
		h.open, h.failures, h.backoff, h.err = false, 0, 0, nil
	default:
		h.failures++
		if !h.open && h.failures >= opensAfter || h.open && probe {
			h.backoff = min(max(openFirst, 2*h.backoff), openMost)
			wait := h.backoff
			if e != nil {
				wait = max(wait, e.RetryAfter)
			}
			h.open, h.until, h.err, opened = true, time.Now().Add(wait), err, true
		}
	}
	close(h.changed)
	h.changed = make(chan struct{})
	return opened, closed
}

// forget drops what is known of a host if that is nothing. The lock is held.
func (s *Shares) forget(host string, h *share) {
	if h.underWay == 0 && h.inHand == 0 && h.failures == 0 && s.hosts[host] == h {
		delete(s.hosts, host)
	}
}

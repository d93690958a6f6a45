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
	// maxInFlight bounds the requests of one process to one host.
	maxInFlight = 8
	// maxWaiting bounds the webhooks that wait in the process for a host, and waitFor the time that they wait.
	maxWaiting = 56
	waitFor    = 20 * time.Second
	// opensAfter is how many failures in a row open the breaker of a host. After openFirst one request probes the
	// host. The delay doubles with each failed probe, up to openMax.
	opensAfter = 5
	openFirst  = 5 * time.Second
	openMax    = 5 * time.Minute
	// spread is the jitter of webhooks that are postponed, so that they do not return at once.
	spread = 10 * time.Second
)

// Hosts limits the requests of a process to each host: 8 at a time, and a circuit breaker for a host that does not
// answer. One receiver therefore cannot take the capacity of the others. It is safe for concurrent use. The zero value
// is ready.
type Hosts struct {
	// Changed is called when the breaker of a host opens because of err (it stays open at least until then), and when
	// it closes (err is nil). Default: none.
	Changed func(host string, until time.Time, err error)

	mu    sync.Mutex
	hosts map[string]*hostState
}

// hostState is the state of one host.
type hostState struct {
	inFlight, waiting int
	changed           chan struct{} // closed when a place may have become free
	failures          int           // in a row
	open              bool
	until             time.Time     // while open: time of the next probe
	backoff           time.Duration // the current delay
	probing           bool          // the probe of an open breaker is in flight
	err               error         // why the breaker is open
}

// BusyError means that no request was made, because the host has its limit of requests or its breaker is open.
type BusyError struct {
	Host  string
	After time.Duration // delay before the next attempt
	Err   error         // why the breaker is open; nil if it is closed
}

func (e *BusyError) Error() string {
	if e.Err == nil {
		return e.Host + " has its limit of requests in flight"
	}
	return e.Host + " is not called for a while, its circuit breaker is open" + suffix(e.Err)
}

func (e *BusyError) Unwrap() error { return e.Err }

// Acquire waits for a place among the requests to a host. Call release with the error that Send returned; sent is false
// if nothing was sent. The error is a *BusyError.
func (s *Hosts) Acquire(ctx context.Context, host string) (release func(sent bool, err error), err error) {
	timer := time.NewTimer(waitFor)
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hosts == nil {
		s.hosts = map[string]*hostState{}
	}
	h := s.hosts[host]
	if h == nil {
		h = &hostState{changed: make(chan struct{})}
		s.hosts[host] = h
	}
	defer s.forget(host, h)
	for {
		switch {
		case h.open && (h.probing || time.Now().Before(h.until)):
			after := max(time.Until(h.until), 0) + time.Second + rand.N(spread)
			return nil, &BusyError{host, after, h.err}
		case h.open:
			h.probing = true
			return s.take(host, h, true), nil
		case h.inFlight < maxInFlight:
			return s.take(host, h, false), nil
		case h.waiting >= maxWaiting:
			return nil, &BusyError{Host: host, After: spread/2 + rand.N(spread/2)}
		}
		h.waiting++
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
		if h.waiting--; ended {
			return nil, &BusyError{Host: host, After: rand.N(spread)}
		}
	}
}

// take takes a place. The caller holds the lock.
func (s *Hosts) take(host string, h *hostState, probe bool) func(bool, error) {
	h.inFlight++
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

// release gives a place back and records the result of the request.
func (h *hostState) release(probe, sent bool, err error) (opened, closed bool) {
	h.inFlight--
	if probe {
		h.probing = false
	}
	var e *Error
	switch {
	case !sent || errors.As(err, &e) && e.Final && e.Status == 0:
		// This says nothing about the host.
	case err == nil || e != nil && e.Status != 0 && e.Status < 500 && e.Status != http.StatusTooManyRequests:
		closed = h.open
		h.open, h.failures, h.backoff, h.err = false, 0, 0, nil
	default:
		h.failures++
		if !h.open && h.failures >= opensAfter || h.open && probe {
			h.backoff = min(max(openFirst, 2*h.backoff), openMax)
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

// forget drops the state of an idle host without failures. The caller holds the lock.
func (s *Hosts) forget(host string, h *hostState) {
	if h.inFlight == 0 && h.waiting == 0 && h.failures == 0 && s.hosts[host] == h {
		delete(s.hosts, host)
	}
}

package web

import (
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How many requests one token, or one address without one, may make: a second,
// and at once.
const (
	requestRate  = 50
	requestBurst = 200
	maxRequester = 10_000
)

// requests limits how many requests each requester makes.
type requests struct {
	mu sync.Mutex
	by map[string]*rate.Limiter
}

// take counts one request. It returns a *Problem if there were too many.
func (q *requests) take(p Principal, r *http.Request) *Problem {
	who := "address " + network(r.RemoteAddr).String()
	if p.Token {
		who = p.key()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	l := q.by[who]
	if l == nil {
		if len(q.by) >= maxRequester {
			q.forget(now)
		}
		l = rate.NewLimiter(requestRate, requestBurst)
		q.by[who] = l
	}
	if l.AllowN(now, 1) {
		return nil
	}
	return problem(http.StatusTooManyRequests, codeRate, "more than %d requests a second", requestRate).retryAfter(time.Second)
}

// forget drops those that have asked for little lately, or all.
func (q *requests) forget(now time.Time) {
	for who, l := range q.by {
		if l.TokensAt(now) >= requestBurst {
			delete(q.by, who)
		}
	}
	if len(q.by) >= maxRequester {
		clear(q.by)
	}
}

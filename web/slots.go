package web

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// slots bound what is under way at a time: in all, and for one principal, so
// that nobody alone can keep the others out by being slow.
type slots struct {
	what     string // for the answer to those who find none
	all, own int
	retry    time.Duration

	mu    sync.Mutex
	taken int
	by    map[string]int
}

// take takes a slot for the principal of a request, until free is called. The
// error is a *Problem.
func (s *slots) take(ctx context.Context) (free func(), err error) {
	who := PrincipalOf(ctx).key()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.all || s.by[who] >= s.own {
		return nil, problem(http.StatusServiceUnavailable, codeBusy, "too many %s already: at most %d, and %d of one token or user", s.what, s.all, s.own).retryAfter(s.retry)
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.taken++
	s.by[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken--
		if s.by[who]--; s.by[who] == 0 {
			delete(s.by, who)
		}
	}, nil
}

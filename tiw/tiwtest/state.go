package tiwtest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"time"
)

// State has the counters of the server since its start.
type State struct {
	Note      string    `json:"note"`
	StartedAt time.Time `json:"startedAt"`
	Seed      uint64    `json:"seed"`
	Limit     int       `json:"limit"` // requests per second; negative: no limit
	Window    Window    `json:"window"`
	// Requests counts all requests to the API, rejected ones included.
	Requests int64                  `json:"requests"`
	Actions  map[string]ActionState `json:"actions"`
	// Codes counts the requests by the error code of their response; "OK" is
	// success. Requests that a fault leaves without a code are not counted here.
	Codes map[string]int64 `json:"codes"`
	// Faults counts the injected faults, by their names in Faults.
	Faults    map[string]int64 `json:"faults"`
	Tasks     TaskState        `json:"tasks"`
	Rooms     RoomState        `json:"rooms"`
	Callbacks CallbackState    `json:"callbacks"`
	Images    int64            `json:"images"` // served
}

// ActionState has the counters of one action. Totals are sums over all secret
// ids. Peak seconds are those of a single secret id, because each has its own
// quota. A request counts on arrival, even if its signature turns out to be
// wrong; requests with unknown secret ids do not count.
type ActionState struct {
	Received Flow  `json:"received"`
	Accepted Flow  `json:"accepted"` // within the quota
	Rejected int64 `json:"rejected"` // beyond the quota
	Foreign  int64 `json:"foreign"`  // simulated requests of other clients on the same quota
}

// Flow is a number of requests and their peak seconds.
type Flow struct {
	Requests       int64 `json:"requests"`
	CalendarSecond Peak  `json:"peakCalendarSecond"`
	SlidingSecond  Peak  `json:"peakSlidingSecond"`
}

// TaskState counts tasks. Created = Running + Succeeded + Failed + Dropped.
type TaskState struct {
	Created   int64 `json:"created"`
	Running   int64 `json:"running"`
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	Dropped   int64 `json:"dropped"` // evicted by newer tasks before their end
	Kept      int   `json:"kept"`
}

// RoomState counts the rooms of the kept tasks.
type RoomState struct {
	Rooms    int `json:"rooms"`
	Repeated int `json:"repeated"` // rooms with more than one task
	// Most lists up to 100 repeated rooms, those with most tasks first. Of more
	// than 5,000 repeated rooms, an arbitrary 5,000 are considered.
	Most []RoomTasks `json:"most"`
}

// RoomTasks is a room and how many tasks were created for it.
type RoomTasks struct {
	SdkAppId uint64
	RoomId   uint64
	Tasks    int `json:"tasks"`
}

// CallbackState counts callbacks. Sent = Delivered + Refused + Unreached.
type CallbackState struct {
	Sent      int64 `json:"sent"`
	Delivered int64 `json:"delivered"` // 2xx response
	Refused   int64 `json:"refused"`   // any other response
	Unreached int64 `json:"unreached"` // no response within the timeout
	Dropped   int64 `json:"dropped"`   // the outbox was full
}

// Task is one task of the server.
type Task struct {
	TaskID      string
	SdkAppId    uint64
	RoomId      uint64
	CreatedNs   int64  `json:"createdNs"` // Unix ns
	EndsNs      int64  `json:"endsNs"`    // Unix ns of its end, which may be in the future
	State       string `json:"state"`     // Running, OK or InternalErr
	Images      int    `json:"images"`    // number of images, once it succeeds
	CallbackURL string `json:",omitempty"`
}

// Request is a CreateSnapshotTask request in the request log.
type Request struct {
	AtNs     int64  // Unix ns of its arrival
	SdkAppId uint64 // 0: missing in the body
	RoomId   uint64
	Outcome  string // OK, an error code, or the name of the injected fault
	TaskID   string // empty: no task was created
}

// loggedRequest is the compact form of Request.
type loggedRequest struct {
	at      int64
	room    room
	outcome string
	task    uuid
}

// waiter waits until n requests have been logged.
type waiter struct {
	n    uint64
	done chan struct{}
}

const (
	note      = "a simulator, not Tencent"
	mostRooms = 100
	maxSample = 5000 // repeated rooms sorted under the lock
)

// record counts and logs the response to a request before it is sent.
func (s *Server) record(c *apiRequest, doc document, rep reply) {
	l := loggedRequest{at: c.at, room: room{doc.uint("SdkAppId"), doc.uint("RoomId")}, outcome: rep.code}
	if rep.task != nil {
		l.task = rep.task.id
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch rep.fault {
	case "":
		s.codes[rep.code]++
	case faultInternalError, faultInternalErrorCreated, faultCode, faultSlowBody:
		s.codes[rep.code]++
		l.outcome = string(rep.fault)
	default:
		l.outcome = string(rep.fault)
	}
	if c.action != ActionCreate {
		return
	}
	if s.log.len() == s.opt.RequestLog {
		s.log.pop()
	}
	s.log.push(l)
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool {
		if w.n > s.log.next {
			return false
		}
		close(w.done)
		return true
	})
}

// WaitRequests waits until the server has processed n CreateSnapshotTask
// requests since its start, rejected ones included. The error is that of ctx.
func (s *Server) WaitRequests(ctx context.Context, n int) error {
	w := waiter{uint64(n), make(chan struct{})}
	s.mu.Lock()
	if s.log.next >= w.n {
		s.mu.Unlock()
		return nil
	}
	s.waiters = append(s.waiters, w)
	s.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiters = slices.DeleteFunc(s.waiters, func(o waiter) bool { return o.done == w.done })
	return fmt.Errorf("waiting for %d requests, %d received: %w", n, s.log.next, ctx.Err())
}

// Requests returns the latest CreateSnapshotTask requests in order of arrival,
// at most Options.RequestLog.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	log := make([]loggedRequest, 0, s.log.len())
	for n := s.log.first; n < s.log.next; n++ {
		log = append(log, *s.log.at(n))
	}
	s.mu.Unlock()
	slices.SortStableFunc(log, func(a, b loggedRequest) int { return cmp.Compare(a.at, b.at) })
	requests := make([]Request, len(log))
	for i, l := range log {
		requests[i] = Request{AtNs: l.at, SdkAppId: l.room.app, RoomId: l.room.id, Outcome: l.outcome}
		if l.task != (uuid{}) {
			requests[i].TaskID = l.task.String()
		}
	}
	return requests
}

// State returns the current counters.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endDueTasks(s.now())
	st := State{
		Note:      note,
		StartedAt: s.anchor.UTC(),
		Seed:      s.opt.Seed,
		Limit:     s.opt.Limit,
		Window:    s.opt.Window,
		Requests:  int64(s.arrivals),
		Actions:   map[string]ActionState{},
		Codes:     maps.Clone(s.codes),
		Faults:    maps.Clone(s.faultCounts),
		Tasks: TaskState{
			Created: s.tasks.created, Running: s.tasks.running, Succeeded: s.tasks.succeeded,
			Failed: s.tasks.failed, Dropped: s.tasks.dropped, Kept: s.tasks.list.len(),
		},
		Rooms:     s.tasks.roomState(),
		Callbacks: s.callbacks,
		Images:    s.imagesServed,
	}
	for key, b := range s.buckets {
		a := st.Actions[key.action]
		a.Received.add(&b.received)
		a.Accepted.add(&b.accepted)
		a.Rejected += b.received.total - b.accepted.total
		a.Foreign += b.foreign
		st.Actions[key.action] = a
	}
	return st
}

func (f *Flow) add(m *meter) {
	f.Requests += m.total
	if m.calendar.Requests > f.CalendarSecond.Requests {
		f.CalendarSecond = m.calendar
	}
	if m.sliding.Requests > f.SlidingSecond.Requests {
		f.SlidingSecond = m.sliding
	}
}

func (s *store) roomState() RoomState {
	rs := RoomState{Rooms: len(s.rooms), Repeated: len(s.repeated), Most: []RoomTasks{}}
	for r, n := range s.repeated {
		if len(rs.Most) == maxSample {
			break
		}
		rs.Most = append(rs.Most, RoomTasks{r.app, r.id, n})
	}
	slices.SortFunc(rs.Most, func(a, b RoomTasks) int {
		return cmp.Or(cmp.Compare(b.Tasks, a.Tasks), cmp.Compare(a.SdkAppId, b.SdkAppId), cmp.Compare(a.RoomId, b.RoomId))
	})
	rs.Most = rs.Most[:min(len(rs.Most), mostRooms)]
	return rs
}

// Tasks returns the kept tasks, oldest first. Tasks created or evicted during
// the iteration may be missing.
func (s *Server) Tasks() iter.Seq[Task] {
	return func(yield func(Task) bool) {
		next := uint64(0)
		for {
			// In chunks, so that requests do not wait for the lock.
			var some []Task
			s.mu.Lock()
			now := s.now()
			next = max(next, s.tasks.list.first)
			for ; next < s.tasks.list.next && len(some) < chunkLen; next++ {
				t := s.tasks.list.at(next)
				some = append(some, Task{
					t.id.String(), t.room.app, t.room.id, t.created, t.ends, t.state(now), int(t.pages), t.callback,
				})
			}
			s.mu.Unlock()
			if len(some) == 0 {
				return
			}
			for _, t := range some {
				if !yield(t) {
					return
				}
			}
		}
	}
}

func (s *Server) serveState(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(s.State())
}

func (s *Server) serveTasks(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/jsonl")
	e := json.NewEncoder(w)
	for t := range s.Tasks() {
		if e.Encode(t) != nil {
			return
		}
	}
}

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

// State is everything that the server counted since its start.
type State struct {
	Note      string    `json:"note"`
	StartedAt time.Time `json:"startedAt"`
	Seed      uint64    `json:"seed"`
	Limit     int       `json:"limit"` // calls in a second; negative: none
	Window    Window    `json:"window"`
	// Calls counts the calls of the API, whatever became of them.
	Calls   int64                  `json:"calls"`
	Actions map[string]ActionState `json:"actions"`
	// Codes counts the calls by the error code that they were given; "OK" is
	// success. A call that a fault leaves without a code is not in it.
	Codes map[string]int64 `json:"codes"`
	// Faults counts what was done to callers, by the names of Faults.
	Faults    map[string]int64 `json:"faults"`
	Tasks     TaskState        `json:"tasks"`
	Rooms     RoomState        `json:"rooms"`
	Callbacks CallbackState    `json:"callbacks"`
	Images    int64            `json:"images"` // served
}

// ActionState is what was counted for one action: sums over all secret ids,
// and the peak seconds of any single one, since each has its own quota.
// A call counts from the moment of its arrival, also if its signature turns
// out to be wrong; calls of unknown secret ids are left out.
type ActionState struct {
	Received Flow  `json:"received"`
	Accepted Flow  `json:"accepted"` // let through by the quota
	Rejected int64 `json:"rejected"` // refused by the quota
	Foreign  int64 `json:"foreign"`  // imitated calls of others on the same quota
}

// Flow is a number of calls and their peak seconds.
type Flow struct {
	Calls          int64 `json:"calls"`
	CalendarSecond Peak  `json:"peakCalendarSecond"`
	SlidingSecond  Peak  `json:"peakSlidingSecond"`
}

// TaskState counts tasks. Created is the sum of the others but Kept.
type TaskState struct {
	Created   int64 `json:"created"`
	Running   int64 `json:"running"`
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	Dropped   int64 `json:"dropped"` // pushed out by newer ones before their end
	Kept      int   `json:"kept"`
}

// RoomState counts the rooms of the kept tasks.
type RoomState struct {
	Rooms    int `json:"rooms"`
	Repeated int `json:"repeated"` // rooms with more than one task
	// Most are up to 100 of the repeated rooms, those with most tasks first;
	// of more than 5,000 repeated rooms only some are looked at.
	Most []RoomTasks `json:"most"`
}

// RoomTasks is a room and how many tasks were created for it.
type RoomTasks struct {
	SdkAppId uint64
	RoomId   uint64
	Tasks    int `json:"tasks"`
}

// CallbackState counts callbacks. Sent is the sum of the three after it.
type CallbackState struct {
	Sent      int64 `json:"sent"`
	Delivered int64 `json:"delivered"` // answered 2xx
	Refused   int64 `json:"refused"`   // answered something else
	Unreached int64 `json:"unreached"` // not answered in time, or not at all
	Dropped   int64 `json:"dropped"`   // too many waited
}

// Task is one task of the server.
type Task struct {
	TaskID      string
	SdkAppId    uint64
	RoomId      uint64
	CreatedNs   int64  `json:"createdNs"` // Unix ns
	EndsNs      int64  `json:"endsNs"`    // Unix ns, when it ends or has ended
	State       string `json:"state"`     // Running, OK or InternalErr
	Images      int    `json:"images"`    // that it has, or will have unless it fails
	CallbackURL string `json:",omitempty"`
}

// Call is one CreateSnapshotTask call.
type Call struct {
	AtNs     int64  // Unix ns of its arrival
	SdkAppId uint64 // 0 where the body did not tell
	RoomId   uint64
	Outcome  string // OK, an error code, or the name of the fault that struck
	TaskID   string // empty: no task was created
}

type logged struct {
	at      int64
	room    room
	outcome string
	task    uuid
}

// waiter waits until n calls have been logged.
type waiter struct {
	n    uint64
	done chan struct{}
}

const (
	note      = "a simulator, not Tencent"
	mostRooms = 100
	maxSample = 5000 // repeated rooms that are sorted while callers wait
)

// record counts what a call is answered with, before it is answered.
func (s *Server) record(c *call, doc document, rep reply) {
	l := logged{at: c.at, room: room{doc.uint("SdkAppId"), doc.uint("RoomId")}, outcome: rep.code}
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
	if s.log.len() == s.opt.CallLog {
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

// WaitCalls waits until the server has decided n CreateSnapshotTask calls
// since its start, whatever it decided. The error is the context's.
func (s *Server) WaitCalls(ctx context.Context, n int) error {
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
	return fmt.Errorf("waiting for %d calls, %d came: %w", n, s.log.next, ctx.Err())
}

// Calls returns the CreateSnapshotTask calls in the order of their arrival, at
// most the last Options.CallLog.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	log := make([]logged, 0, s.log.len())
	for n := s.log.first; n < s.log.next; n++ {
		log = append(log, *s.log.at(n))
	}
	s.mu.Unlock()
	slices.SortStableFunc(log, func(a, b logged) int { return cmp.Compare(a.at, b.at) })
	calls := make([]Call, len(log))
	for i, l := range log {
		calls[i] = Call{AtNs: l.at, SdkAppId: l.room.app, RoomId: l.room.id, Outcome: l.outcome}
		if l.task != (uuid{}) {
			calls[i].TaskID = l.task.String()
		}
	}
	return calls
}

// State returns what was counted so far.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle(s.now())
	st := State{
		Note:      note,
		StartedAt: s.anchor.UTC(),
		Seed:      s.opt.Seed,
		Limit:     s.opt.Limit,
		Window:    s.opt.Window,
		Calls:     int64(s.arrivals),
		Actions:   map[string]ActionState{},
		Codes:     maps.Clone(s.codes),
		Faults:    maps.Clone(s.struck),
		Tasks: TaskState{
			Created: s.tasks.created, Running: s.tasks.running, Succeeded: s.tasks.succeeded,
			Failed: s.tasks.failed, Dropped: s.tasks.dropped, Kept: s.tasks.list.len(),
		},
		Rooms:     s.tasks.roomState(),
		Callbacks: s.callbacks,
		Images:    s.images,
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
	f.Calls += m.total
	if m.calendar.Calls > f.CalendarSecond.Calls {
		f.CalendarSecond = m.calendar
	}
	if m.sliding.Calls > f.SlidingSecond.Calls {
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

// Tasks returns the kept tasks, oldest first. Tasks that come or go meanwhile
// may be missing.
func (s *Server) Tasks() iter.Seq[Task] {
	return func(yield func(Task) bool) {
		next := uint64(0)
		for {
			// A few at a time, so that arrivals do not wait for the lock.
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

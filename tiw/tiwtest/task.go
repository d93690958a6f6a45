package tiwtest

import (
	"cmp"
	"container/heap"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"
	"unique"
)

// uuid is a version 4 UUID.
type uuid [16]byte

func newUUID(rng *rand.Rand) (id uuid) {
	for i := range 8 {
		id[i] = byte(rng.Uint32())
		id[8+i] = byte(rng.Uint32())
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func (id uuid) String() string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func parseUUID(s string) (id uuid, ok bool) {
	if len(s) != 36 {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:]))
	return id, err == nil && id.String() == s
}

type room struct{ app, id uint64 }

// task is compact, because the simulator keeps millions.
type task struct {
	id            uuid
	room          room
	region        unique.Handle[string] // X-TC-Region of the request that created it
	created, ends int64                 // Unix ns
	callback      string
	base          string // base URL of its images
	width, height uint16 // pixels
	pages         uint8  // number of images
	failed        bool   // it ends as InternalErr
	earlyCallback bool   // the callback precedes the response
	ended         bool   // counted as ended
}

// The states of a task in State and Tasks: Running, or the ErrorCode of its result.
const (
	Running     = "Running"
	OK          = "OK"
	InternalErr = "InternalErr"
)

func (t *task) state(now int64) string {
	switch {
	case now < t.ends:
		return Running
	case t.failed:
		return InternalErr
	}
	return OK
}

// imageCount returns the number of images of a room, from 1 to 4. It depends on the
// room alone.
func imageCount(r room) int {
	return 1 + rand.New(rand.NewPCG(r.app, r.id)).IntN(4)
}

// images returns the URLs of the task's images.
func (t *task) images() []string {
	urls := make([]string, t.pages)
	for page := range urls {
		urls[page] = fmt.Sprintf("%s/images/%d/%s/%d.png", t.base, t.room.id, t.id, page+1)
	}
	return urls
}

// event is a scheduled event of task number seq.
type event struct {
	at       int64
	seq      uint64
	callback bool // the callback is due; false: the task ends
	attempts int  // previous attempts of the callback
}

type eventHeap []event

func (a eventHeap) Len() int           { return len(a) }
func (a eventHeap) Less(i, j int) bool { return a[i].at < a[j].at }
func (a eventHeap) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *eventHeap) Push(x any)        { *a = append(*a, x.(event)) }
func (a *eventHeap) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	*a = (*a)[:last]
	return e
}

// store keeps the tasks, oldest first. Its methods require the Server's lock.
type store struct {
	max       int   // tasks
	retention int64 // ns after the end
	list      queue[task]
	byID      map[uuid]uint64
	rooms     map[room]int
	repeated  map[room]int // rooms with more than one task
	events    eventHeap
	// created = running + succeeded + failed + dropped (evicted while running).
	created, running, succeeded, failed, dropped int64
}

func newStore(max int, retention int64) *store {
	return &store{
		max: max, retention: retention,
		byID: map[uuid]uint64{}, rooms: map[room]int{}, repeated: map[room]int{},
	}
}

// add adds a new task. It evicts expired tasks, and the oldest one beyond the
// maximum.
func (s *store) add(t task) {
	for s.list.len() > 0 && (s.list.len() >= s.max || s.expired(s.list.at(s.list.first), t.created)) {
		s.dropOldest()
	}
	seq := s.list.push(t)
	s.byID[t.id] = seq
	s.rooms[t.room]++
	if n := s.rooms[t.room]; n > 1 {
		s.repeated[t.room] = n
	}
	s.created++
	s.running++
	s.schedule(event{at: t.ends, seq: seq})
}

func (s *store) expired(t *task, now int64) bool { return t.ends+s.retention <= now }

func (s *store) dropOldest() {
	t := s.list.pop()
	if !t.ended {
		s.running--
		s.dropped++
	}
	delete(s.byID, t.id)
	switch n := s.rooms[t.room] - 1; n {
	case 0:
		delete(s.rooms, t.room)
	case 1:
		s.rooms[t.room] = 1
		delete(s.repeated, t.room)
	default:
		s.rooms[t.room], s.repeated[t.room] = n, n
	}
}

// schedule adds an event. Events of evicted tasks are removed only when there are
// many events.
func (s *store) schedule(e event) {
	heap.Push(&s.events, e)
	if len(s.events) > 4*s.max+chunkLen {
		s.events = slices.DeleteFunc(s.events, func(e event) bool { return e.seq < s.list.first })
		heap.Init(&s.events)
	}
}

// due removes and returns the next event that is due, with its task.
func (s *store) due(now int64) (e event, t *task, ok bool) {
	for len(s.events) > 0 && s.events[0].at <= now {
		e = heap.Pop(&s.events).(event)
		if e.seq < s.list.first {
			continue
		}
		t = s.list.at(e.seq)
		if !e.callback {
			t.ended = true
			s.running--
			if t.failed {
				s.failed++
			} else {
				s.succeeded++
			}
		}
		return e, t, true
	}
	return event{}, nil, false
}

// find returns the task with a TaskID, or nil if it is unknown or has expired.
func (s *store) find(id string, now int64) *task {
	u, ok := parseUUID(id)
	if !ok {
		return nil
	}
	seq, ok := s.byID[u]
	if !ok {
		return nil
	}
	t := s.list.at(seq)
	if s.expired(t, now) {
		return nil
	}
	return t
}

type created struct {
	TaskID    string
	RequestId string
}

type snapshotResult struct {
	ErrorCode    string
	ErrorMessage string
	Total        int
	Snapshots    []string
}

type described struct {
	TaskID     string
	Status     string
	CreateTime int64
	FinishTime *int64
	Result     *snapshotResult
	RequestId  string `json:",omitempty"`
}

// create adds a task and returns a copy. Like the API it is not idempotent: every
// request creates a task. The caller holds the lock.
func (s *Server) create(c *apiRequest, doc document, r *http.Request) *task {
	board := doc.object("Whiteboard")
	base := s.opt.PublicURL
	if base == "" {
		base = "http://" + r.Host
	}
	if base != s.base {
		s.base = base
	}
	t := task{
		id:       newUUID(c.rng),
		room:     room{doc.uint("SdkAppId"), doc.uint("RoomId")},
		region:   unique.Make(r.Header.Get("X-TC-Region")),
		created:  c.at,
		ends:     c.at + int64(lognormal(c.rng, s.opt.TaskDuration, s.opt.TaskSigma)),
		callback: doc.text("CallbackURL"),
		base:     s.base, // tasks with the same base share one string
		width:    uint16(board.uint("Width")),
		height:   uint16(board.uint("Height")),
		failed:   c.rng.Float64() < s.opt.TaskFailure,
	}
	t.pages = uint8(cmp.Or(s.opt.Images, imageCount(t.room)))
	orDefault(&t.width, 1280)
	orDefault(&t.height, 720)
	if t.callback != "" && c.rng.Float64() < s.faults.CallbackEarly {
		s.faultCounts["callbackEarly"]++
		t.earlyCallback, t.ends = true, c.at
	}
	s.endDueTasks(c.at) // before add, which evicts tasks: they must not count as dropped
	s.tasks.add(t)
	if s.tasks.events[0].at == t.ends {
		s.wakeSender()
	}
	return &t
}

func lognormal(rng *rand.Rand, median time.Duration, sigma float64) time.Duration {
	z := rng.NormFloat64() // always drawn, so that later draws do not depend on sigma
	return time.Duration(float64(median) * math.Exp(sigma*z))
}

// describe returns the response for a task at a time (Unix ns). Which fields are
// null while a task runs, and the Snapshots of a failed one, are undocumented.
func describe(t *task, now int64) described {
	d := described{TaskID: t.id.String(), Status: Running, CreateTime: t.created / second}
	state := t.state(now)
	if state == Running {
		return d
	}
	end := t.ends / second
	d.Status, d.FinishTime, d.Result = "Finished", &end, &snapshotResult{ErrorCode: state}
	if state != OK {
		d.Result.ErrorMessage = "the snapshot server could not render the whiteboard"
		return d
	}
	d.Result.Total, d.Result.Snapshots = int(t.pages), t.images()
	return d
}

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

// task is kept small: the simulator holds millions.
type task struct {
	id            uuid
	room          room
	region        unique.Handle[string] // X-TC-Region of the call that created it
	created, ends int64                 // Unix ns
	callback      string
	base          string // URL that its images are under
	width, height uint16 // pixels
	pages         uint8  // images
	failed        bool   // it ends as InternalErr
	told          bool   // its callback goes out before the answer
	ended         bool   // counted as ended
}

// The states of a task as State and Tasks report them: Running, or the
// ErrorCode of its result.
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

// pagesOf is the number of images of a room: the same for the same room.
func pagesOf(r room) int {
	return 1 + rand.New(rand.NewPCG(r.app, r.id)).IntN(4)
}

// images are the URLs of its images.
func (t *task) images() []string {
	urls := make([]string, t.pages)
	for page := range urls {
		urls[page] = fmt.Sprintf("%s/images/%d/%s/%d.png", t.base, t.room.id, t.id, page+1)
	}
	return urls
}

// event is something that happens to task number seq at a time (Unix ns).
type event struct {
	at       int64
	seq      uint64
	callback bool // its callback is due; otherwise it ends
	tries    int  // how often that callback was sent before
}

type agenda []event

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at < a[j].at }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	*a = (*a)[:last]
	return e
}

// store holds the tasks, oldest first. The owner of the Server's lock uses it.
type store struct {
	max       int   // tasks
	retention int64 // ns after the end
	list      queue[task]
	byID      map[uuid]uint64
	rooms     map[room]int
	repeated  map[room]int // rooms with more than one task
	agenda    agenda
	// created = running + succeeded + failed + dropped (before they ended).
	created, running, succeeded, failed, dropped int64
}

func newStore(max int, retention int64) *store {
	return &store{
		max: max, retention: retention,
		byID: map[uuid]uint64{}, rooms: map[room]int{}, repeated: map[room]int{},
	}
}

// add keeps a task that begins now. Where that is one too many, the oldest goes.
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
	s.plan(event{at: t.ends, seq: seq})
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

// plan puts an event on the agenda. Events of dropped tasks stay on it until
// they are many.
func (s *store) plan(e event) {
	heap.Push(&s.agenda, e)
	if len(s.agenda) > 4*s.max+chunkLen {
		s.agenda = slices.DeleteFunc(s.agenda, func(e event) bool { return e.seq < s.list.first })
		heap.Init(&s.agenda)
	}
}

// due takes the next event that is due, with its task, off the agenda.
func (s *store) due(now int64) (e event, t *task, ok bool) {
	for len(s.agenda) > 0 && s.agenda[0].at <= now {
		e = heap.Pop(&s.agenda).(event)
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

// find returns the task with that TaskID, nil where there is none any more.
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

// create adds a task, a new one whatever came before: the API knows no
// idempotency. The caller holds the lock. The task returned is a copy.
func (s *Server) create(c *call, doc document, r *http.Request) *task {
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
		base:     s.base, // one string for all tasks of the same base
		width:    uint16(board.uint("Width")),
		height:   uint16(board.uint("Height")),
		failed:   c.rng.Float64() < s.opt.TaskFailure,
	}
	t.pages = uint8(cmp.Or(s.opt.Images, pagesOf(t.room)))
	orDefault(&t.width, 1280)
	orDefault(&t.height, 720)
	if t.callback != "" && c.rng.Float64() < s.faults.CallbackEarly {
		s.struck["callbackEarly"]++
		t.told, t.ends = true, c.at
	}
	s.settle(c.at) // what has ended is not dropped before its end
	s.tasks.add(t)
	if s.tasks.agenda[0].at == t.ends {
		s.wakeSender()
	}
	return &t
}

func lognormal(rng *rand.Rand, median time.Duration, sigma float64) time.Duration {
	z := rng.NormFloat64() // drawn in any case, so that what is drawn next does not depend on sigma
	return time.Duration(float64(median) * math.Exp(sigma*z))
}

// describe is the answer about a task at a time. What is null while a task
// runs, and Snapshots of a failed one, is not documented.
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

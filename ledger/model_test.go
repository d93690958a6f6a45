package ledger_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"tiwsnap/backlog"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// TestModel runs the users of the ledger in random order. Workers begin, answer, die and restart. asynq runs each task
// at least once. Tencent answers or not, and calls back early, late, twice or never. A person cancels, retries, pauses
// and stops. After each call the test compares the ledger with what really happened. At the end it completes all work
// without faults. Then each snapshot must have ended, and no key may be left that never expires.
//
// -rapid.checks sets the number of runs, -rapid.steps their length.
func TestModel(t *testing.T) {
	needs.Time(t)
	rdb := redistest.Client(t)
	rapid.Check(t, func(t *rapid.T) {
		if err := rdb.FlushDB(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, rdb)
		t.Repeat(map[string]func(*rapid.T){
			"":                w.bind(w.check),
			"feed":            w.bind(w.feed),
			"work":            w.bind(w.work),
			"work more":       w.bind(w.work),
			"answer":          w.bind(w.answer),
			"write":           w.bind(w.write),
			"spool":           w.bind(w.spool),
			"replay":          w.bind(w.replay),
			"die":             w.bind(w.die),
			"run again":       w.bind(w.runAgain),
			"lose the queue":  w.bind(w.loseQueue),
			"finish":          w.bind(w.finish),
			"call back":       w.bind(w.callback),
			"forge callback":  w.bind(w.forgeCallback),
			"poll":            w.bind(w.poll),
			"rescue":          w.bind(w.rescue),
			"announce":        w.bind(w.announce),
			"pack":            w.bind(w.pack),
			"cancel":          w.bind(w.cancel),
			"retry":           w.bind(w.retry),
			"cancel batch":    w.bind(w.cancelBatch),
			"pause or resume": w.bind(w.pause),
			"stop or start":   w.bind(w.stop),
			"suspend or not":  w.bind(w.suspend),
			"time passes":     w.bind(w.passTime),
		})
		w.t = t
		w.complete()
	})
}

const (
	modelRows     = 2
	modelAttempts = 3 // failed attempts after which a snapshot fails
	modelBusy     = 20 * time.Second
	modelSweep    = 5 * time.Minute
)

// world is all that uses the ledger: workers, asynq, Tencent and a person.
type world struct {
	t       *rapid.T
	ctx     context.Context
	rdb     *redis.Client
	ledger  *ledger.Ledger
	breaker *gate.Breaker
	backlog *backlog.Backlog
	grace   time.Duration
	now     time.Duration // total of all advances of the clock
	serial  int           // for tokens and TaskIDs

	queue  []string          // snapshot ids that asynq will run
	calls  []*call           // requests that workers have in progress
	spools []*call           // outcomes in the spools of workers
	made   []*task           // tasks at Tencent
	due    []ledger.Snapshot // returned by Poll, as they were then
	stuck  []ledger.Snapshot // returned by Stuck, as they were then
	paused bool              // the batch is paused
	ends   []ledger.Notice   // returned by TakeNotices

	lives     map[string]*life
	batchEnds map[time.Time]bool // ends of the batch
	delivered map[time.Time]bool // delivered ends of the batch
}

// call is a request that a worker has in progress.
type call struct {
	payload  tasks.SnapshotPayload
	attempt  int
	failures int
	outcome  *ledger.Outcome // nil: no answer yet
	task     string          // its task at Tencent, if there is one
	again    bool            // the handler runs again after the outcome
	zombie   bool            // asynq has given the task to another worker
}

// task is a task at Tencent.
type task struct {
	id       string
	snapshot string
	attempt  int
	state    ledger.State // "", Succeeded or Failed
}

// life is the true history of one snapshot.
type life struct {
	state        ledger.State // as last seen
	attempts     int
	unknownSince time.Duration // of the last request of unknown outcome; <0: none
	sentAt       time.Duration
	known        []string // TaskIDs that the ledger has received, from any source
	answered     []string // those of them from API responses
	reported     string   // a task that a callback has named and no response
	calledBack   []int    // attempts whose callback has named their task
	taskID       string   // a task that a response has named since the last retry
	canceled     bool     // by a person, and not retried or accepted since
	settled      []string // tasks whose result the ledger has
}

func newWorld(t *rapid.T, rdb *redis.Client) *world {
	w := &world{
		t: t, ctx: t.Context(), rdb: rdb, breaker: gate.NewBreaker(rdb, keys.Default),
		backlog: backlog.New(rdb, keys.Default),
		lives:   make(map[string]*life), batchEnds: make(map[time.Time]bool), delivered: make(map[time.Time]bool),
	}
	o := ledger.Options{Busy: modelBusy, Attempts: modelAttempts}
	switch rapid.SampledFrom([]string{"wait", "retry", "hold"}).Draw(t, "unknown") {
	case "wait":
		w.grace = 2 * time.Minute
		o.Grace = w.grace
	case "hold":
		o.Hold = true
	}
	w.ledger = ledger.New(rdb, o)
	w.must(w.ledger.SetNotifications(w.ctx, true, true, false, false))

	load := w.backlog.Load(tasks.Room{})
	for n := 1; n <= modelRows; n++ {
		room := w.payload(tasks.RowID("b", n)).Room
		w.must(load.Add(w.ctx, &room))
	}
	if _, err := load.Seal(w.ctx, "b", ""); err != nil {
		t.Fatal(err)
	}
	w.queue = []string{"s-1"}
	for _, id := range w.ids() {
		w.lives[id] = &life{unknownSince: -1}
	}
	return w
}

// ids returns all snapshots: two rows of a batch and a single room.
func (w *world) ids() []string { return []string{"b.1", "b.2", "s-1"} }

// payload returns the payload of a snapshot's asynq task. Odd numbers have one
// SdkAppId, even ones another.
func (w *world) payload(id string) tasks.SnapshotPayload {
	n := uint64(id[2] - '0')
	p := tasks.SnapshotPayload{ID: id, Room: tasks.Room{SdkAppId: 1 + n%2, RoomId: n}}
	if id[0] == 'b' {
		p.Batch = "b"
	}
	return p
}

// bind returns an action of the state machine. The action draws its values from t.
func (w *world) bind(action func()) func(*rapid.T) {
	return func(t *rapid.T) {
		w.t = t
		action()
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) chance(label string) bool {
	return rapid.IntRange(0, 3).Draw(w.t, label) == 0
}

// pick draws an index of all. It skips the action if all is empty.
func pick[T any](w *world, label string, all []T) int {
	if len(all) == 0 {
		w.t.Skip()
	}
	return rapid.IntRange(0, len(all)-1).Draw(w.t, label)
}

// take removes the element at i and returns it.
func take[T any](all *[]T, i int) T {
	one := (*all)[i]
	*all = slices.Delete(*all, i, i+1)
	return one
}

func (w *world) enqueue(id string) {
	if !slices.Contains(w.queue, id) { // the id of the asynq task is the snapshot id
		w.queue = append(w.queue, id)
	}
}

// complete completes all work without further faults.
func (w *world) complete() {
	for round := 0; round == 0 || !w.allEnded(); round++ {
		if round == 50 {
			all, _ := w.ledger.Snapshots(w.ctx, w.ids())
			var states []string
			for _, s := range all {
				states = append(states, fmt.Sprintf("%s is %q", s.ID, s.State))
			}
			w.t.Fatalf("not all snapshots have ended after 50 rounds: %s", strings.Join(states, ", "))
		}
		w.completeRound()
	}
	w.checkLeftovers()
}

func (w *world) allEnded() bool {
	b, err := w.ledger.Batch(w.ctx, "b")
	w.must(err)
	return b.Ended() && w.lives["s-1"].state.Ended() && len(w.calls)+len(w.spools) == 0
}

func (w *world) completeRound() {
	_, err := w.breaker.Start(w.ctx)
	w.must(err)
	for app := uint64(1); app <= 2; app++ {
		w.release(app)
	}
	if w.paused {
		w.must(w.backlog.Resume(w.ctx, "b"))
		w.paused = false
	}
	ids, _, err := w.backlog.Take(w.ctx, "feeder", 10)
	w.must(err)
	for _, id := range ids {
		w.enqueue(id)
	}
	for _, id := range slices.Clone(w.queue) {
		w.queue = slices.DeleteFunc(w.queue, func(o string) bool { return o == id })
		w.begin(id)
	}
	for _, c := range slices.Clone(w.calls) {
		if c.outcome == nil {
			w.answerWith(c, "accepted")
		}
		w.outcome(c)
		w.end(c)
	}
	for len(w.spools) > 0 {
		w.outcome(take(&w.spools, 0))
	}
	for _, t := range w.made {
		if t.state == "" {
			t.state = ledger.Succeeded
		}
	}
	for _, id := range w.ids() {
		if s, err := w.ledger.Snapshot(w.ctx, id); err == nil && s.Held {
			w.retryOne(id)
		}
	}
	for w.due = append(w.due, w.pollSnapshots(10)...); len(w.due) > 0; {
		w.pollOne(0)
	}
	stuck, err := w.ledger.Stuck(w.ctx, modelSweep, 10)
	w.must(err)
	for w.stuck = append(w.stuck, stuck...); len(w.stuck) > 0; {
		w.rescueOne(0)
	}
	w.advance(3 * time.Minute)
}

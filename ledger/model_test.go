package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"tiwsnap/backlog"
	"tiwsnap/keys"
	"tiwsnap/ledger"
	"tiwsnap/redistest"
	"tiwsnap/tasks"
)

// TestModel lets everything around the ledger happen in random order: workers
// that begin, answer, die and come back, an asynq that runs tasks at least
// once, a Tencent that answers or not and calls back early, late, twice or
// never, and a person at the controls. After every call the ledger is compared
// with what really happened; in the end all is played out fairly, and then
// every snapshot must have ended and nothing must be left behind.
//
// -rapid.checks sets the number of stories, -rapid.steps their length.
func TestModel(t *testing.T) {
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
			"call back":       w.bind(w.callBack),
			"call back lies":  w.bind(w.callBackLies),
			"ask":             w.bind(w.ask),
			"rescue":          w.bind(w.rescue),
			"announce":        w.bind(w.announce),
			"cancel":          w.bind(w.cancel),
			"retry":           w.bind(w.retry),
			"cancel batch":    w.bind(w.cancelBatch),
			"pause or resume": w.bind(w.pause),
			"trip or reset":   w.bind(w.trip),
			"hold or release": w.bind(w.hold),
			"time passes":     w.bind(w.timePasses),
		})
		w.t = t
		w.playOut()
	})
}

const (
	modelRows     = 2
	modelAttempts = 3 // after which a snapshot fails
	modelBusy     = 20 * time.Second
	modelSweep    = 5 * time.Minute
)

// world is everything around the ledger.
type world struct {
	t       *rapid.T
	ctx     context.Context
	rdb     *redis.Client
	ledger  *ledger.Ledger
	backlog *backlog.Backlog
	grace   time.Duration
	now     time.Duration // how far the clock was moved on
	serial  int           // makes tokens and TaskIDs

	queue  []string          // snapshot ids that asynq will run
	calls  []*call           // requests in the hands of workers
	spools []*call           // outcomes on the disks of workers
	made   []*task           // Tencent's tasks
	asked  []ledger.Snapshot // handed out by Due, as they were then
	stuck  []ledger.Snapshot // handed out by Stuck, as they were then
	paused bool              // the batch is, and waits for a person
	ends   []ledger.Notice   // handed out by Notices

	lives     map[string]*life
	batchEnds map[time.Time]bool // when the batch has ended
	told      map[time.Time]bool // the ends of the batch that were told
}

// call is one request in the hands of a worker.
type call struct {
	payload  tasks.SnapshotPayload
	attempt  int
	failures int
	outcome  *ledger.Outcome // nil: not answered yet
	task     string          // that Tencent has made for it
	again    bool            // the handler wants to run again after the outcome
	zombie   bool            // asynq has given the task to another worker
}

// task is one of Tencent's.
type task struct {
	id       string
	snapshot string
	attempt  int
	state    ledger.State // "", Succeeded or Failed
}

// life is what really happened to one snapshot.
type life struct {
	state        ledger.State // as last seen
	attempts     int
	unknownSince time.Duration // of the last request of unknown outcome; <0: none
	sentAt       time.Duration
	known        []string // TaskIDs that the ledger was told of, in any way
	answered     []string // those of them that came from Tencent's answers
	named        string   // a task that a callback has named and no answer
	calledBack   []int    // attempts whose callback has named their task
	has          string   // a task that an answer has named since the last retry
	canceled     bool     // by a person, and not retried or accepted since
	settled      []string // tasks whose result the ledger has
}

func newWorld(t *rapid.T, rdb *redis.Client) *world {
	w := &world{
		t: t, ctx: t.Context(), rdb: rdb, backlog: backlog.New(rdb),
		lives: make(map[string]*life), batchEnds: make(map[time.Time]bool), told: make(map[time.Time]bool),
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
	w.must(w.ledger.Tell(w.ctx, true, true, false))

	load := w.backlog.Load()
	for n := 1; n <= modelRows; n++ {
		room := w.payload(tasks.RowID("b", n)).Room
		w.must(load.Add(w.ctx, &room))
	}
	if _, err := load.Seal(w.ctx, "b", tasks.Room{}, ""); err != nil {
		t.Fatal(err)
	}
	w.queue = []string{"s-1"}
	for _, id := range w.ids() {
		w.lives[id] = &life{unknownSince: -1}
	}
	return w
}

// ids are all snapshots there are: two rows of a batch and one by itself.
func (w *world) ids() []string { return []string{"b.1", "b.2", "s-1"} }

// payload is what asynq's task of a snapshot carries. Those with an odd number
// belong to one SdkAppId, the others to another.
func (w *world) payload(id string) tasks.SnapshotPayload {
	n := uint64(id[2] - '0')
	p := tasks.SnapshotPayload{ID: id, Room: tasks.Room{SdkAppId: 1 + n%2, RoomId: n}}
	if id[0] == 'b' {
		p.Batch = "b"
	}
	return p
}

// bind makes an action of the state machine: what it draws belongs to it.
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

// pick draws one of all, and skips the action where there is none.
func pick[T any](w *world, label string, all []T) int {
	if len(all) == 0 {
		w.t.Skip()
	}
	return rapid.IntRange(0, len(all)-1).Draw(w.t, label)
}

func take[T any](all *[]T, i int) T {
	one := (*all)[i]
	*all = slices.Delete(*all, i, i+1)
	return one
}

func (w *world) enqueue(id string) {
	if !slices.Contains(w.queue, id) { // the TaskID is the snapshot id
		w.queue = append(w.queue, id)
	}
}

// The workers.

func (w *world) feed() {
	ids, _, err := w.backlog.Take(w.ctx, "feeder", rapid.IntRange(1, 3).Draw(w.t, "depth"))
	w.must(err)
	for _, id := range ids {
		w.enqueue(id)
	}
}

// work runs one task up to its intent.
func (w *world) work() {
	w.begin(take(&w.queue, pick(w, "task", w.queue)))
}

func (w *world) begin(id string) *call {
	w.serial++
	token := fmt.Sprint("token-", w.serial)
	p, l := w.payload(id), w.lives[id]
	before := w.now
	in, err := w.ledger.Begin(w.ctx, p, token)
	w.must(err)
	w.t.Logf("begin %s: %+v", id, in)
	if w.chance("the reply is lost") {
		again, err := w.ledger.Begin(w.ctx, p, token)
		w.must(err)
		if in.Verdict == ledger.Send && again != in {
			w.t.Fatalf("%s: begun twice with one token: %+v, then %+v", id, in, again)
		}
	}
	switch in.Verdict {
	case ledger.Wait, ledger.Paused:
		w.enqueue(id)
	case ledger.Done:
		if w.chance("the ack is lost") {
			w.enqueue(id)
		}
	case ledger.Send:
		w.mayBeSent(id, in)
		l.attempts, l.sentAt = in.Attempt, before
		c := &call{payload: p, attempt: in.Attempt, failures: in.Failures}
		w.calls = append(w.calls, c)
		w.check()
		return c
	}
	w.check()
	return nil
}

// mayBeSent checks the verdict "send" against what really happened.
func (w *world) mayBeSent(id string, in ledger.Intent) {
	l := w.lives[id]
	if in.Attempt != l.attempts+1 {
		w.t.Fatalf("%s: attempt %d after %d", id, in.Attempt, l.attempts)
	}
	since := l.unknownSince
	if l.state == ledger.Sending {
		since = l.sentAt
		if w.now-l.sentAt < modelBusy {
			w.t.Fatalf("%s: sent again %s after a request that may be on its way", id, w.now-l.sentAt)
		}
	}
	if w.grace > 0 && since >= 0 && w.now-since < w.grace {
		w.t.Fatalf("%s: sent again %s after a request of unknown outcome", id, w.now-since)
	}
	if l.named != "" {
		w.t.Fatalf("%s: sent again though a callback has named %s", id, l.named)
	}
	if l.has != "" {
		w.t.Fatalf("%s: sent again though it has task %s", id, l.has)
	}
	if l.canceled {
		w.t.Fatalf("%s: sent though it was canceled", id)
	}
	if in.Failures >= modelAttempts {
		w.t.Fatalf("%s: sent again after %d failures", id, in.Failures)
	}
	if l.state == ledger.Sending {
		l.unknownSince = l.sentAt
	}
}

// learn notes that the ledger has a TaskID from Tencent's own answer.
func (l *life) learn(task string) {
	l.known, l.answered = append(l.known, task), append(l.answered, task)
	if !slices.Contains(l.settled, task) { // else it is told of once more
		l.has = task
	}
	if l.named == task {
		l.named = ""
	}
}

// answer lets Tencent answer a request, or not.
func (w *world) answer() {
	open := slices.DeleteFunc(slices.Clone(w.calls), func(c *call) bool { return c.outcome != nil })
	c := open[pick(w, "call", open)]
	w.answerWith(c, rapid.SampledFrom([]string{
		"accepted", "accepted", "unknown, made", "unknown, not made", "throttled", "not sent", "permanent", "arrears", "app refused",
	}).Draw(w.t, "answer"))
}

func (w *world) answerWith(c *call, answer string) {
	last := c.failures+1 >= modelAttempts
	switch answer {
	case "accepted":
		c.outcome = &ledger.Outcome{State: ledger.Accepted, TaskID: w.make(c), RequestID: "r"}
	case "unknown, made", "unknown, not made":
		if answer == "unknown, made" {
			w.make(c)
		}
		c.outcome, c.again = &ledger.Outcome{State: ledger.Unknown, Costs: true, Code: "InternalError"}, true
	case "not sent":
		c.outcome, c.again = &ledger.Outcome{State: ledger.Queued, Costs: true, Code: "ClientError.NetworkError"}, true
		if last {
			c.outcome.State, c.again = ledger.Failed, false
		}
	case "permanent":
		c.outcome = &ledger.Outcome{State: ledger.Failed, Costs: true, Code: "InvalidParameter"}
	case "throttled", "arrears", "app refused":
		c.outcome, c.again = &ledger.Outcome{State: ledger.Queued, Code: answer}, true
		trouble := ledger.Trouble{Code: answer, Since: time.Now()}
		if answer == "arrears" {
			w.must(w.ledger.Trip(w.ctx, trouble))
		}
		if answer == "app refused" {
			w.must(w.ledger.HoldApp(w.ctx, c.payload.Room.SdkAppId, trouble))
		}
	}
}

// make makes Tencent's task for a request.
func (w *world) make(c *call) string {
	w.serial++
	c.task = fmt.Sprint("task-", w.serial)
	w.made = append(w.made, &task{id: c.task, snapshot: c.payload.ID, attempt: c.attempt})
	return c.task
}

func (w *world) answered() []*call {
	return slices.DeleteFunc(slices.Clone(w.calls), func(c *call) bool { return c.outcome == nil })
}

// write writes the outcome of an answered request; then its handler is done.
func (w *world) write() {
	all := w.answered()
	c := all[pick(w, "outcome", all)]
	w.outcome(c)
	if w.chance("the reply is lost") {
		w.outcome(c)
	}
	if w.chance("it is in the spool, too") {
		w.spools = append(w.spools, c)
	}
	w.end(c)
}

func (w *world) outcome(c *call) {
	err := w.ledger.Outcome(w.ctx, c.payload.ID, c.attempt, *c.outcome)
	w.t.Logf("outcome of %s, attempt %d: %s %s, %v", c.payload.ID, c.attempt, c.outcome.State, c.outcome.TaskID, err)
	if err != nil && !errors.Is(err, ledger.ErrLate) {
		w.t.Fatal(err)
	}
	l := w.lives[c.payload.ID]
	if c.outcome.State == ledger.Accepted {
		l.learn(c.task)
	}
	if c.outcome.State == ledger.Unknown && err == nil && l.state == ledger.Sending {
		l.unknownSince = w.now
	}
	w.check()
}

// end is the end of a handler.
func (w *world) end(c *call) {
	w.calls = slices.DeleteFunc(w.calls, func(o *call) bool { return o == c })
	if c.again && !c.zombie {
		w.enqueue(c.payload.ID)
	}
}

// spool puts the outcome on the disk, because Redis does not take it.
func (w *world) spool() {
	all := w.answered()
	c := all[pick(w, "outcome", all)]
	w.spools = append(w.spools, c)
	w.end(c)
}

func (w *world) replay() {
	w.outcome(take(&w.spools, pick(w, "spooled", w.spools)))
}

// die kills the worker that has a request out. asynq runs the task again.
func (w *world) die() {
	c := w.calls[pick(w, "call", w.calls)]
	if c.outcome == nil && w.chance("the request has made a task") {
		w.make(c)
	}
	c.again = true
	w.end(c)
}

// runAgain lets asynq give a task to another worker though the first is not
// done with it: it was frozen, or its ack was lost.
func (w *world) runAgain() {
	c := w.calls[pick(w, "call", w.calls)]
	c.zombie = true
	w.enqueue(c.payload.ID)
}

// loseQueue loses the tasks that asynq has, but not those that nobody else
// knows of yet.
func (w *world) loseQueue() {
	w.queue = slices.DeleteFunc(w.queue, func(id string) bool {
		return strings.HasPrefix(id, "b.") || w.lives[id].state != ""
	})
}

// Tencent.

func (w *world) finish() {
	running := slices.DeleteFunc(slices.Clone(w.made), func(t *task) bool { return t.state != "" })
	t := running[pick(w, "task", running)]
	t.state = rapid.SampledFrom([]ledger.State{ledger.Succeeded, ledger.Succeeded, ledger.Failed}).Draw(w.t, "result")
}

// callBack calls the URL of the attempt that has made a task, with or without
// its id; it may have before.
func (w *world) callBack() {
	t := w.made[pick(w, "task", w.made)]
	id, l := "", w.lives[t.snapshot]
	if !w.chance("without TaskID") {
		id = t.id
		l.known, l.calledBack = append(l.known, id), append(l.calledBack, t.attempt)
		if l.state != ledger.Accepted && !slices.Contains(l.answered, id) {
			l.named = id
		}
	}
	w.t.Logf("callback for %s, attempt %d: %q", t.snapshot, t.attempt, id)
	w.must(w.ledger.Callback(w.ctx, t.snapshot, t.attempt, id, []byte("{}")))
	w.check()
}

// callBackLies names a task that does not exist. Of two different names for one
// attempt the ledger believes the later one.
func (w *world) callBackLies() {
	if !w.chance("lie") {
		w.t.Skip()
	}
	id := w.ids()[pick(w, "snapshot", w.ids())]
	l := w.lives[id]
	if l.attempts == 0 {
		w.t.Skip()
	}
	attempt := rapid.IntRange(1, l.attempts).Draw(w.t, "attempt")
	if slices.Contains(l.calledBack, attempt) {
		w.t.Skip()
	}
	w.t.Logf("callback for %s, attempt %d: a lie", id, attempt)
	w.must(w.ledger.Callback(w.ctx, id, attempt, "no-such-task", []byte("{}")))
	w.check()
}

// The loops of the workers. What they look at may be old when they act on it.

// ask does what a worker does with a snapshot that is due, or was.
func (w *world) ask() {
	if len(w.asked) == 0 || w.chance("look for more") {
		due, err := w.ledger.Due(w.ctx, 2)
		w.must(err)
		w.asked = append(w.asked, due...)
	}
	if len(w.asked) > 0 && w.chance("act later") {
		return
	}
	w.askOne(pick(w, "due", w.asked))
}

func (w *world) askOne(i int) {
	s := take(&w.asked, i)
	w.t.Logf("ask about %s, seen as %s, task %s, told %v", s.ID, s.State, s.TaskID, s.Told)
	switch {
	case s.State == "" || s.State.Ended():
		w.must(w.ledger.Forget(w.ctx, s.ID))
	case s.State == ledger.Accepted:
		w.settle(s.ID, s.TaskID)
	default:
		w.adopt(s)
	}
	w.check()
}

func (w *world) adopt(s ledger.Snapshot) {
	for _, attempt := range slices.Sorted(maps.Keys(s.Told)) {
		id := s.Told[attempt]
		if w.describe(id) == nil {
			continue
		}
		err := w.ledger.Outcome(w.ctx, s.ID, attempt, ledger.Outcome{State: ledger.Accepted, TaskID: id})
		w.lives[s.ID].learn(id)
		w.check()
		if !errors.Is(err, ledger.ErrLate) {
			w.must(err)
			w.settle(s.ID, id)
		}
		return
	}
	w.must(w.ledger.Disbelieve(w.ctx, s))
}

func (w *world) describe(id string) *task {
	for _, t := range w.made {
		if t.id == id {
			return t
		}
	}
	return nil
}

func (w *world) settle(id, taskID string) {
	t := w.describe(taskID)
	if t == nil {
		w.t.Fatalf("%s was accepted as task %s, which does not exist", id, taskID)
	}
	if t.state == "" || w.chance("Describe fails") {
		w.must(w.ledger.Later(w.ctx, id, time.Minute))
		return
	}
	r := ledger.Result{State: t.state}
	if t.state == ledger.Succeeded {
		r.Images = []string{"u"}
	}
	err := w.ledger.Settle(w.ctx, id, taskID, r)
	w.t.Logf("settle %s, task %s: %s, %v", id, taskID, r.State, err)
	if !errors.Is(err, ledger.ErrLate) {
		w.must(err)
	}
}

// rescue does what a worker does with a snapshot that has not changed for long.
func (w *world) rescue() {
	if len(w.stuck) == 0 || w.chance("look for more") {
		stuck, err := w.ledger.Stuck(w.ctx, modelSweep, 2)
		w.must(err)
		w.stuck = append(w.stuck, stuck...)
	}
	if len(w.stuck) > 0 && w.chance("act later") {
		return
	}
	w.rescueOne(pick(w, "stuck", w.stuck))
}

func (w *world) rescueOne(i int) {
	s := take(&w.stuck, i)
	w.t.Logf("rescue %s, seen as %s", s.ID, s.State)
	if s.State == "" || s.State == ledger.Accepted || s.State.Ended() {
		w.must(w.ledger.Forget(w.ctx, s.ID))
	} else {
		w.enqueue(s.ID)
	}
	w.check()
}

// announce tells of what has ended, at once or later, or dies on the way.
func (w *world) announce() {
	if len(w.ends) == 0 {
		ends, err := w.ledger.Notices(w.ctx, 3)
		w.must(err)
		w.ends = ends
	}
	switch rapid.SampledFrom([]string{"now", "later", "never"}).Draw(w.t, "tell") {
	case "now":
		w.tell(w.ends)
		w.ends = nil
	case "never":
		w.ends = nil
	}
}

func (w *world) tell(ends []ledger.Notice) {
	for _, n := range ends {
		if n.Kind == "batch" {
			w.told[n.At] = true
		}
	}
	w.must(w.ledger.Announced(w.ctx, ends))
}

// The person at the controls.

func (w *world) cancel() {
	id := w.ids()[pick(w, "snapshot", w.ids())]
	l := w.lives[id]
	l.canceled = l.canceled || l.state != ledger.Accepted && !l.state.Ended()
	state, err := w.ledger.Cancel(w.ctx, id, w.payload(id).Room)
	w.must(err)
	w.t.Logf("cancel %s: %s", id, state)
	w.check()
}

func (w *world) retry() {
	w.retryOne(w.ids()[pick(w, "snapshot", w.ids())])
}

func (w *world) retryOne(id string) {
	ok, err := w.ledger.Retry(w.ctx, id, w.payload(id).Room)
	w.must(err)
	w.t.Logf("retry %s: %t", id, ok)
	if ok {
		w.lives[id].has, w.lives[id].canceled = "", false
		if w.payload(id).Batch == "" {
			w.enqueue(id)
		}
	}
	w.check()
}

func (w *world) cancelBatch() {
	if !w.chance("cancel") {
		w.t.Skip()
	}
	for _, id := range w.ids() {
		if l := w.lives[id]; w.payload(id).Batch == "b" && !l.state.Ended() && l.state != ledger.Accepted {
			l.canceled = true
		}
	}
	w.paused = false // the batch does not wait for a person to be canceled
	n, err := w.ledger.CancelBatch(w.ctx, "b")
	w.must(err)
	w.t.Logf("cancel the batch: %d at once", n)
	w.check()
}

func (w *world) pause() {
	if w.chance("pause") {
		w.must(w.backlog.Pause(w.ctx, "b"))
		b, err := w.ledger.Batch(w.ctx, "b")
		w.must(err)
		w.paused = !b.Ended()
	} else {
		w.must(w.backlog.Resume(w.ctx, "b"))
		w.paused = false
	}
}

func (w *world) trip() {
	if w.chance("trip") {
		w.must(w.ledger.Trip(w.ctx, ledger.Trouble{Code: "arrears", Since: time.Now()}))
	} else {
		w.must(w.ledger.Reset(w.ctx))
	}
}

func (w *world) hold() {
	app := rapid.Uint64Range(1, 2).Draw(w.t, "app")
	if w.chance("hold") {
		w.must(w.ledger.HoldApp(w.ctx, app, ledger.Trouble{Code: "app refused", Since: time.Now()}))
		return
	}
	died := errors.New("died")
	err := w.ledger.ReleaseApp(w.ctx, app, func(s ledger.Snapshot) error {
		if w.chance("dies on the way") {
			return died
		}
		w.enqueue(s.ID)
		return nil
	})
	if !errors.Is(err, died) {
		w.must(err)
	}
	w.check()
}

// timePasses makes everything in the ledger older.
func (w *world) timePasses() {
	w.pass(rapid.SampledFrom([]time.Duration{time.Second, modelBusy, time.Minute, 2 * time.Minute, modelSweep}).Draw(w.t, "time"))
}

var ageScript = redis.NewScript(`
for i, key in ipairs(KEYS) do
  if redis.call('TYPE', key).ok == 'zset' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      redis.call('ZINCRBY', key, -ARGV[1], member)
    end
  else
    for _, field in ipairs({'sent_at', 'unknown_at'}) do
      if redis.call('HEXISTS', key, field) == 1 then
        redis.call('HINCRBY', key, field, -ARGV[1])
      end
    end
  end
end
return 1`)

func (w *world) pass(d time.Duration) {
	old := []string{keys.Transit, keys.Open, keys.Confirm, keys.Notices}
	for _, id := range w.ids() {
		old = append(old, keys.Snapshot(id))
	}
	w.must(ageScript.Run(w.ctx, w.rdb, old, d.Milliseconds()).Err())
	w.now += d
}

// What must hold after every call.

// allowed are the moves that one call may make, from "no record" on.
var allowed = map[ledger.State][]ledger.State{
	"":               {ledger.Queued, ledger.Sending, ledger.Canceled},
	ledger.Queued:    {ledger.Sending, ledger.Accepted, ledger.Canceled},
	ledger.Sending:   {ledger.Queued, ledger.Unknown, ledger.Accepted, ledger.Failed, ledger.Canceled},
	ledger.Unknown:   {ledger.Sending, ledger.Accepted, ledger.Failed, ledger.Canceled},
	ledger.Accepted:  {ledger.Succeeded, ledger.Failed},
	ledger.Failed:    {ledger.Queued},
	ledger.Canceled:  {ledger.Queued},
	ledger.Succeeded: {},
}

// places is where the ledger keeps the ids of work that is not finished.
type places struct {
	open, confirm, transit, waiting, failed map[string]bool
	again, parked                           map[string]bool
	expires                                 map[string]bool // records; "b" is the batch
}

func (w *world) places() places {
	pipe := w.rdb.Pipeline()
	z := func(key string) *redis.StringSliceCmd { return pipe.ZRange(w.ctx, key, 0, -1) }
	open, confirm, transit := z(keys.Open), z(keys.Confirm), z(keys.Transit)
	waiting, waiting0, failed, failed0 := z(keys.Waiting("b")), z(keys.Waiting("")), z(keys.Failed("b")), z(keys.Failed(""))
	again := pipe.LRange(w.ctx, keys.Again("b"), 0, -1)
	parked1, parked2 := pipe.LRange(w.ctx, keys.Parked(1), 0, -1), pipe.LRange(w.ctx, keys.Parked(2), 0, -1)
	ring := pipe.LRange(w.ctx, keys.Ring, 0, -1)
	paused := pipe.HExists(w.ctx, keys.Batch("b"), "paused")
	ttl := make(map[string]*redis.DurationCmd)
	for _, id := range w.ids() {
		ttl[id] = pipe.PTTL(w.ctx, keys.Snapshot(id))
	}
	ttl["b"] = pipe.PTTL(w.ctx, keys.Batch("b"))
	held1, held2 := pipe.HExists(w.ctx, keys.Held, "1"), pipe.HExists(w.ctx, keys.Held, "2")
	_, err := pipe.Exec(w.ctx)
	w.must(err)
	if len(again.Val()) > 0 && len(ring.Val()) == 0 && !paused.Val() {
		w.t.Fatalf("%v are to be fed again, but their batch is not in the ring", again.Val())
	}
	if len(parked1.Val()) > 0 && !held1.Val() || len(parked2.Val()) > 0 && !held2.Val() {
		w.t.Fatalf("%v wait for SdkAppId 1, %v for 2, and they are not held", parked1.Val(), parked2.Val())
	}
	set := func(cmds ...*redis.StringSliceCmd) map[string]bool {
		m := make(map[string]bool)
		for _, c := range cmds {
			for _, id := range c.Val() {
				m[id] = true
			}
		}
		return m
	}
	expires := make(map[string]bool)
	for id, cmd := range ttl {
		expires[id] = cmd.Val() >= 0
	}
	return places{
		set(open), set(confirm), set(transit), set(waiting, waiting0), set(failed, failed0), set(again), set(parked1, parked2), expires,
	}
}

func (w *world) check() {
	all, err := w.ledger.Snapshots(w.ctx, w.ids())
	w.must(err)
	b, err := w.ledger.Batch(w.ctx, "b")
	w.must(err)
	at := w.places()
	count := ledger.Batch{}
	for _, s := range all {
		l := w.lives[s.ID]
		if s.State != l.state && !slices.Contains(allowed[l.state], s.State) {
			w.t.Fatalf("%s went from %q to %q", s.ID, l.state, s.State)
		}
		l.state = s.State
		if s.State == ledger.Canceled && !l.canceled {
			w.t.Fatalf("%s is canceled, and nobody has done that", s.ID)
		}
		if s.State == ledger.Accepted {
			l.named, l.unknownSince, l.canceled = "", -1, false
			if slices.Contains(l.settled, s.TaskID) {
				w.t.Fatalf("%s was accepted again as task %s, which it had before it was retried", s.ID, s.TaskID)
			}
		}
		if s.State == ledger.Succeeded || s.State == ledger.Failed && s.TaskID != "" {
			l.settled = append(l.settled, s.TaskID)
		}
		w.checkPlace(s, at)
		w.checkTasks(s)
		if _, row, ok := tasks.SplitRowID(s.ID); ok {
			if s.State == "" && b.CanceledUnfed(row) {
				s.State = ledger.Canceled
			}
			switch s.State {
			case "", ledger.Queued:
				count.Queued++
			case ledger.Sending:
				count.Sending++
			case ledger.Unknown:
				count.Unknown++
			case ledger.Accepted:
				count.Accepted++
			case ledger.Succeeded:
				count.Succeeded++
			case ledger.Failed:
				count.Failed++
			case ledger.Canceled:
				count.Canceled++
			}
			count.Images += len(s.Images)
			count.PossibleDuplicates += s.PossibleDuplicates
		}
	}
	have := ledger.Batch{
		Queued: b.Queued, Sending: b.Sending, Unknown: b.Unknown, Accepted: b.Accepted, Succeeded: b.Succeeded,
		Failed: b.Failed, Canceled: b.Canceled, Images: b.Images, PossibleDuplicates: b.PossibleDuplicates,
	}
	if diff := cmp.Diff(count, have); diff != "" {
		w.t.Fatalf("the batch does not count what its records say (-records +batch):\n%s", diff)
	}
	if b.Ended() != (b.Done() == modelRows) {
		w.t.Fatalf("ended: %t with %d of %d snapshots done", b.Ended(), b.Done(), modelRows)
	}
	if b.Ended() != at.expires["b"] {
		w.t.Fatalf("the batch has ended: %t, it expires: %t", b.Ended(), at.expires["b"])
	}
	if b.Ended() {
		w.batchEnds[b.EndedAt] = true
		w.paused = false
	}
	if b.Paused != w.paused {
		w.t.Fatalf("paused: %t, by the person at the controls: %t", b.Paused, w.paused)
	}
}

// checkPlace checks that somebody will come to a snapshot that is not finished
// with, and nobody to one that is.
func (w *world) checkPlace(s ledger.Snapshot, at places) {
	id := s.ID
	switch {
	case s.State == "":
		if at.open[id] || at.confirm[id] {
			w.t.Fatalf("%s has no record and is in progress", id)
		}
	case s.State.Ended():
		if at.open[id] || at.confirm[id] || at.waiting[id] {
			w.t.Fatalf("%s is %s and still in progress: open %t, confirm %t, waiting %t",
				id, s.State, at.open[id], at.confirm[id], at.waiting[id])
		}
	case s.State == ledger.Accepted:
		if !at.confirm[id] || at.open[id] || at.waiting[id] {
			w.t.Fatalf("%s is accepted: confirm %t, open %t, waiting %t", id, at.confirm[id], at.open[id], at.waiting[id])
		}
	default:
		if !at.open[id] && !at.again[id] && !at.transit[id] && !at.parked[id] && !at.waiting[id] {
			w.t.Fatalf("%s is %s, and nobody will come to it", id, s.State)
		}
	}
	if s.Held != at.waiting[id] || s.Held && s.State != ledger.Unknown {
		w.t.Fatalf("%s is %s, held: %t, waiting: %t", id, s.State, s.Held, at.waiting[id])
	}
	if at.expires[id] != s.State.Ended() {
		w.t.Fatalf("%s is %s, its record expires: %t", id, s.State, at.expires[id])
	}
	if at.failed[id] != (s.State == ledger.Failed) {
		w.t.Fatalf("%s is %s, among the failed: %t", id, s.State, at.failed[id])
	}
}

// checkTasks checks that no TaskID is lost, and that every task but the first
// was announced as a possible duplicate.
func (w *world) checkTasks(s ledger.Snapshot) {
	ids := slices.Concat([]string{s.TaskID}, slices.Collect(maps.Values(s.ExtraTasks)), slices.Collect(maps.Values(s.Told)))
	for _, id := range w.lives[s.ID].known {
		if !slices.Contains(ids, id) {
			w.t.Fatalf("%s (%s): task %s is lost; the record has %q", s.ID, s.State, id, ids)
		}
	}
	for attempt, id := range s.ExtraTasks {
		if id == s.TaskID {
			w.t.Fatalf("%s: its own task %s is among the extra ones, attempt %d", s.ID, id, attempt)
		}
	}
	made := 0
	for _, t := range w.made {
		if t.snapshot == s.ID && (s.State != ledger.Sending || t.attempt != s.Attempts) {
			made++
		}
	}
	if made > 1+s.PossibleDuplicates {
		w.t.Fatalf("%s (%s): %d tasks were made, %d possible duplicates are counted", s.ID, s.State, made, s.PossibleDuplicates)
	}
}

// playOut lets everything go on without further trouble, until all has ended.
func (w *world) playOut() {
	for round := 0; round == 0 || !w.allEnded(); round++ {
		if round == 50 {
			all, _ := w.ledger.Snapshots(w.ctx, w.ids())
			var states []string
			for _, s := range all {
				states = append(states, fmt.Sprintf("%s is %q", s.ID, s.State))
			}
			w.t.Fatalf("there is no end: %s", strings.Join(states, ", "))
		}
		w.playRound()
	}
	w.leftovers()
}

func (w *world) allEnded() bool {
	b, err := w.ledger.Batch(w.ctx, "b")
	w.must(err)
	return b.Ended() && w.lives["s-1"].state.Ended() && len(w.calls)+len(w.spools) == 0
}

func (w *world) playRound() {
	w.must(w.ledger.Reset(w.ctx))
	for app := uint64(1); app <= 2; app++ {
		w.must(w.ledger.ReleaseApp(w.ctx, app, func(s ledger.Snapshot) error { w.enqueue(s.ID); return nil }))
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
	due, err := w.ledger.Due(w.ctx, 10)
	w.must(err)
	for w.asked = append(w.asked, due...); len(w.asked) > 0; {
		w.askOne(0)
	}
	stuck, err := w.ledger.Stuck(w.ctx, modelSweep, 10)
	w.must(err)
	for w.stuck = append(w.stuck, stuck...); len(w.stuck) > 0; {
		w.rescueOne(0)
	}
	w.pass(3 * time.Minute)
}

// leftovers checks what is there after the end of everything.
func (w *world) leftovers() {
	w.pass(2 * time.Minute)
	ids, _, err := w.backlog.Take(w.ctx, "feeder", 10) // what was in transit as it ended
	w.must(err)
	for _, id := range ids {
		w.begin(id)
	}
	w.tell(w.ends)
	ends, err := w.ledger.Notices(w.ctx, 100)
	w.must(err)
	w.tell(ends)
	if diff := cmp.Diff(w.batchEnds, w.told); diff != "" {
		w.t.Fatalf("the ends of the batch (-real +told):\n%s", diff)
	}

	_, _, err = w.backlog.Waiting(w.ctx) // as every enqueue asks; it drops what is not paused any more
	w.must(err)

	all, err := w.rdb.Keys(w.ctx, keys.Prefix+"*").Result()
	w.must(err)
	for _, key := range all {
		switch key {
		case keys.Totals, keys.Batches, keys.Feeder:
			continue
		}
		if ttl := w.rdb.PTTL(w.ctx, key).Val(); ttl < 0 {
			w.t.Fatalf("%s stays forever", key)
		}
	}
}

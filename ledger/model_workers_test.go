package ledger_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"tiwsnap/ledger"
)

// The actions of the workers.

func (w *world) feed() {
	ids, _, err := w.backlog.Take(w.ctx, "feeder", rapid.IntRange(1, 3).Draw(w.t, "depth"))
	w.must(err)
	for _, id := range ids {
		w.enqueue(id)
	}
}

// work runs one task until its intent is written.
func (w *world) work() {
	w.begin(take(&w.queue, pick(w, "task", w.queue)))
}

func (w *world) begin(id string) *call {
	w.serial++
	token := fmt.Sprint("token-", w.serial)
	p, l := w.payload(id), w.lives[id]
	before := w.now
	in, err := w.ledger.Begin(w.ctx, p, token, "")
	w.must(err)
	w.t.Logf("begin %s: %+v", id, in)
	if w.chance("the reply is lost") {
		again, err := w.ledger.Begin(w.ctx, p, token, "")
		w.must(err)
		if in.Verdict == ledger.Send && again != in {
			w.t.Fatalf("%s: Begin() = %+v, then %+v with the same token", id, in, again)
		}
	}
	switch in.Verdict {
	case ledger.Wait, ledger.Stopped:
		w.enqueue(id)
	case ledger.Done:
		if w.chance("the ack is lost") {
			w.enqueue(id)
		}
	case ledger.Send:
		w.checkSend(id, in)
		l.attempts, l.sentAt = in.Attempt, before
		c := &call{payload: p, attempt: in.Attempt, failures: in.Failures}
		w.calls = append(w.calls, c)
		w.check()
		return c
	}
	w.check()
	return nil
}

// checkSend checks the verdict "send" against what really happened.
func (w *world) checkSend(id string, in ledger.Intent) {
	l := w.lives[id]
	if in.Attempt != l.attempts+1 {
		w.t.Fatalf("%s: attempt %d follows attempt %d", id, in.Attempt, l.attempts)
	}
	since := l.unknownSince
	if l.state == ledger.Sending {
		since = l.sentAt
		if w.now-l.sentAt < modelBusy {
			w.t.Fatalf("%s: sent again %s after a request that may be in flight", id, w.now-l.sentAt)
		}
	}
	if w.grace > 0 && since >= 0 && w.now-since < w.grace {
		w.t.Fatalf("%s: sent again %s after a request of unknown outcome", id, w.now-since)
	}
	if l.reported != "" {
		w.t.Fatalf("%s: sent again, but a callback has named task %s", id, l.reported)
	}
	if l.taskID != "" {
		w.t.Fatalf("%s: sent again, but it has task %s", id, l.taskID)
	}
	if l.canceled {
		w.t.Fatalf("%s: sent, but it was canceled", id)
	}
	if in.Failures >= modelAttempts {
		w.t.Fatalf("%s: sent again after %d failures", id, in.Failures)
	}
	if l.state == ledger.Sending {
		l.unknownSince = l.sentAt
	}
}

// learn records that the ledger has a TaskID from an API response.
func (l *life) learn(task string) {
	l.known, l.answered = append(l.known, task), append(l.answered, task)
	if !slices.Contains(l.settled, task) { // else it is a repeated report
		l.taskID = task
	}
	if l.reported == task {
		l.reported = ""
	}
}

// answer answers a request as Tencent does, or loses the answer.
func (w *world) answer() {
	open := slices.DeleteFunc(slices.Clone(w.calls), func(c *call) bool { return c.outcome != nil })
	c := open[pick(w, "call", open)]
	w.answerWith(c, rapid.SampledFrom([]string{
		"accepted", "accepted", "unknown, made", "unknown, not made", "throttled", "not sent", "permanent", "arrears",
		"app refused",
	}).Draw(w.t, "answer"))
}

func (w *world) answerWith(c *call, answer string) {
	last := c.failures+1 >= modelAttempts
	switch answer {
	case "accepted":
		c.outcome = &ledger.Outcome{State: ledger.Accepted, TaskID: w.makeTask(c), RequestID: "r"}
	case "unknown, made", "unknown, not made":
		if answer == "unknown, made" {
			w.makeTask(c)
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
		if answer == "arrears" {
			_, err := w.breaker.Stop(w.ctx, "me", answer)
			w.must(err)
		}
		if answer == "app refused" {
			suspend(w.ctx, w.rdb, c.payload.Room.SdkAppId)
		}
	}
}

// makeTask creates the task of a request at Tencent.
func (w *world) makeTask(c *call) string {
	w.serial++
	c.task = fmt.Sprint("task-", w.serial)
	w.made = append(w.made, &task{id: c.task, snapshot: c.payload.ID, attempt: c.attempt})
	return c.task
}

func (w *world) answered() []*call {
	return slices.DeleteFunc(slices.Clone(w.calls), func(c *call) bool { return c.outcome == nil })
}

// write writes the outcome of an answered request and ends its handler.
func (w *world) write() {
	all := w.answered()
	c := all[pick(w, "outcome", all)]
	w.outcome(c)
	if w.chance("the reply is lost") {
		w.outcome(c)
	}
	if w.chance("the outcome is also in the spool") {
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

// end ends a handler.
func (w *world) end(c *call) {
	w.calls = slices.DeleteFunc(w.calls, func(o *call) bool { return o == c })
	if c.again && !c.zombie {
		w.enqueue(c.payload.ID)
	}
}

// spool writes an outcome to the spool, as a worker does if Redis refuses it.
func (w *world) spool() {
	all := w.answered()
	c := all[pick(w, "outcome", all)]
	w.spools = append(w.spools, c)
	w.end(c)
}

func (w *world) replay() {
	w.outcome(take(&w.spools, pick(w, "spooled", w.spools)))
}

// die kills the worker of a request in progress. asynq runs the task again.
func (w *world) die() {
	c := w.calls[pick(w, "call", w.calls)]
	if c.outcome == nil && w.chance("the request has made a task") {
		w.makeTask(c)
	}
	c.again = true
	w.end(c)
}

// runAgain makes asynq run a task on a second worker while the first still runs it. The first was frozen, or its ack
// was lost.
func (w *world) runAgain() {
	c := w.calls[pick(w, "call", w.calls)]
	c.zombie = true
	w.enqueue(c.payload.ID)
}

// loseQueue deletes the tasks in asynq, except those of single rooms without a record: they are stored nowhere else.
func (w *world) loseQueue() {
	w.queue = slices.DeleteFunc(w.queue, func(id string) bool {
		return strings.HasPrefix(id, "b.") || w.lives[id].state != ""
	})
}

// The loops of the workers. They may act on stale data.

// poll handles a snapshot that is or was due, as a worker does.
func (w *world) poll() {
	if len(w.due) == 0 || w.chance("poll for more") {
		w.due = append(w.due, w.pollSnapshots(2)...)
	}
	if len(w.due) > 0 && w.chance("act later") {
		return
	}
	w.pollOne(pick(w, "due", w.due))
}

func (w *world) pollOne(i int) {
	s := take(&w.due, i)
	w.t.Logf("poll %s, seen as %s, task %s, reported %v", s.ID, s.State, s.TaskID, s.ReportedTasks)
	switch {
	case s.State == "" || s.State.Ended():
		w.must(w.ledger.Untrack(w.ctx, s.ID))
	case s.State == ledger.Accepted:
		w.settle(s.ID, s.TaskID)
	default:
		w.claim(s)
	}
	w.check()
}

// pollSnapshots returns at most n snapshots to poll.
func (w *world) pollSnapshots(n int) []ledger.Snapshot {
	p, err := w.ledger.Poll(w.ctx, "me", 1, n)
	w.must(err)
	return slices.Concat(p.Due, p.Early)
}

func (w *world) claim(s ledger.Snapshot) {
	for _, attempt := range slices.Sorted(maps.Keys(s.ReportedTasks)) {
		id := s.ReportedTasks[attempt]
		t := w.describe(id)
		if t == nil {
			w.must(w.ledger.DiscardReportedTask(w.ctx, s.ID, attempt, id))
			continue
		}
		err := w.ledger.ClaimTask(w.ctx, s.ID, attempt, id)
		if errors.Is(err, ledger.ErrTaken) != (t.snapshot != s.ID) {
			w.t.Fatalf("ClaimTask() of %s for task %s of %s: error = %v", s.ID, id, t.snapshot, err)
		}
		if t.snapshot != s.ID {
			w.must(w.ledger.DiscardReportedTask(w.ctx, s.ID, attempt, id))
			continue
		}
		w.lives[s.ID].learn(id)
		w.check()
		if !errors.Is(err, ledger.ErrLate) {
			w.must(err)
			w.settle(s.ID, id)
		}
		return
	}
	w.must(w.ledger.Untrack(w.ctx, s.ID))
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
		w.must(w.ledger.PostponeAll(w.ctx, []ledger.Postponement{{
			ID: id, Wait: time.Minute, Early: rapid.SampledFrom([]time.Duration{0, time.Millisecond}).Draw(w.t, "early"),
			Answer: rapid.SampledFrom([]ledger.Answer{ledger.NoAnswer, ledger.Running, ledger.Refused, ledger.Odd}).
				Draw(w.t, "answer"),
		}})[0])
		return
	}
	r := ledger.Result{State: t.state}
	r.Images = rapid.SampledFrom([][]string{nil, {"u"}, {"u", "v"}}).Draw(w.t, "images")
	r.Total = rapid.SampledFrom([]*int{nil, new(0), new(2)}).Draw(w.t, "total")
	err := w.ledger.Settle(w.ctx, id, taskID, r)
	w.t.Logf("settle %s, task %s: %s, %v", id, taskID, r.State, err)
	if !errors.Is(err, ledger.ErrLate) {
		w.must(err)
	}
}

// rescue handles a snapshot that has not changed for long, as a worker does.
func (w *world) rescue() {
	if len(w.stuck) == 0 || w.chance("poll for more") {
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
		w.must(w.ledger.Untrack(w.ctx, s.ID))
	} else {
		w.enqueue(s.ID)
	}
	w.check()
}

// announce delivers the ends now or later, or dies before that.
func (w *world) announce() {
	if len(w.ends) == 0 {
		ends, err := w.ledger.TakeNotices(w.ctx, 3)
		w.must(err)
		w.ends = ends
	}
	switch rapid.SampledFrom([]string{"now", "later", "never"}).Draw(w.t, "deliver") {
	case "now":
		w.deliver(w.ends)
		w.ends = nil
	case "never":
		w.ends = nil
	}
}

func (w *world) deliver(ends []ledger.Notice) {
	for _, n := range ends {
		if n.Kind == "batch" {
			w.delivered[n.At] = true
		}
	}
	w.must(w.ledger.DeleteNotices(w.ctx, ends))
}

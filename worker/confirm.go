package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tiwsnap/gate"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
)

const (
	// lookMost is the time between two looks for what is to be polled, while
	// nothing is known to come sooner: callbacks make polls due at any time. Where
	// many processes look, each waits for its turn.
	// lookLeast is that while there is something.
	lookMost, lookLeast = 500 * time.Millisecond, 200 * time.Millisecond
	// describeTimeout is the deadline of one Describe.
	describeTimeout = 5 * time.Second
	// pollersFor is the share of a poller in one request a second.
	pollersFor = 0.01
	// pollersMost bounds the polls of one process that are out at a time.
	pollersMost = 500
	// writeWithin is how long what follows from an answer waits for others to be
	// written with it, and writeMost how many are at once.
	writeWithin, writeMost = 100 * time.Millisecond, 100
	// stoppedPatience is how long a poll waits for sending to go on: within the
	// lease that it has.
	stoppedPatience = 20 * time.Second
)

// confirmation polls accepted tasks: it asks what became of them. Polls that
// are due come first. Where quota is free, the others are made early.
type confirmation struct {
	*Worker
	line   atomic.Int64 // polls that wait for a permit
	out    atomic.Int64 // polls that have not ended, these included
	left   chan struct{}
	writes chan write
	failed digest // calls without an answer: in an outage that is every poll
	waits  digest // answers that are no result yet: of a broken batch that is every room, again and again
}

// digest logs a line at once, and then one for all that came in an interval.
type digest struct {
	every time.Duration

	mu   sync.Mutex
	last time.Time
	n    int // since the last line
}

// add counts one, and calls log with their number unless it was called within
// the interval.
func (d *digest) add(log func(n int)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n++; time.Since(d.last) >= d.every {
		log(d.n)
		d.n, d.last = 0, time.Now()
	}
}

// confirm polls until ctx ends.
func (w *Worker) confirm(ctx context.Context) {
	c := &confirmation{
		Worker: w, left: make(chan struct{}, 1), writes: make(chan write),
		failed: digest{every: 10 * time.Second}, waits: digest{every: time.Minute},
	}
	var polls, writer sync.WaitGroup
	writer.Go(func() { c.writeAll(ctx) })
	mine := true // it is this worker that polls
	for ctx.Err() == nil {
		if mine {
			if in := w.gate.DescribeDelay(ctx); in > 0 {
				pause(ctx, min(in, w.o.Second))
				continue
			}
		}
		// A line of half a second: what is due goes before what was taken early, and
		// many polls share a look.
		limit := w.describe.Limit()
		ahead := int64(max(4, limit/2))
		pollers := min(max(w.o.Concurrency, limit*int(describeTimeout/time.Second)), pollersMost)
		n := min(ahead-c.line.Load(), int64(pollers)-c.out.Load())
		if n <= 0 || c.line.Load() > ahead/2 {
			select {
			case <-c.left:
			case <-ctx.Done():
			}
			continue
		}
		p, err := w.ledger.Poll(ctx, w.name, w.pollers(limit), int(n))
		if err != nil {
			if ctx.Err() == nil {
				w.log.Warn("confirmation waits", "err", err)
			}
			pause(ctx, time.Second)
			continue
		}
		mine = p.Standby == 0
		start := func(s ledger.Snapshot, urgency ratelimit.Priority) {
			c.line.Add(1)
			c.out.Add(1)
			polls.Go(func() { c.poll(ctx, s, p.Now, urgency) })
		}
		for _, s := range p.Due {
			start(s, ratelimit.Interactive)
		}
		for _, s := range p.Early {
			start(s, ratelimit.Bulk)
		}
		if int64(len(p.Due)+len(p.Early)) < n {
			next := lookMost
			if p.Next >= 0 {
				next = min(max(p.Next, lookLeast), lookMost)
			}
			pause(ctx, max(next, p.Standby))
		}
	}
	polls.Wait()
	close(c.writes)
	writer.Wait()
}

// pollers is how many processes poll at a time: one makes a hundred requests a
// second, and far from Redis a few in each round trip. The fewer there are, the
// fewer round trips each request costs.
func (w *Worker) pollers(limit int) int {
	return 1 + int((pollersFor+w.describe.Distance().Seconds())*float64(limit))
}

// leave counts one poll less and makes confirm look again.
func (c *confirmation) leave(count *atomic.Int64) {
	count.Add(-1)
	select {
	case c.left <- struct{}{}:
	default:
	}
}

// poll asks about one snapshot's task and does what follows.
func (c *confirmation) poll(ctx context.Context, s ledger.Snapshot, now time.Time, urgency ratelimit.Priority) {
	defer c.leave(&c.out)
	gone := sync.OnceFunc(func() { c.leave(&c.line) })
	defer gone()
	describe := func(taskID string) (tiw.Result, error) {
		return c.describeTask(ctx, s.Room.SdkAppId, taskID, urgency, gone)
	}
	switch {
	case s.State == "" || s.State.Ended():
		c.logPollError(ctx, s.ID, c.ledger.Untrack(ctx, s.ID))
	case s.State != ledger.Accepted:
		c.pollReported(ctx, s, now, describe)
	case now.Sub(s.AcceptedAt) > confirmWithin:
		c.carryOut(ctx, s, verdict{do: settle, result: ledger.Result{
			State:   ledger.Failed,
			Code:    tiw.CodeResultTimeout,
			Message: fmt.Sprintf("no result %s after acceptance; Tencent keeps images for three days", confirmWithin),
		}})
	default:
		task, err := describe(s.TaskID)
		if ctx.Err() == nil && !isStopped(err) {
			c.carryOut(ctx, s, judge(s, task, err, c.o.ConfirmAfter, now))
		}
	}
}

// pollReported asks about the tasks that callbacks have named for requests
// whose answers were lost, until one of them is the snapshot's. Until that is
// clear nothing is sent.
func (c *confirmation) pollReported(
	ctx context.Context, s ledger.Snapshot, now time.Time, describe func(taskID string) (tiw.Result, error),
) {
	for _, attempt := range slices.Sorted(maps.Keys(s.ReportedTasks)) {
		id := s.ReportedTasks[attempt]
		task, err := describe(id)
		if ctx.Err() != nil || isStopped(err) {
			return
		}
		log := c.log.With("id", s.ID, "attempt", attempt, "task_id", id)
		v := judge(s, task, err, c.o.ConfirmAfter, now)
		if v.do == claim {
			err := c.ledger.ClaimTask(ctx, s.ID, attempt, id)
			switch {
			case errors.Is(err, ledger.ErrTaken):
				v = verdict{do: discard, says: err.Error()}
			case err != nil:
				c.logPollError(ctx, s.ID, err)
				return
			default:
				log.Info("task claimed: its callback came, its answer had not")
				s.State, s.TaskID, s.AcceptedAt, s.Answer = ledger.Accepted, id, now, ledger.NoAnswer
				v = judge(s, task, nil, c.o.ConfirmAfter, now)
			}
		}
		if v.do != discard {
			c.carryOut(ctx, s, v)
			return
		}
		log.Warn("a callback has named a task that is not this snapshot's", "why", v.says)
		if err := c.ledger.DiscardReportedTask(ctx, s.ID, attempt, id); err != nil {
			c.logPollError(ctx, s.ID, err)
			return
		}
	}
	c.logPollError(ctx, s.ID, c.ledger.Untrack(ctx, s.ID))
}

// write is what follows from an answer: a result, or another poll.
type write struct {
	settles bool
	ledger.Settlement
	ledger.Postponement
}

// carryOut writes what an answer about the snapshot means, and logs what people
// should know of it.
func (c *confirmation) carryOut(ctx context.Context, s ledger.Snapshot, v verdict) {
	log := c.log.With("id", s.ID, "task_id", s.TaskID)
	if v.do == settle {
		if v.result.State == ledger.Failed {
			c.snapshotFailed(ctx, s.ID, v.result.Code, v.result.Message)
		} else if v.says != "" {
			log.Warn("snapshot succeeded, not as usual", "why", v.says)
		}
		c.writes <- write{settles: true, Settlement: ledger.Settlement{
			ID: s.ID, TaskID: s.TaskID, Result: v.result, Copy: c.o.Copier != nil && c.o.Copier.Copies(s.Room),
		}}
		return
	}
	switch {
	case v.says == "":
	case v.answer == ledger.NoAnswer:
		c.failed.add(func(n int) {
			log.Warn("polls fail and are repeated; the newest of those since the last line", "polls", n, "why", v.says)
		})
	default:
		c.waits.add(func(n int) {
			log.Warn("no result yet, polled again; the newest of those since the last line", "polls", n, "why", v.says)
		})
	}
	// Jitter, so that the tasks of one burst spread out.
	p := ledger.Postponement{ID: s.ID, Wait: v.wait + jitter(v.wait/10+1), Early: v.early, Answer: v.answer}
	c.writes <- write{Postponement: p}
}

// writeAll writes what comes within writeWithin in one go. What Tencent has
// said is written also while the worker stops.
func (c *confirmation) writeAll(ctx context.Context) {
	for first := range c.writes {
		var settlements []ledger.Settlement
		var postponements []ledger.Postponement
		add := func(w write) {
			if w.settles {
				settlements = append(settlements, w.Settlement)
			} else {
				postponements = append(postponements, w.Postponement)
			}
		}
		add(first)
		late := time.After(writeWithin)
	more:
		for len(settlements)+len(postponements) < writeMost {
			select {
			case w, ok := <-c.writes:
				if !ok {
					break more
				}
				add(w)
			case <-late:
				break more
			}
		}
		write, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		for i, err := range c.ledger.SettleAll(write, settlements) {
			c.logPollError(ctx, settlements[i].ID, err)
		}
		for i, err := range c.ledger.PostponeAll(write, postponements) {
			c.logPollError(ctx, postponements[i].ID, err)
		}
		cancel()
	}
}

// logPollError says why nothing has come of polling a snapshot, if so.
func (w *Worker) logPollError(ctx context.Context, id string, err error) {
	// What is late somebody else has written meanwhile.
	moved := errors.Is(err, ledger.ErrLate) || errors.Is(err, ledger.ErrLost)
	if err != nil && !moved && ctx.Err() == nil {
		w.log.Warn("poll failed, it is due again soon", "id", id, "err", err)
	}
}

// describeTask asks Tencent about a task, within the quota. permitted is called
// when the wait for it is over.
func (w *Worker) describeTask(
	ctx context.Context, app uint64, taskID string, urgency ratelimit.Priority, permitted func(),
) (tiw.Result, error) {
	waits := time.Now()
	permit, err := w.gate.Describe(ctx, urgency)
	for isStopped(err) && time.Since(waits) < stoppedPatience && pause(ctx, w.o.Second) {
		permit, err = w.gate.Describe(ctx, urgency)
	}
	permitted()
	if err != nil {
		return tiw.Result{}, err
	}
	defer permit.Release()
	w.metrics.acquired(actionDescribe, urgency, waits)
	call, cancel := context.WithTimeout(ctx, min(describeTimeout, w.o.CallTimeout))
	defer cancel()
	req := tiw.NewDescribeSnapshotTaskRequest()
	req.TaskID, req.SdkAppId = &taskID, &app
	began := time.Now()
	response, err := w.tiw.DescribeSnapshotTask(permit.Context(call), req)
	w.metrics.called(actionDescribe, began, err)
	permit.Done(ctx, "", err)
	if err != nil {
		return tiw.Result{}, err
	}
	return tiw.ResultOf(response), nil
}

// isStopped reports whether nothing was asked since sending is stopped. The
// snapshot is due again when its lease is over.
func isStopped(err error) bool {
	var stopped *gate.Stopped
	return errors.As(err, &stopped)
}

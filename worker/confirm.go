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
	// maxQueryWait is the longest time between two queries for due polls: a
	// callback makes a poll due at any time. minQueryWait is the shortest. With
	// many processes, each waits for its turn.
	maxQueryWait, minQueryWait = 500 * time.Millisecond, 200 * time.Millisecond
	// describeTimeout is the timeout of one Describe.
	describeTimeout = 5 * time.Second
	// pollersPerRate is the number of polling processes per request per second.
	pollersPerRate = 0.01
	// maxPolls limits the concurrent polls of one process.
	maxPolls = 500
	// writeDelay is how long an update waits for others to be written in the same
	// round trip, and writeBatch limits their number.
	writeDelay, writeBatch = 100 * time.Millisecond, 100
	// maxStopWait is how long a poll waits for stopped sending to resume. It is
	// shorter than the lease of the poll.
	maxStopWait = 20 * time.Second
)

// confirmation polls the results of accepted tasks. Due polls come first. Free quota is
// used to poll other tasks early.
type confirmation struct {
	*Worker
	waiting    atomic.Int64  // polls that wait for a permit
	inProgress atomic.Int64  // all polls, including those
	freed      chan struct{} // receives after one of them has decreased
	updates    chan update
	// In an outage every poll fails, and in a broken batch every room has no
	// result again and again, so both are logged in digests.
	failedPolls  digest // calls without an answer
	pendingPolls digest // unusual answers without a result
}

// digest limits the log to one line per interval. The first event is logged at once.
type digest struct {
	every time.Duration

	mu   sync.Mutex
	last time.Time
	n    int // events since the last line
}

// add counts an event. It calls log with the count of events since the last line,
// at most once per interval.
func (d *digest) add(log func(n int)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n++; time.Since(d.last) >= d.every {
		log(d.n)
		d.n, d.last = 0, time.Now()
	}
}

// confirm polls until ctx ends. Then it waits for its polls and writes their updates.
func (w *Worker) confirm(ctx context.Context) {
	c := &confirmation{
		Worker: w, freed: make(chan struct{}, 1), updates: make(chan update),
		failedPolls: digest{every: 10 * time.Second}, pendingPolls: digest{every: time.Minute},
	}
	var polls, writer sync.WaitGroup
	writer.Go(func() { c.writeAll(ctx) })
	active := true // whether this worker is one of those that poll
	for ctx.Err() == nil {
		if active {
			if delay := w.gate.DescribeDelay(ctx); delay > 0 {
				pause(ctx, min(delay, w.o.Second))
				continue
			}
		}
		// The waiting polls need half a second of permits: few enough that due polls soon
		// pass early ones, and enough that many share one query.
		limit := w.describe.Limit()
		maxWaiting := int64(max(4, limit/2))
		concurrency := min(max(w.o.Concurrency, limit*int(describeTimeout/time.Second)), maxPolls)
		n := min(maxWaiting-c.waiting.Load(), int64(concurrency)-c.inProgress.Load())
		if n <= 0 || c.waiting.Load() > maxWaiting/2 {
			select {
			case <-c.freed:
			case <-ctx.Done():
			}
			continue
		}
		p, err := w.ledger.Poll(ctx, w.name, w.pollers(limit), int(n))
		if err != nil {
			if ctx.Err() == nil {
				w.log.Warn("due polls not read, trying again", "err", err)
			}
			pause(ctx, time.Second)
			continue
		}
		active = p.Standby == 0
		start := func(s ledger.Snapshot, urgency ratelimit.Priority) {
			c.waiting.Add(1)
			c.inProgress.Add(1)
			polls.Go(func() { c.poll(ctx, s, p.Now, urgency) })
		}
		for _, s := range p.Due {
			start(s, ratelimit.Interactive)
		}
		for _, s := range p.Early {
			start(s, ratelimit.Bulk)
		}
		if int64(len(p.Due)+len(p.Early)) < n {
			next := maxQueryWait
			if p.Next >= 0 {
				next = min(max(p.Next, minQueryWait), maxQueryWait)
			}
			pause(ctx, max(next, p.Standby))
		}
	}
	polls.Wait()
	close(c.updates)
	writer.Wait()
}

// pollers returns how many processes may poll at a time: one per hundred requests per
// second, and more if Redis is far away. Fewer pollers need fewer round trips per
// request.
func (w *Worker) pollers(limit int) int {
	return 1 + int((pollersPerRate+w.describe.Distance().Seconds())*float64(limit))
}

// decrement decreases a count of polls and wakes confirm.
func (c *confirmation) decrement(count *atomic.Int64) {
	count.Add(-1)
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// poll polls the task of one snapshot and applies the verdict.
func (c *confirmation) poll(ctx context.Context, s ledger.Snapshot, now time.Time, urgency ratelimit.Priority) {
	defer c.decrement(&c.inProgress)
	permitted := sync.OnceFunc(func() { c.decrement(&c.waiting) })
	defer permitted()
	describe := func(taskID string) (tiw.Result, error) {
		return c.describeTask(ctx, s.Room.SdkAppId, taskID, urgency, permitted)
	}
	switch {
	case s.State == "" || s.State.Ended():
		c.logPollError(ctx, s.ID, c.ledger.Untrack(ctx, s.ID))
	case s.State != ledger.Accepted:
		c.pollReported(ctx, s, now, describe)
	case now.Sub(s.AcceptedAt) > resultTimeout:
		c.apply(ctx, s, verdict{do: settle, result: ledger.Result{
			State:   ledger.Failed,
			Code:    tiw.CodeResultTimeout,
			Message: fmt.Sprintf("no result %s after acceptance; Tencent keeps images for three days", resultTimeout),
		}})
	default:
		task, err := describe(s.TaskID)
		if ctx.Err() == nil && !isStopped(err) {
			c.apply(ctx, s, judge(s, task, err, c.o.ConfirmAfter, now))
		}
	}
}

// pollReported polls the tasks that callbacks reported for requests of unknown outcome,
// until one of them belongs to the snapshot. Until then no request is sent for it.
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
				v = verdict{do: discard, note: err.Error()}
			case err != nil:
				c.logPollError(ctx, s.ID, err)
				return
			default:
				log.Info("task claimed: its callback arrived, the response of its request did not")
				s.State, s.TaskID, s.AcceptedAt, s.Answer = ledger.Accepted, id, now, ledger.NoAnswer
				v = judge(s, task, nil, c.o.ConfirmAfter, now)
			}
		}
		if v.do != discard {
			c.apply(ctx, s, v)
			return
		}
		log.Warn("reported task discarded: it does not belong to this snapshot", "why", v.note)
		if err := c.ledger.DiscardReportedTask(ctx, s.ID, attempt, id); err != nil {
			c.logPollError(ctx, s.ID, err)
			return
		}
	}
	c.logPollError(ctx, s.ID, c.ledger.Untrack(ctx, s.ID))
}

// update is a write to the ledger after an answer: a result or a postponed poll.
type update struct {
	settles bool
	ledger.Settlement
	ledger.Postponement
}

// apply passes the verdict on an answer to the writer, and logs what was unusual.
func (c *confirmation) apply(ctx context.Context, s ledger.Snapshot, v verdict) {
	log := c.log.With("id", s.ID, "task_id", s.TaskID)
	if v.do == settle {
		if v.result.State == ledger.Failed {
			c.snapshotFailed(ctx, s.ID, v.result.Code, v.result.Message)
		} else if v.note != "" {
			log.Warn("snapshot succeeded with an unusual answer", "why", v.note)
		}
		c.updates <- update{settles: true, Settlement: ledger.Settlement{
			ID: s.ID, TaskID: s.TaskID, Result: v.result, Copy: c.o.Copier != nil && c.o.Copier.Copies(s.Room),
		}}
		return
	}
	switch {
	case v.note == "":
	case v.answer == ledger.NoAnswer:
		c.failedPolls.add(func(n int) {
			log.Warn("polls failed, trying again; this is the latest since the last line", "polls", n, "why", v.note)
		})
	default:
		c.pendingPolls.add(func(n int) {
			log.Warn("no result yet, polling again; this is the latest since the last line", "polls", n, "why", v.note)
		})
	}
	// Jitter, so that the tasks of one burst spread out.
	p := ledger.Postponement{ID: s.ID, Wait: v.wait + jitter(v.wait/10+1), Early: v.early, Answer: v.answer}
	c.updates <- update{Postponement: p}
}

// writeAll writes updates in batches until the channel is closed. It writes also while
// the worker stops, so that no answer is lost.
func (c *confirmation) writeAll(ctx context.Context) {
	for first := range c.updates {
		var settlements []ledger.Settlement
		var postponements []ledger.Postponement
		add := func(u update) {
			if u.settles {
				settlements = append(settlements, u.Settlement)
			} else {
				postponements = append(postponements, u.Postponement)
			}
		}
		add(first)
		deadline := time.After(writeDelay)
	more:
		for len(settlements)+len(postponements) < writeBatch {
			select {
			case u, ok := <-c.updates:
				if !ok {
					break more
				}
				add(u)
			case <-deadline:
				break more
			}
		}
		writeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		for i, err := range c.ledger.SettleAll(writeCtx, settlements) {
			c.logPollError(ctx, settlements[i].ID, err)
		}
		for i, err := range c.ledger.PostponeAll(writeCtx, postponements) {
			c.logPollError(ctx, postponements[i].ID, err)
		}
		cancel()
	}
}

// logPollError logs an error of a poll, except while the worker stops.
func (w *Worker) logPollError(ctx context.Context, id string, err error) {
	// ErrLate and ErrLost mean that another process has changed the record meanwhile.
	changed := errors.Is(err, ledger.ErrLate) || errors.Is(err, ledger.ErrLost)
	if err != nil && !changed && ctx.Err() == nil {
		w.log.Warn("poll failed, trying again", "id", id, "err", err)
	}
}

// describeTask sends DescribeSnapshotTask within the rate limit. It calls permitted
// when the wait for a permit is over.
func (w *Worker) describeTask(
	ctx context.Context, app uint64, taskID string, urgency ratelimit.Priority, permitted func(),
) (tiw.Result, error) {
	start := time.Now()
	permit, err := w.gate.Describe(ctx, urgency)
	for isStopped(err) && time.Since(start) < maxStopWait && pause(ctx, w.o.Second) {
		permit, err = w.gate.Describe(ctx, urgency)
	}
	permitted()
	if err != nil {
		return tiw.Result{}, err
	}
	defer permit.Release()
	w.metrics.acquired(actionDescribe, urgency, start)
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

// isStopped reports whether a call was not sent because sending is stopped. The
// snapshot is due again when its lease expires.
func isStopped(err error) bool {
	var stopped *gate.Stopped
	return errors.As(err, &stopped)
}

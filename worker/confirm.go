package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
)

const (
	// confirmEvery is the time between two looks for due snapshots, while they
	// are few. It does not depend on when the next one is due: in a steady
	// drain that is always soon, for every process.
	confirmEvery = 500 * time.Millisecond
	// confirmMost bounds how many are asked about in one round. With fewer a
	// high limit would wait for the slowest answer too often.
	confirmMost = 500
	// settleWithin is how long a result waits for others to be written with it,
	// and settleMost how many are at once.
	settleWithin, settleMost = 100 * time.Millisecond, 100
	// confirmMax is the longest time between two Describes of one task.
	confirmMax = 15 * time.Minute
	// confirmWithin is how long after acceptance a result is waited for.
	// Tencent keeps images for three days where no bucket was given.
	confirmWithin = 71 * time.Hour
	// confirmRefusals is how often Describe may refuse a TaskID for good
	// before that is believed: the task may not be visible yet.
	confirmRefusals = 5
	// adoptRefusals is the same for a TaskID that a callback has named. A
	// callback comes when its task has ended, so there is less to wait for.
	adoptRefusals = 2
)

// confirm asks what became of accepted tasks, when each is due.
func (w *Worker) confirm(ctx context.Context) {
	for ctx.Err() == nil {
		n := min(w.describe.Limit(), confirmMost)
		due, err := w.ledger.Due(ctx, n)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Warn("confirmation waits", "err", err)
			}
			pause(ctx, time.Second)
			continue
		}
		w.askAll(ctx, due)
		if len(due) < n {
			pause(ctx, confirmEvery)
		}
	}
}

// askAll asks about tasks and writes what it learns.
func (w *Worker) askAll(ctx context.Context, due []ledger.Snapshot) {
	results := make(chan ledger.Settlement, len(due))
	var writer sync.WaitGroup
	writer.Go(func() { w.settleAll(ctx, results) })
	var g errgroup.Group
	g.SetLimit(w.o.Concurrency)
	for _, s := range due {
		g.Go(func() error {
			err := w.ask(ctx, s, results)
			w.askedInVain(ctx, s.ID, err)
			return nil
		})
	}
	g.Wait()
	close(results)
	writer.Wait()
}

// settleAll writes results, those that come within settleWithin in one go. What
// Tencent has said is written also while the worker stops.
func (w *Worker) settleAll(ctx context.Context, results <-chan ledger.Settlement) {
	for first := range results {
		all := []ledger.Settlement{first}
		late := time.After(settleWithin)
	more:
		for len(all) < settleMost {
			select {
			case r, ok := <-results:
				if !ok {
					break more
				}
				all = append(all, r)
			case <-late:
				break more
			}
		}
		write, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		for i, err := range w.ledger.SettleAll(write, all) {
			w.askedInVain(ctx, all[i].ID, err)
		}
		cancel()
	}
}

// askedInVain says why nothing has come of asking about a snapshot, if so.
func (w *Worker) askedInVain(ctx context.Context, id string, err error) {
	// What is late somebody else has written meanwhile.
	if err != nil && !errors.Is(err, ledger.ErrLate) && ctx.Err() == nil {
		w.log.Warn("confirmation failed, it is due again soon", "id", id, "err", err)
	}
}

// ask asks about one task. A result goes to results, everything else is written
// by it.
func (w *Worker) ask(ctx context.Context, s ledger.Snapshot, results chan<- ledger.Settlement) error {
	switch {
	case s.State == "" || s.State.Ended():
		return w.ledger.Forget(ctx, s.ID)
	case s.State != ledger.Accepted:
		return w.adopt(ctx, s, results)
	}
	if age := time.Since(s.AcceptedAt); age > confirmWithin {
		results <- ledger.Settlement{ID: s.ID, TaskID: s.TaskID, Result: ledger.Result{
			State:   ledger.Failed,
			Code:    tiw.CodeResultTimeout,
			Message: fmt.Sprintf("no result %s after acceptance; Tencent keeps images for three days", confirmWithin),
		}}
		return nil
	}
	task, err := w.describeTask(ctx, s.Room.SdkAppId, s.TaskID)
	if err != nil {
		return w.askFailed(ctx, s, err, results)
	}
	return w.settle(ctx, s, s.TaskID, task, results)
}

// adopt takes over a task that a callback named for a request whose answer was
// lost, if Tencent knows it. Until that is clear nothing is sent.
func (w *Worker) adopt(ctx context.Context, s ledger.Snapshot, results chan<- ledger.Settlement) error {
	for attempt, id := range s.Told {
		task, err := w.describeTask(ctx, s.Room.SdkAppId, id)
		var e *tiw.Error
		if errors.As(err, &e) && e.Class == tiw.Permanent {
			if s.Asked < adoptRefusals {
				return w.ledger.Later(ctx, s.ID, time.Second<<s.Asked)
			}
			w.log.Warn("a callback named a task that Tencent does not know", "id", s.ID, "attempt", attempt, "task_id", id, "code", e.Code)
			continue
		}
		if err != nil {
			return w.askFailed(ctx, s, err, results)
		}
		if err := w.ledger.Outcome(ctx, s.ID, attempt, ledger.Outcome{State: ledger.Accepted, TaskID: id}); err != nil {
			return err
		}
		w.log.Info("task adopted: its callback came, its answer had not", "id", s.ID, "attempt", attempt, "task_id", id)
		return w.settle(ctx, s, id, task, results)
	}
	return w.ledger.Disbelieve(ctx, s)
}

// settle takes what Tencent says of a task.
func (w *Worker) settle(ctx context.Context, s ledger.Snapshot, taskID string, task tiw.Result, results chan<- ledger.Settlement) error {
	r := ledger.Result{State: ledger.Succeeded, Images: task.Images}
	switch {
	case task.Running:
		return w.ledger.Later(ctx, s.ID, w.confirmDelay(s.Asked))
	case !task.OK:
		w.log.Error("snapshot failed: rendering", "id", s.ID, "task_id", taskID, "code", task.Code, "message", task.Message)
		r = ledger.Result{State: ledger.Failed, Code: task.Code, Message: task.Message}
	}
	results <- ledger.Settlement{ID: s.ID, TaskID: taskID, Result: r}
	return nil
}

// describeTask asks Tencent about a task, within the quota.
func (w *Worker) describeTask(ctx context.Context, app uint64, taskID string) (tiw.Result, error) {
	permit, err := w.metrics.acquire(ctx, w.describe, actionDescribe, ratelimit.Bulk)
	if err != nil {
		return tiw.Result{}, err
	}
	defer permit.Release()
	call, cancel := context.WithTimeout(ctx, w.o.CallTimeout)
	defer cancel()
	req := tiw.NewDescribeSnapshotTaskRequest()
	req.TaskID, req.SdkAppId = &taskID, &app
	began := time.Now()
	response, err := w.tiw.DescribeSnapshotTask(tiw.WithGate(call, permit.Use, permit.Sent), req)
	w.metrics.called(actionDescribe, began, err)
	if err != nil {
		if e := new(tiw.Error); errors.As(err, &e) && e.Class == tiw.Throttled {
			permit.Throttled()
		}
		return tiw.Result{}, err
	}
	return tiw.ResultOf(response), nil
}

func (w *Worker) askFailed(ctx context.Context, s ledger.Snapshot, err error, results chan<- ledger.Settlement) error {
	var e *tiw.Error
	if !errors.As(err, &e) {
		return errors.Join(err, w.ledger.Later(ctx, s.ID, w.confirmDelay(s.Asked)))
	}
	switch e.Class {
	case tiw.Throttled:
		return w.ledger.Later(ctx, s.ID, time.Second+jitter(time.Second))
	case tiw.Clock:
		return w.ledger.Later(ctx, s.ID, 0) // the next call is signed with Tencent's time
	case tiw.Account:
		return errors.Join(err, w.ledger.Later(ctx, s.ID, probeEvery+jitter(5*time.Second)))
	case tiw.Permanent:
		if s.Asked >= confirmRefusals {
			w.log.Error("snapshot failed: Tencent does not know its task", "id", s.ID, "task_id", s.TaskID, "err", err)
			results <- ledger.Settlement{ID: s.ID, TaskID: s.TaskID, Result: ledger.Result{State: ledger.Failed, Code: e.Code, Message: e.Message}}
			return nil
		}
	}
	return errors.Join(err, w.ledger.Later(ctx, s.ID, w.confirmDelay(s.Asked)))
}

// confirmDelay doubles from ConfirmAfter to 15 minutes, with a tenth of jitter
// so that the tasks of one burst spread out.
func (w *Worker) confirmDelay(asked int) time.Duration {
	d := min(w.o.ConfirmAfter<<min(asked, 16), confirmMax)
	if d <= 0 {
		d = confirmMax
	}
	return d + jitter(d/10+1)
}

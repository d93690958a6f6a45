package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
)

const (
	// confirmEvery is the longest time between two looks for due snapshots.
	confirmEvery = 500 * time.Millisecond
	// confirmMax is the longest time between two Describes of one task.
	confirmMax = 15 * time.Minute
	// confirmWithin is how long after acceptance a result is waited for.
	// Tencent keeps images for three days where no bucket was given.
	confirmWithin = 71 * time.Hour
	// confirmRefusals is how often Describe may refuse a TaskID for good
	// before that is believed: the task may not be visible yet.
	confirmRefusals = 5
)

// confirm asks what became of accepted tasks, when each is due.
func (w *Worker) confirm(ctx context.Context) {
	n := min(w.o.Concurrency, w.o.RateLimit)
	for ctx.Err() == nil {
		due, wait, err := w.ledger.Due(ctx, n)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Warn("confirmation waits", "err", err)
			}
			pause(ctx, time.Second)
			continue
		}
		var g errgroup.Group
		for _, s := range due {
			g.Go(func() error {
				if err := w.ask(ctx, s); err != nil && ctx.Err() == nil {
					w.log.Warn("confirmation failed, it is due again soon", "id", s.ID, "err", err)
				}
				return nil
			})
		}
		g.Wait()
		if len(due) < n {
			if wait < 0 || wait > confirmEvery {
				wait = confirmEvery
			}
			pause(ctx, max(wait, 10*time.Millisecond))
		}
	}
}

// ask asks about one task and writes what it learns.
func (w *Worker) ask(ctx context.Context, s ledger.Snapshot) error {
	if s.State != ledger.Accepted {
		return w.ledger.Forget(ctx, s.ID)
	}
	if age := time.Since(s.AcceptedAt); age > confirmWithin {
		return w.ledger.Settle(ctx, s, ledger.Result{
			State:   ledger.Failed,
			Code:    tiw.CodeResultTimeout,
			Message: fmt.Sprintf("no result %s after acceptance; Tencent keeps images for three days", confirmWithin),
		})
	}
	permit, err := w.describe.Acquire(ctx, ratelimit.Bulk)
	if err != nil {
		return err
	}
	defer permit.Release()
	call, cancel := context.WithTimeout(ctx, w.o.CallTimeout)
	defer cancel()
	req := tiw.NewDescribeSnapshotTaskRequest()
	req.TaskID, req.SdkAppId = &s.TaskID, &s.Room.SdkAppId
	response, err := w.tiw.DescribeSnapshotTask(tiw.WithGate(call, permit.Use), req)
	if err != nil {
		return w.askFailed(ctx, s, err)
	}
	task := tiw.ResultOf(response)
	switch {
	case task.Running:
		return w.ledger.Later(ctx, s.ID, w.confirmDelay(s.Asked))
	case task.OK:
		return w.ledger.Settle(ctx, s, ledger.Result{State: ledger.Succeeded, Images: task.Images})
	}
	w.log.Error("snapshot failed: rendering", "id", s.ID, "task_id", s.TaskID, "code", task.Code, "message", task.Message)
	return w.ledger.Settle(ctx, s, ledger.Result{State: ledger.Failed, Code: task.Code, Message: task.Message})
}

func (w *Worker) askFailed(ctx context.Context, s ledger.Snapshot, err error) error {
	var e *tiw.Error
	if !errors.As(err, &e) {
		return errors.Join(err, w.ledger.Later(ctx, s.ID, w.confirmDelay(s.Asked)))
	}
	switch e.Class {
	case tiw.Throttled:
		w.describe.Throttled()
		return w.ledger.Later(ctx, s.ID, time.Second+jitter(time.Second))
	case tiw.Account:
		return errors.Join(err, w.ledger.Later(ctx, s.ID, accountPause+jitter(5*time.Second)))
	case tiw.Permanent:
		if s.Asked >= confirmRefusals {
			w.log.Error("snapshot failed: Tencent does not know its task", "id", s.ID, "task_id", s.TaskID, "err", err)
			return w.ledger.Settle(ctx, s, ledger.Result{State: ledger.Failed, Code: e.Code, Message: e.Message})
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

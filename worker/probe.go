package worker

import (
	"context"
	"time"

	"tiwsnap/tiw"
)

// probe sees to it that sending goes on: it asks whether an account that was
// refused is in order again, and lets suspended applications go on.
func (w *Worker) probe(ctx context.Context) {
	looked := time.Now()
	for pause(ctx, 2*w.o.Second) {
		if w.gate.Clear() && time.Since(looked) < 10*w.o.Second {
			continue // whoever sends sees what stops it
		}
		looked = time.Now()
		err := w.probeAccount(ctx)
		if err == nil {
			err = w.moveApps(ctx)
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("not seen whether sending can go on, trying again", "err", err)
		}
	}
}

// probeAccount makes a harmless call, if it is time: a Describe of a task that
// exists, so that the answer does not rest on what Tencent says of one that does
// not.
func (w *Worker) probeAccount(ctx context.Context) error {
	permit, task, app, err := w.gate.Probe(ctx)
	if permit == nil || err != nil {
		return err
	}
	defer permit.Release()
	call, cancel := context.WithTimeout(ctx, w.o.CallTimeout)
	defer cancel()
	req := tiw.NewDescribeSnapshotTaskRequest()
	req.TaskID, req.SdkAppId = &task, &app
	began := time.Now()
	_, err = w.tiw.DescribeSnapshotTask(permit.Context(call), req)
	w.metrics.called(actionDescribe, began, err)
	permit.Done(ctx, "", err)
	return nil
}

// moveApps makes the next step of suspended applications that are due.
func (w *Worker) moveApps(ctx context.Context) error {
	step, due, err := w.gate.NextStep(ctx)
	if err != nil || !due {
		return err
	}
	ids := []string{step.Trial}
	if step.Trial == "" {
		if !step.Release {
			w.log.Info("application is no longer suspended: nothing waits for it", "app", step.App)
			return nil
		}
		w.log.Info("what waited for a suspended application goes on", "app", step.App)
		if ids, err = w.gate.Release(ctx, step.App); err != nil {
			return err
		}
	}
	for len(ids) > 0 {
		n := min(len(ids), sweepMany)
		all, err := w.ledger.Snapshots(ctx, ids[:n])
		if err != nil {
			return err
		}
		for _, s := range all {
			if err := w.rescue(ctx, s); err != nil {
				return err
			}
		}
		ids = ids[n:]
	}
	return nil
}

package worker

import (
	"context"
	"time"

	"tiwsnap/tiw"
)

// probe resumes sending after a refusal, until ctx ends. It checks whether a refused
// account works again, and ends the suspension of applications.
func (w *Worker) probe(ctx context.Context) {
	checked := time.Now()
	for pause(ctx, 2*w.o.Second) {
		if w.gate.Clear() && time.Since(checked) < 10*w.o.Second {
			continue // nothing was stopped at the last query; query again every 10 s
		}
		checked = time.Now()
		err := w.probeAccount(ctx)
		if err == nil {
			err = w.resumeApp(ctx)
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("cannot check whether sending may resume, trying again", "err", err)
		}
	}
}

// probeAccount sends a probe if one is due. The probe is a Describe of an existing
// task: it changes nothing, and Tencent has no reason to refuse it as unknown.
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

// resumeApp takes the next due step of a suspended application: it queues a trial
// snapshot, or all snapshots that wait for the application.
func (w *Worker) resumeApp(ctx context.Context) error {
	step, due, err := w.gate.NextStep(ctx)
	if err != nil || !due {
		return err
	}
	ids := []string{step.Trial}
	if step.Trial == "" {
		if !step.Release {
			w.log.Info("application is no longer suspended, no snapshots wait for it", "app", step.App)
			return nil
		}
		w.log.Info("application is no longer suspended, its waiting snapshots resume", "app", step.App)
		if ids, err = w.gate.Release(ctx, step.App); err != nil {
			return err
		}
	}
	for len(ids) > 0 {
		n := min(len(ids), sweepBatch)
		all, err := w.ledger.Snapshots(ctx, ids[:n])
		if err != nil {
			return err
		}
		for _, s := range all {
			if err := w.requeue(ctx, s); err != nil {
				return err
			}
		}
		ids = ids[n:]
	}
	return nil
}

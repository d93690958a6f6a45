package worker

import (
	"context"
	"errors"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
)

const (
	// probeEvery is how often one worker asks whether the account is in order
	// again, while it is not.
	probeEvery = time.Minute
	// probeLook is how often a worker looks whether there is need to.
	probeLook = 2 * time.Second
	// probeTask is a task that does not exist: asking for it is harmless.
	probeTask = "00000000-0000-0000-0000-000000000000"
)

// stop stops the sending that can only fail: of everything, or for one
// SdkAppId.
func (w *Worker) stop(ctx context.Context, app uint64, e *tiw.Error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	x := tiw.Explain(e.Code)
	t := ledger.Trouble{Code: e.Code, Message: e.Message, RequestID: e.RequestID, App: app, Since: time.Now().UTC()}
	var err error
	if x.OneApp {
		w.log.Error("SdkAppId held: calls for it would fail", "app", app, "code", e.Code, "meaning", x.Meaning, "fix", x.Fix)
		err = w.ledger.HoldApp(ctx, app, t)
	} else {
		w.log.Error("queues paused: every call would fail", "code", e.Code, "meaning", x.Meaning, "fix", x.Fix)
		err = w.ledger.Trip(ctx, t)
	}
	if err != nil {
		w.log.Error("could not stop the sending", "err", err)
	}
}

// probe asks, while sending is stopped, once a minute whether it would work
// again, and lets it go on.
func (w *Worker) probe(ctx context.Context) {
	for pause(ctx, probeLook) {
		if err := w.probeOnce(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("probe failed", "err", err)
		}
	}
}

func (w *Worker) probeOnce(ctx context.Context) error {
	trouble, tripped, err := w.ledger.Tripped(ctx)
	if err != nil {
		return err
	}
	held, err := w.ledger.HeldApps(ctx)
	if err != nil || !tripped && len(held) == 0 {
		return err
	}
	if mine, err := w.ledger.ClaimProbe(ctx, w.o.ProbeEvery); !mine || err != nil {
		return err
	}
	if tripped {
		// An error of the SdkAppId alone is said only of an account in order.
		refused, err := w.refused(ctx, trouble.App)
		if err != nil || refused != nil && !tiw.Explain(refused.Code).OneApp {
			return err
		}
		w.log.Info("queues go on", "after", time.Since(trouble.Since).Round(time.Second), "code", trouble.Code)
		if err := w.ledger.Reset(ctx); err != nil {
			return err
		}
	}
	for app, t := range held {
		refused, err := w.refused(ctx, app)
		if err != nil {
			return err
		}
		if refused != nil {
			if !tiw.Explain(refused.Code).OneApp {
				return nil // the whole account is refused
			}
			if done, err := w.ledger.Unhold(ctx, app); err != nil {
				return err
			} else if done {
				w.log.Info("SdkAppId is no longer held: nothing waits for it", "app", app)
			}
			continue
		}
		w.log.Info("SdkAppId goes on", "app", app, "after", time.Since(t.Since).Round(time.Second), "code", t.Code)
		if err := w.ledger.ReleaseApp(ctx, app, func(s ledger.Snapshot) error { return w.rescue(ctx, s) }); err != nil {
			return err
		}
	}
	return nil
}

// refused makes the harmless call. It returns the error of the account that
// stands in the way of all calls for the app, or nil if there is none. Whether
// an app is refused shows only in an answer for that app.
func (w *Worker) refused(ctx context.Context, app uint64) (*tiw.Error, error) {
	permit, err := w.metrics.acquire(ctx, w.describe, actionDescribe, ratelimit.Interactive)
	if err != nil {
		return nil, err
	}
	defer permit.Release()
	call, cancel := context.WithTimeout(ctx, w.o.CallTimeout)
	defer cancel()
	req := tiw.NewDescribeSnapshotTaskRequest()
	task := probeTask
	req.TaskID, req.SdkAppId = &task, &app
	began := time.Now()
	_, err = w.tiw.DescribeSnapshotTask(tiw.WithGate(call, permit.Use, permit.Sent), req)
	w.metrics.called(actionDescribe, began, err)
	var e *tiw.Error
	if err == nil || !errors.As(err, &e) {
		return nil, err
	}
	switch e.Class {
	case tiw.Account:
		return e, nil
	case tiw.Permanent:
		return nil, nil // as it should be: there is no such task
	}
	return nil, err // no answer: ask again in a minute
}

package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
)

// accountPause is how long the queues stand still after an error that every
// call would get.
const accountPause = time.Minute

// retryLater is what a handler returns for a snapshot that is not finished
// with: asynq runs it again after the delay. It is no failure and costs
// nothing in asynq.
type retryLater struct {
	after time.Duration
	why   string
}

func (e *retryLater) Error() string {
	return fmt.Sprintf("%s; again in %s", e.why, e.after.Round(time.Second))
}

// retryDelay is asynq's RetryDelayFunc.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var later *retryLater
	if errors.As(err, &later) {
		return later.after
	}
	return 0 // a lost lease or a panic: the ledger knows whether to send
}

// handler makes one snapshot of the tasks of one queue.
func (w *Worker) handler(priority ratelimit.Priority) asynq.HandlerFunc {
	return func(ctx context.Context, t *asynq.Task) error {
		p, err := tasks.ParseSnapshot(t.Payload())
		switch {
		case errors.Is(err, tasks.ErrNewerPayload):
			return &retryLater{time.Minute, err.Error()}
		case err != nil:
			w.log.Error("a task can never run: its payload is wrong", "id", p.ID, "err", err)
			return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
		}
		for {
			again, err := w.attempt(ctx, p, priority)
			if !again {
				return err
			}
		}
	}
}

// attempt sends at most one request. again asks for another attempt at once,
// in the same slot: a throttled request has cost nothing but its permit.
func (w *Worker) attempt(ctx context.Context, p tasks.SnapshotPayload, priority ratelimit.Priority) (again bool, err error) {
	permit, err := w.create.Acquire(ctx, priority)
	if err != nil {
		return false, &retryLater{0, "no permit: " + err.Error()}
	}
	defer permit.Release()

	intent, err := w.ledger.Begin(ctx, p, rand.Text())
	if err != nil {
		return false, &retryLater{time.Second, err.Error()}
	}
	switch intent.Verdict {
	case ledger.Done:
		return false, nil
	case ledger.Busy:
		return false, &retryLater{intent.Wait, "another request is on its way"}
	case ledger.Paused:
		return false, &retryLater{intent.Wait + jitter(5*time.Second), "the queues are paused"}
	}

	// From here on the outcome is written whatever happens to ctx. The permit
	// is used when a connection stands, right before the request is written.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.o.CallTimeout)
	response, err := w.tiw.CreateSnapshotTask(tiw.WithGate(call, permit.Use), createRequest(p.Room))
	cancel()
	if errors.Is(err, ratelimit.ErrStale) {
		w.write(ctx, p, intent.Attempt, ledger.Outcome{State: ledger.Queued})
		return true, nil
	}
	if err == nil {
		w.write(ctx, p, intent.Attempt, ledger.Outcome{
			State:        ledger.Accepted,
			TaskID:       *response.TaskID,
			RequestID:    deref(response.RequestId),
			ConfirmAfter: w.o.ConfirmAfter,
		})
		return false, nil
	}
	return w.failed(ctx, p, intent, err)
}

// failed decides, from the class of the error alone, what happens next.
func (w *Worker) failed(ctx context.Context, p tasks.SnapshotPayload, intent ledger.Intent, err error) (again bool, _ error) {
	var e *tiw.Error
	if !errors.As(err, &e) {
		e = &tiw.Error{Class: tiw.Unknown, Code: "Unclassified", Message: err.Error(), Err: err}
	}
	out := ledger.Outcome{RequestID: e.RequestID, Code: e.Code, Message: e.Message}
	failures := intent.Failures + 1
	log := w.log.With("id", p.ID, "attempt", intent.Attempt, "class", e.Class, "code", e.Code, "request_id", e.RequestID)

	switch e.Class {
	case tiw.Throttled:
		w.create.Throttled()
		out.State = ledger.Queued
		w.write(ctx, p, intent.Attempt, out)
		log.Info("throttled: somebody else spends the same quota")
		return true, nil

	case tiw.Account:
		out.State = ledger.Queued
		if tiw.Explain(e.Code).OneApp {
			// The other applications go on; this room can only wait or fail,
			// and waiting would fill the queue.
			out.State = ledger.Failed
			w.write(ctx, p, intent.Attempt, out)
			log.Error("snapshot failed", "message", e.Message)
			return false, nil
		}
		w.write(ctx, p, intent.Attempt, out)
		w.pauseQueues(ctx, e)
		return false, &retryLater{accountPause + jitter(5*time.Second), e.Error()}

	case tiw.NotSent, tiw.Unknown:
		out.State, out.Costs = ledger.Queued, true
		if e.Class == tiw.Unknown {
			out.State = ledger.Unknown
		}
		if failures < w.o.Attempts {
			delay := backoff(failures)
			w.write(ctx, p, intent.Attempt, out)
			log.Warn("attempt failed", "message", e.Message, "again_in", delay)
			return false, &retryLater{delay, e.Error()}
		}
		if e.Class == tiw.Unknown {
			out.MayHaveMade = true
			out.Message = "attempts used up, a task may exist: " + out.Message
		}
	}
	// Permanent, or attempts used up.
	out.State, out.Costs = ledger.Failed, true
	w.write(ctx, p, intent.Attempt, out)
	log.Error("snapshot failed", "message", out.Message)
	return false, nil
}

// pauseQueues stops all sending for a minute. After it one request or a few
// try again, and pause again if nothing has changed.
func (w *Worker) pauseQueues(ctx context.Context, e *tiw.Error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	x := tiw.Explain(e.Code)
	w.log.Error("queues paused: every call would fail", "code", e.Code, "meaning", x.Meaning, "fix", x.Fix, "for", accountPause)
	if err := w.ledger.Pause(ctx, fmt.Sprintf("%s: %s; %s", e.Code, x.Meaning, x.Fix), accountPause); err != nil {
		w.log.Error("could not pause the queues", "err", err)
	}
}

// write writes an outcome, detached from the task's context and again until
// Redis takes it. Redis being away stops all sending, so the number of
// outcomes that wait here is at most the number of calls in flight.
func (w *Worker) write(ctx context.Context, p tasks.SnapshotPayload, attempt int, out ledger.Outcome) {
	const patience = 2 * time.Minute
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		err := w.ledger.Outcome(ctx, p, attempt, out)
		log := w.log.With("id", p.ID, "attempt", attempt, "state", out.State, "task_id", out.TaskID, "request_id", out.RequestID)
		switch {
		case err == nil:
			return
		case errors.Is(err, ledger.ErrLate):
			log.Warn("outcome came late: the record has moved on")
			return
		}
		log.Warn("outcome not written, trying again", "err", err)
		if !pause(ctx, delay) {
			log.Error("outcome not written, giving up: the snapshot will count as unknown", "err", err)
			return
		}
	}
}

// backoff is exponential with full jitter: up to 1 s after the first failure,
// 2 s after the second, at most a minute.
func backoff(failures int) time.Duration {
	return jitter(min(time.Second<<min(failures-1, 6), time.Minute))
}

func jitter(d time.Duration) time.Duration { return mrand.N(d) }

func createRequest(r tasks.Room) *tiw.CreateSnapshotTaskRequest {
	req := tiw.NewCreateSnapshotTaskRequest()
	req.SdkAppId, req.RoomId = &r.SdkAppId, &r.RoomId
	req.Whiteboard = &tiw.SnapshotWhiteboard{}
	if w := r.Whiteboard; w != nil {
		req.Whiteboard.Width, req.Whiteboard.Height = w.Width, w.Height
		req.Whiteboard.InitParams = optional(w.InitParams)
	}
	req.SnapshotMode = optional(r.SnapshotMode)
	if c := r.COS; c != nil {
		req.COS = &tiw.SnapshotCOS{
			Uin:       &c.Uin,
			Region:    &c.Region,
			Bucket:    &c.Bucket,
			TargetDir: optional(c.TargetDir),
			Domain:    optional(c.Domain),
		}
	}
	return req
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

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

// pausedDelay is how soon a task looks again whether the queues are still
// paused.
const pausedDelay = 5 * time.Second

// beginAgain is how soon an intent is written again that Redis has not taken.
const beginAgain = 500 * time.Millisecond

// maxRefusal is how much is kept of what is wrong with a room, in characters.
const maxRefusal = 500

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

// handler makes the snapshot of one task.
func (l *lane) handler() asynq.HandlerFunc {
	w := l.worker
	return func(ctx context.Context, t *asynq.Task) error {
		p, err := tasks.ParseSnapshot(t.Payload())
		switch {
		case errors.Is(err, tasks.ErrNewerPayload):
			return &retryLater{time.Minute, err.Error()}
		case isRoomError(err):
			return w.refuse(ctx, p, err)
		case err != nil:
			w.log.Error("a task can never run: its payload is wrong", "id", p.ID, "err", err)
			return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
		}
		token := rand.Text()
		for {
			again, err := w.attempt(ctx, p, l, &token)
			if !again {
				return err
			}
		}
	}
}

// notNow is what a handler returns where the ledger lets it send nothing.
func notNow(intent ledger.Intent) error {
	switch intent.Verdict {
	case ledger.Wait:
		return &retryLater{intent.Wait, "the outcome of a request is open"}
	case ledger.Paused:
		return &retryLater{pausedDelay + jitter(pausedDelay), "the queues are paused"}
	}
	return nil // Done
}

func isRoomError(err error) bool {
	var e *tasks.RoomError
	return errors.As(err, &e)
}

// refuse ends a snapshot whose room breaks the rules: another release has
// enqueued it. It is an attempt that sends nothing.
func (w *Worker) refuse(ctx context.Context, p tasks.SnapshotPayload, cause error) error {
	intent, err := w.ledger.Begin(ctx, p, rand.Text())
	if err != nil {
		return &retryLater{beginAgain, err.Error()}
	}
	if intent.Verdict != ledger.Send {
		return notNow(intent)
	}
	w.write(ctx, p.ID, intent.Attempt, ledger.Outcome{
		State: ledger.Failed, Costs: true, Code: tiw.CodeInvalidRoom, Message: fmt.Sprintf("%.*s", maxRefusal, cause),
	})
	w.log.Error("snapshot failed: its room breaks the rules of this release", "id", p.ID, "err", cause)
	return nil
}

// attempt sends at most one request. again asks for another attempt at once,
// in the same slot: a throttled request has cost nothing but its permit.
//
// token names the intent, and stays the same until it is known that the ledger
// has it.
func (w *Worker) attempt(ctx context.Context, p tasks.SnapshotPayload, l *lane, token *string) (again bool, err error) {
	permit, err := l.permit(ctx)
	if err != nil {
		return false, &retryLater{0, "no permit: " + err.Error()}
	}
	defer permit.Release()

	intent, err := w.ledger.Begin(ctx, p, *token)
	if err != nil {
		// Redis is away. asynq could not take the task back now, and would not
		// try again (its acknowledgements are lost then), so it stays here.
		w.log.Warn("intent not written, trying again", "id", p.ID, "err", err)
		permit.Release()
		return pause(ctx, beginAgain), &retryLater{0, err.Error()}
	}
	*token = rand.Text()
	if intent.Verdict != ledger.Send {
		return false, notNow(intent)
	}

	// From here on the outcome is written whatever happens to ctx. The permit
	// is used when a connection stands, right before the request is written,
	// and its use counts from when that is done.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.o.CallTimeout)
	began := time.Now()
	response, err := w.tiw.CreateSnapshotTask(tiw.WithGate(call, permit.Use, permit.Sent), w.request(p, intent.Attempt))
	cancel()
	if errors.Is(err, ratelimit.ErrStale) {
		w.write(ctx, p.ID, intent.Attempt, ledger.Outcome{State: ledger.Queued})
		return true, nil
	}
	w.metrics.called(actionCreate, began, err)
	if err == nil {
		w.write(ctx, p.ID, intent.Attempt, ledger.Outcome{
			State:     ledger.Accepted,
			TaskID:    *response.TaskID,
			RequestID: deref(response.RequestId),
		})
		return false, nil
	}
	return w.failed(ctx, p, intent, permit, err)
}

// failed decides, from the class of the error alone, what happens next.
func (w *Worker) failed(ctx context.Context, p tasks.SnapshotPayload, intent ledger.Intent, permit *ratelimit.Permit, err error) (again bool, _ error) {
	var e *tiw.Error
	if !errors.As(err, &e) {
		e = &tiw.Error{Class: tiw.Unknown, Code: "Unclassified", Message: err.Error(), Err: err}
	}
	out := ledger.Outcome{RequestID: e.RequestID, Code: e.Code, Message: e.Message}
	failures := intent.Failures + 1
	log := w.log.With("id", p.ID, "attempt", intent.Attempt, "class", e.Class, "code", e.Code, "request_id", e.RequestID)

	switch e.Class {
	case tiw.Throttled:
		permit.Throttled()
		out.State = ledger.Queued
		w.write(ctx, p.ID, intent.Attempt, out)
		log.Info("throttled: somebody else spends the same quota")
		return true, nil

	case tiw.Clock:
		out.State = ledger.Queued
		w.write(ctx, p.ID, intent.Attempt, out)
		log.Warn("this machine's clock is wrong: signing with Tencent's time from now on", "offset", w.tiw.ClockOffset().Round(time.Second))
		return true, nil

	case tiw.Account:
		out.State = ledger.Queued
		w.write(ctx, p.ID, intent.Attempt, out)
		w.stop(ctx, p.Room.SdkAppId, e)
		return true, nil // to be parked, or told that the queues are paused

	case tiw.NotSent:
		out.State, out.Costs = ledger.Queued, true
		if failures < w.o.Attempts {
			delay := backoff(failures)
			w.write(ctx, p.ID, intent.Attempt, out)
			log.Warn("attempt failed", "message", e.Message, "again_in", delay)
			return false, &retryLater{delay, e.Error()}
		}

	case tiw.Unknown:
		out.State, out.Costs = ledger.Unknown, true
		delay := w.grace()
		if failures < w.o.Attempts { // else the ledger lets it fail then, or holds it
			delay = max(delay, backoff(failures))
		}
		w.write(ctx, p.ID, intent.Attempt, out)
		log.Warn("outcome unknown", "message", e.Message, "failures", failures, "again_in", delay)
		return false, &retryLater{delay, e.Error()}
	}
	// Permanent, or attempts used up.
	out.State, out.Costs = ledger.Failed, true
	w.write(ctx, p.ID, intent.Attempt, out)
	log.Error("snapshot failed", "message", out.Message)
	return false, nil
}

// write writes an outcome, detached from the task's context and again until
// Redis takes it. Redis being away stops all sending, so the number of
// outcomes that wait here is at most the number of calls in flight. Meanwhile
// the outcome lies in the spool, in case this process does not live so long.
func (w *Worker) write(ctx context.Context, id string, attempt int, out ledger.Outcome) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writePatience)
	defer cancel()
	log := w.log.With("id", id, "attempt", attempt, "state", out.State, "task_id", out.TaskID, "request_id", out.RequestID)
	spooled := ""
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		err := w.ledger.Outcome(ctx, id, attempt, out)
		if errors.Is(err, ledger.ErrLate) {
			log.Warn("outcome came late: the record has moved on")
			err = nil
		}
		if err == nil {
			w.spool.remove(spooled)
			return
		}
		log.Warn("outcome not written, trying again", "err", err)
		if spooled == "" {
			if spooled, err = w.spool.put(spoolEntry{id, attempt, out}); err != nil {
				log.Error("outcome not spooled: it is lost if this process ends before Redis is back", "err", err)
			}
		}
		if !pause(ctx, delay) {
			log.Error("outcome not written, giving up until it is read from the spool", "spool", spooled)
			return
		}
	}
}

// backoff is exponential with full jitter: up to 1 s after the first failure,
// 2 s after the second, at most a minute.
func backoff(failures int) time.Duration {
	return jitter(min(time.Second<<min(failures-1, 6), time.Minute))
}

// grace is how long an unknown outcome waits for its callback.
func (w *Worker) grace() time.Duration {
	if w.o.OnUnknown != WaitUnknown {
		return 0
	}
	return w.o.UnknownGrace
}

func jitter(d time.Duration) time.Duration { return mrand.N(d) }

// request is the request of one attempt.
func (w *Worker) request(p tasks.SnapshotPayload, attempt int) *tiw.CreateSnapshotTaskRequest {
	r := p.Room
	req := tiw.NewCreateSnapshotTaskRequest()
	req.CallbackURL = optional(w.callbackURL(p, attempt))
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

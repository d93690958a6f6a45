package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	mrand "math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/gate"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
)

// stoppedDelay is how soon a task looks again whether sending is still stopped,
// and as much again at most.
const stoppedDelay = 2 * time.Second

// beginAgain is how soon an intent is written again that Redis has not taken.
const beginAgain = 500 * time.Millisecond

// maxRefusal is how much is kept of what is wrong with a room, in characters.
const maxRefusal = 500

// retryLater is what a handler returns for a snapshot that is not finished
// with: asynq runs it again after the delay. It is no failure and costs
// nothing in asynq.
type retryLater struct {
	after  time.Duration
	why    string
	failed bool // it counts as a failure in asynq's statistics, and in nothing else
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
	return 0 // a lost lease: the ledger knows whether to send
}

// isFailure is asynq's IsFailure.
func isFailure(err error) bool {
	var later *retryLater
	return errors.As(err, &later) && later.failed
}

// mostPanics is how often a task may panic before its snapshot fails.
const mostPanics = 5

// panicked decides what becomes of a task that has panicked outside of an attempt:
// it waits longer each time, and then its snapshot fails. asynq counts the failures
// for it.
func (w *Worker) panicked(ctx context.Context, t *asynq.Task, cause any) (err error) {
	id, _ := asynq.GetTaskID(ctx)
	failures, _ := asynq.GetRetryCount(ctx)
	log := w.log.With("id", id, "panic", cause, "time", failures+1)
	if failures+1 < mostPanics {
		delay := w.backoff(failures + 1)
		log.Error("a task has panicked", "again_in", delay, "stack", string(debug.Stack()))
		return &retryLater{delay, fmt.Sprintf("panic: %v", cause), true}
	}
	log.Error("a task panics each time: its snapshot fails")
	p, err := tasks.ParseSnapshot(t.Payload())
	if err != nil {
		return fmt.Errorf("panic: %v: %w", cause, asynq.SkipRetry)
	}
	return w.refuse(ctx, p, fmt.Errorf("the worker panics on it: %v", cause))
}

// handler makes the snapshot of one task.
func (l *lane) handler() asynq.HandlerFunc {
	w := l.worker
	return func(ctx context.Context, t *asynq.Task) (err error) {
		defer func() {
			if cause := recover(); cause != nil {
				err = w.panicked(ctx, t, cause)
			}
		}()
		p, err := tasks.ParseSnapshot(t.Payload())
		switch {
		case errors.Is(err, tasks.ErrNewerPayload):
			return &retryLater{after: time.Minute, why: err.Error()}
		case isRoomError(err):
			return w.refuse(ctx, p, err)
		case err != nil:
			id, _ := asynq.GetTaskID(ctx)
			w.log.Error("a task can never run: its payload is wrong", "id", id, "type", t.Type(), "err", err)
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
		return &retryLater{after: intent.Wait, why: "the outcome of a request is open"}
	case ledger.Stopped:
		return &retryLater{after: stoppedDelay + jitter(stoppedDelay), why: "sending is stopped"}
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
	intent, err := w.ledger.Begin(ctx, p, rand.Text(), "")
	if err != nil {
		return &retryLater{after: beginAgain, why: err.Error()}
	}
	if intent.Verdict != ledger.Send && intent.Verdict != ledger.Alone {
		return notNow(intent)
	}
	w.write(ctx, p, intent.Attempt, ledger.Outcome{
		State: ledger.Failed, Costs: true, Code: tiw.CodeInvalidRoom, Message: fmt.Sprintf("%.*s", maxRefusal, cause),
	})
	w.snapshotFailed(ctx, p.ID, tiw.CodeInvalidRoom, cause.Error())
	return nil
}

// attempt sends at most one request. again asks for another attempt at once,
// in the same slot: a throttled request has cost nothing but its permit.
//
// token names the intent, and stays the same until it is known that the ledger
// has it.
func (w *Worker) attempt(ctx context.Context, p tasks.SnapshotPayload, l *lane, token *string) (again bool, err error) {
	asked := time.Now()
	var permit *gate.Permit
	alone := w.replicas.unconfirmed()
	if !alone {
		permit, err = l.permit(ctx, p)
	}
	waited := time.Since(asked)
	var stopped *gate.Stopped
	var suspended *gate.Suspended
	if errors.As(err, &stopped) || errors.As(err, &suspended) {
		// Without a permit nothing is sent, but what was canceled meanwhile ends.
		permit, err = nil, nil
	}
	if err != nil {
		return false, &retryLater{why: "no permit: " + err.Error()}
	}
	if permit != nil {
		defer permit.Release()
	}

	intent, err := w.ledger.Begin(ctx, p, *token, permit.Pass())
	if err != nil {
		// Redis is away. asynq could not take the task back now, and would not
		// try again (its acknowledgements are lost then), so it stays here.
		w.log.Warn("intent not written, trying again", "id", p.ID, "err", err)
		if permit != nil {
			permit.Release()
		}
		return pause(ctx, beginAgain), &retryLater{why: err.Error()}
	}
	used := *token
	*token = rand.Text()
	if intent.Verdict == ledger.Alone {
		permit.Release()
		w.write(ctx, p, intent.Attempt, ledger.Outcome{State: ledger.Queued, Unsent: true, Token: used})
		w.pauseUnconfirmed(ctx)
		alone, intent.Verdict = true, ledger.Stopped
	}
	if alone && intent.Verdict == ledger.Stopped {
		// It stays here: what asynq would be given now a failover may lose.
		return pause(ctx, unconfirmedPause), notNow(intent)
	}
	if intent.Verdict == ledger.Stopped && suspended != nil {
		w.gate.Invalidate() // it is not, not any more, or not for this room
		return true, nil
	}
	if intent.Verdict != ledger.Send {
		return false, notNow(intent)
	}
	w.resumeConfirmed(ctx)

	// Whether a request that has panicked was sent nobody knows.
	defer func() {
		if cause := recover(); cause != nil {
			w.log.Error("an attempt has panicked", "id", p.ID, "panic", cause, "stack", string(debug.Stack()))
			out := ledger.Outcome{PermitWait: waited, Token: used}
			again, err = w.failed(ctx, p, intent, out, gate.Room, fmt.Errorf("panic: %v", cause))
		}
	}()
	// From here on the outcome is written whatever happens to ctx. The permit
	// is used when a connection stands, right before the request is written,
	// and its use counts from when that is done.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.o.CallTimeout)
	began := time.Now()
	w.traffic.busy.Add(1)
	response, err := w.tiw.CreateSnapshotTask(permit.Context(call), w.request(p, intent.Attempt))
	w.traffic.busy.Add(-1)
	cancel()
	if errors.Is(err, ratelimit.ErrStale) {
		w.write(ctx, p, intent.Attempt, ledger.Outcome{State: ledger.Queued, Unsent: true, Token: used})
		return true, nil
	}
	w.metrics.called(actionCreate, began, err)
	w.traffic.total.Add(1)
	if err == nil {
		out := ledger.Outcome{
			State: ledger.Accepted, TaskID: *response.TaskID, RequestID: deref(response.RequestId),
			PermitWait: waited, Token: used,
		}
		w.write(ctx, p, intent.Attempt, out, func(pipe redis.Pipeliner) { permit.Report(ctx, pipe, out.TaskID) })
		permit.Done(ctx, out.TaskID, nil)
		return false, nil
	}
	return w.failed(ctx, p, intent, ledger.Outcome{PermitWait: waited, Token: used}, permit.Done(ctx, "", err), err)
}

// failed decides what happens next, from the class of the error and from whom it
// concerns. out is what is known of the outcome by itself.
func (w *Worker) failed(
	ctx context.Context, p tasks.SnapshotPayload, intent ledger.Intent, out ledger.Outcome,
	concerns gate.Verdict, err error,
) (again bool, _ error) {
	var e *tiw.Error
	if !errors.As(err, &e) {
		e = &tiw.Error{Class: tiw.Unknown, Code: "Unclassified", Message: err.Error(), Err: err}
	}
	out.RequestID, out.Code, out.Message = e.RequestID, e.Code, e.Message
	log := w.log.With("id", p.ID, "attempt", intent.Attempt, "class", e.Class.String(), "code", e.Code, "request_id",
		e.RequestID)
	failures, delay := intent.Failures, stoppedDelay+jitter(stoppedDelay)
	if concerns == gate.Room {
		failures++
		delay = w.backoff(failures)
	}

	switch e.Class {
	case tiw.Throttled:
		out.State = ledger.Queued
		w.write(ctx, p, intent.Attempt, out)
		log.Info("throttled: " + tiw.Explain(e.Code).Meaning)
		return true, nil

	case tiw.Clock:
		out.State = ledger.Queued
		w.write(ctx, p, intent.Attempt, out)
		log.Warn("this machine's clock is wrong: signing with Tencent's time from now on", "offset",
			w.tiw.ClockOffset().Round(time.Second))
		return true, nil

	case tiw.Account:
		if concerns == gate.RoomAlone {
			break // others are accepted, this one is not
		}
		out.State = ledger.Queued
		w.write(ctx, p, intent.Attempt, out)
		log.Warn("refused for the account or the application", "message", e.Message)
		return true, nil // to wait for its application, or be told that sending is stopped

	case tiw.NotSent:
		out.State = ledger.Queued
		if e.RequestID == "" {
			out.Unsent = true
		} else if out.Costs = concerns == gate.Room; out.Costs && failures >= w.o.Attempts {
			break
		}
		w.write(ctx, p, intent.Attempt, out)
		log.Warn("attempt failed", "message", e.Message, "again_in", delay)
		return false, &retryLater{delay, e.Error(), true}

	case tiw.Unknown:
		out.State, out.Costs = ledger.Unknown, concerns == gate.Room
		if failures >= w.o.Attempts { // the ledger lets it fail when the grace is over, or holds it
			delay = 0
		}
		delay = max(delay, w.grace())
		w.write(ctx, p, intent.Attempt, out)
		log.Warn("outcome unknown", "message", e.Message, "failures", failures, "again_in", delay)
		return false, &retryLater{delay, e.Error(), true}
	}
	// Permanent, the room's own, or attempts used up.
	out.State, out.Costs = ledger.Failed, true
	w.write(ctx, p, intent.Attempt, out)
	w.snapshotFailed(ctx, p.ID, out.Code, out.Message)
	return false, nil
}

// write writes an outcome, detached from the task's context and again until
// Redis takes it. Redis being away stops all sending, so the number of
// outcomes that wait here is at most the number of calls in flight. Meanwhile
// the outcome lies in the spool, in case this process does not live so long.
// The first try sends the commands of with in the same round trip.
func (w *Worker) write(
	ctx context.Context, p tasks.SnapshotPayload, attempt int, out ledger.Outcome, with ...func(redis.Pipeliner),
) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	id := p.ID
	log := w.log.With("id", id, "attempt", attempt, "state", out.State, "task_id", out.TaskID, "request_id", out.RequestID)
	spooled := ""
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		err := w.ledger.Outcome(ctx, id, attempt, out, with...)
		with = nil
		if errors.Is(err, ledger.ErrLost) {
			err = w.ledger.Restore(ctx, p, attempt, out)
		}
		if errors.Is(err, ledger.ErrLate) || errors.Is(err, ledger.ErrLost) {
			log.Warn("outcome came late", "why", err)
			w.spool.remove(spooled)
			return
		}
		if err == nil {
			w.outcomes.add(p, attempt, out)
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

// backoff is how long a room waits after so many failures of its own: 2 s, 12 s,
// 72 s, then at most 15 minutes, a quarter less or more. Eight attempts last
// about an hour.
func (w *Worker) backoff(failures int) time.Duration {
	seconds := min(2*math.Pow(6, float64(failures-1)), (15 * time.Minute).Seconds())
	d := time.Duration(seconds * float64(w.o.Second))
	return d*3/4 + jitter(d/2+1)
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

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

// stoppedDelay is the shortest delay before a task is retried while sending is stopped.
// Jitter adds up to the same again.
const stoppedDelay = 2 * time.Second

// intentRetryDelay is the delay before an intent that Redis has not taken is written
// again.
const intentRetryDelay = 500 * time.Millisecond

// maxRefusal limits the stored message about an invalid room, in characters.
const maxRefusal = 500

// retryLater is the error of a handler whose task asynq runs again after a delay. It
// does not use up retries of asynq.
type retryLater struct {
	after  time.Duration
	why    string
	failed bool // counts as a failure in asynq's statistics only
}

func (e *retryLater) Error() string {
	return fmt.Sprintf("%s; retry in %s", e.why, e.after.Round(time.Second))
}

// retryDelay is asynq's RetryDelayFunc.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var later *retryLater
	if errors.As(err, &later) {
		return later.after
	}
	return 0 // the task lost its lease: the ledger decides whether to send
}

// isFailure is asynq's IsFailure.
func isFailure(err error) bool {
	var later *retryLater
	return errors.As(err, &later) && later.failed
}

// maxPanics is how often a task may panic before its snapshot fails.
const maxPanics = 5

// handlePanic retries a task that panicked outside of an attempt, with backoff. After
// maxPanics its snapshot fails. asynq counts the panics as failures of the task.
func (w *Worker) handlePanic(ctx context.Context, t *asynq.Task, cause any) (err error) {
	id, _ := asynq.GetTaskID(ctx)
	failures, _ := asynq.GetRetryCount(ctx)
	log := w.log.With("id", id, "panic", cause, "time", failures+1)
	if failures+1 < maxPanics {
		delay := w.backoff(failures + 1)
		log.Error("task panicked, trying again", "again_in", delay, "stack", string(debug.Stack()))
		return &retryLater{delay, fmt.Sprintf("panic: %v", cause), true}
	}
	log.Error("task panicked too often, its snapshot fails")
	p, err := tasks.ParseSnapshot(t.Payload())
	if err != nil {
		return fmt.Errorf("panic: %v: %w", cause, asynq.SkipRetry)
	}
	return w.failInvalid(ctx, p, fmt.Errorf("the worker panicked on it: %v", cause))
}

// handler returns the asynq handler that runs the snapshot of one task.
func (l *lane) handler() asynq.HandlerFunc {
	w := l.worker
	return func(ctx context.Context, t *asynq.Task) (err error) {
		defer func() {
			if cause := recover(); cause != nil {
				err = w.handlePanic(ctx, t, cause)
			}
		}()
		p, err := tasks.ParseSnapshot(t.Payload())
		switch {
		case errors.Is(err, tasks.ErrNewerPayload):
			return &retryLater{after: time.Minute, why: err.Error()}
		case isRoomError(err):
			return w.failInvalid(ctx, p, err)
		case err != nil:
			id, _ := asynq.GetTaskID(ctx)
			w.log.Error("task cannot run: its payload is invalid", "id", id, "type", t.Type(), "err", err)
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

// notSent returns the result of a handler that may not send, from the verdict of the
// ledger.
func notSent(intent ledger.Intent) error {
	switch intent.Verdict {
	case ledger.Wait:
		return &retryLater{after: intent.Wait, why: "the outcome of a request is unknown"}
	case ledger.Stopped:
		return &retryLater{after: stoppedDelay + jitter(stoppedDelay), why: "sending is stopped"}
	}
	return nil // Done
}

func isRoomError(err error) bool {
	var e *tasks.RoomError
	return errors.As(err, &e)
}

// failInvalid fails a snapshot that can never be sent, as an attempt without a request.
// Its room is invalid, which only another release of tiwsnap enqueues, or the worker
// panics on it.
func (w *Worker) failInvalid(ctx context.Context, p tasks.SnapshotPayload, cause error) error {
	intent, err := w.ledger.Begin(ctx, p, rand.Text(), "")
	if err != nil {
		return &retryLater{after: intentRetryDelay, why: err.Error()}
	}
	if intent.Verdict != ledger.Send && intent.Verdict != ledger.Alone {
		return notSent(intent)
	}
	w.writeOutcome(ctx, p, intent.Attempt, ledger.Outcome{
		State: ledger.Failed, Costs: true, Code: tiw.CodeInvalidRoom, Message: fmt.Sprintf("%.*s", maxRefusal, cause),
	})
	w.snapshotFailed(ctx, p.ID, tiw.CodeInvalidRoom, cause.Error())
	return nil
}

// attempt sends at most one request. If again is true, the caller makes another attempt
// at once, in the same slot: a throttled request has cost only its permit.
//
// token identifies the intent. It is replaced as soon as the ledger has confirmed it.
func (w *Worker) attempt(ctx context.Context, p tasks.SnapshotPayload, l *lane, token *string) (again bool, err error) {
	start := time.Now()
	var permit *gate.Permit
	unconfirmed := w.replicas.unconfirmed()
	if !unconfirmed {
		permit, err = l.permit(ctx, p)
	}
	waited := time.Since(start)
	var stopped *gate.Stopped
	var suspended *gate.Suspended
	if errors.As(err, &stopped) || errors.As(err, &suspended) {
		// Without a permit Begin allows no request, but it ends a canceled snapshot.
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
		// Redis is down. asynq could not requeue the task now and does not retry
		// that, so the handler keeps the task.
		w.log.Warn("intent not written, trying again", "id", p.ID, "err", err)
		if permit != nil {
			permit.Release()
		}
		return pause(ctx, intentRetryDelay), &retryLater{why: err.Error()}
	}
	used := *token
	*token = rand.Text()
	if intent.Verdict == ledger.Alone {
		permit.Release()
		w.writeOutcome(ctx, p, intent.Attempt, ledger.Outcome{State: ledger.Queued, Unsent: true, Token: used})
		w.pauseUnconfirmed(ctx)
		unconfirmed, intent.Verdict = true, ledger.Stopped
	}
	if unconfirmed && intent.Verdict == ledger.Stopped {
		// The handler keeps the task: a failover could lose it in asynq.
		return pause(ctx, unconfirmedPause), notSent(intent)
	}
	if intent.Verdict == ledger.Stopped && suspended != nil {
		w.gate.Invalidate() // the cached suspension is outdated, or does not concern this room
		return true, nil
	}
	if intent.Verdict != ledger.Send {
		return false, notSent(intent)
	}
	w.resumeConfirmed(ctx)

	// After a panic it is unknown whether the request was sent.
	defer func() {
		if cause := recover(); cause != nil {
			w.log.Error("attempt panicked", "id", p.ID, "panic", cause, "stack", string(debug.Stack()))
			out := ledger.Outcome{PermitWait: waited, Token: used}
			again, err = w.handleFailure(ctx, p, intent, out, gate.Room, fmt.Errorf("panic: %v", cause))
		}
	}()
	// From here on the outcome is written even if ctx ends. The permit is used
	// once the connection is open, right before the request is written. Its window
	// starts when the request has been written.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.o.CallTimeout)
	began := time.Now()
	w.traffic.busy.Add(1)
	response, err := w.tiw.CreateSnapshotTask(permit.Context(call), w.request(p, intent.Attempt))
	w.traffic.busy.Add(-1)
	cancel()
	if errors.Is(err, ratelimit.ErrStale) {
		w.writeOutcome(ctx, p, intent.Attempt, ledger.Outcome{State: ledger.Queued, Unsent: true, Token: used})
		return true, nil
	}
	w.metrics.called(actionCreate, began, err)
	w.traffic.total.Add(1)
	if err == nil {
		out := ledger.Outcome{
			State: ledger.Accepted, TaskID: *response.TaskID, RequestID: deref(response.RequestId),
			PermitWait: waited, Token: used,
		}
		w.writeOutcome(ctx, p, intent.Attempt, out, func(pipe redis.Pipeliner) { permit.Report(ctx, pipe, out.TaskID) })
		permit.Done(ctx, out.TaskID, nil)
		return false, nil
	}
	return w.handleFailure(ctx, p, intent, ledger.Outcome{PermitWait: waited, Token: used}, permit.Done(ctx, "", err), err)
}

// handleFailure decides whether to retry after an error, by its class and by whom it
// concerns: the room or the account. It completes out and writes it.
func (w *Worker) handleFailure(
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
		w.writeOutcome(ctx, p, intent.Attempt, out)
		log.Info("throttled: " + tiw.Explain(e.Code).Meaning)
		return true, nil

	case tiw.Clock:
		out.State = ledger.Queued
		w.writeOutcome(ctx, p, intent.Attempt, out)
		log.Warn("the clock of this machine is wrong, signing with Tencent's time from now on", "offset",
			w.tiw.ClockOffset().Round(time.Second))
		return true, nil

	case tiw.Account:
		if concerns == gate.RoomAlone {
			break // Tencent accepts other rooms, so the snapshot fails
		}
		out.State = ledger.Queued
		w.writeOutcome(ctx, p, intent.Attempt, out)
		log.Warn("account or application refused", "message", e.Message)
		return true, nil // the next attempt waits for the application, or finds that sending is stopped

	case tiw.NotSent:
		out.State = ledger.Queued
		if e.RequestID == "" {
			out.Unsent = true
		} else if out.Costs = concerns == gate.Room; out.Costs && failures >= w.o.Attempts {
			break
		}
		w.writeOutcome(ctx, p, intent.Attempt, out)
		log.Warn("attempt failed", "message", e.Message, "again_in", delay)
		return false, &retryLater{delay, e.Error(), true}

	case tiw.Unknown:
		out.State, out.Costs = ledger.Unknown, concerns == gate.Room
		if failures >= w.o.Attempts { // the ledger fails or holds it at the end of the grace period
			delay = 0
		}
		delay = max(delay, w.grace())
		w.writeOutcome(ctx, p, intent.Attempt, out)
		log.Warn("outcome unknown", "message", e.Message, "failures", failures, "again_in", delay)
		return false, &retryLater{delay, e.Error(), true}
	}
	// Permanent, refused for this room only, or out of attempts.
	out.State, out.Costs = ledger.Failed, true
	w.writeOutcome(ctx, p, intent.Attempt, out)
	w.snapshotFailed(ctx, p.ID, out.Code, out.Message)
	return false, nil
}

// writeOutcome writes an outcome to the ledger, and retries for writeTimeout even if ctx
// ends. While Redis is down no request is sent, so at most as many outcomes wait here
// as there were calls in flight. Meanwhile the spool stores the outcome, so that it
// survives the process. The first try sends the commands of with in the same round trip.
func (w *Worker) writeOutcome(
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
				log.Error("outcome not spooled: it is lost if this process ends before Redis is available", "err", err)
			}
		}
		if !pause(ctx, delay) {
			log.Error("outcome not written, it stays in the spool", "spool", spooled)
			return
		}
	}
}

// backoff returns the delay after that many failures of a room: 2 s, 12 s, 72 s, 432 s,
// then 15 minutes, each with ±25 % jitter. Eight attempts take about an hour.
func (w *Worker) backoff(failures int) time.Duration {
	seconds := min(2*math.Pow(6, float64(failures-1)), (15 * time.Minute).Seconds())
	d := time.Duration(seconds * float64(w.o.Second))
	return d*3/4 + jitter(d/2+1)
}

// grace returns how long an unknown outcome waits for its callback: 0 unless OnUnknown is
// WaitUnknown.
func (w *Worker) grace() time.Duration {
	if w.o.OnUnknown != WaitUnknown {
		return 0
	}
	return w.o.UnknownGrace
}

// jitter returns a random duration in [0, d).
func jitter(d time.Duration) time.Duration { return mrand.N(d) }

// request returns the request of one attempt.
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

package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/internal/asynqx"
	"tiwsnap/ledger"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
)

// Server is the asynq server of the webhooks, for Handler. It takes them until ctx ends. A receiver that is slow or
// away
// holds up no snapshot.
func (d *Dispatcher) Server(ctx context.Context) *asynq.Server {
	queue := d.o.Namespace.QueueWebhooks()
	taker := asynqx.Taker{
		Queue: queue, Types: []string{tasks.TypeNotify}, Foreign: d.o.Foreign,
	}
	return asynq.NewServerFromRedisClient(taker.Redis(ctx, d.o.Redis), asynq.Config{
		Concurrency:              concurrency,
		Queues:                   map[string]int{queue: asynqx.Weight},
		IsFailure:                func(err error) bool { return !errors.As(err, new(*BusyError)) },
		RetryDelayFunc:           retryDelay,
		TaskCheckInterval:        50 * time.Millisecond, // in a paused queue
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          d.o.ShutdownTimeout,
		Logger:                   asynqx.Log(d.log),
		LogLevel:                 asynq.ErrorLevel, // its warnings are ours, in other words
	})
}

// dead is what a handler returns for a webhook that will not be tried again:
// asynq archives it, and "tiwsnap webhooks" lists it.
type dead struct{ error }

func (dead) Is(target error) bool { return target == asynq.SkipRetry }

// retryDelay is asynq's RetryDelayFunc for webhooks. What waits for its host
// has not been tried, so that is no failure in asynq either.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var busy *BusyError
	var later *retryLater
	switch {
	case errors.As(err, &busy):
		return busy.After
	case errors.As(err, &later):
		return later.after
	}
	return 0 // a lost lease
}

// retryLater is what a handler returns for a webhook that is tried again after a time.
type retryLater struct {
	after time.Duration
	why   string
}

func (e *retryLater) Error() string {
	return fmt.Sprintf("%s; again in %s", e.why, e.after.Round(time.Second))
}

// Handler sends one webhook.
func (d *Dispatcher) Handler() asynq.HandlerFunc {
	shares := &Shares{Changed: d.receiverChanged}
	return func(ctx context.Context, t *asynq.Task) error {
		p, err := tasks.ParseNotify(t.Payload())
		switch {
		case errors.Is(err, tasks.ErrNewerPayload):
			return &retryLater{after: time.Minute, why: err.Error()}
		case err != nil:
			d.log.Error("a webhook can never be sent: its payload is wrong", "id", p.ID, "err", err)
			return dead{err}
		}
		err = d.deliver(ctx, shares, p)
		if err == nil || errors.As(err, new(dead)) {
			if err := d.outbox.done(context.WithoutCancel(ctx), HostOf(p.URL), p.ID); err != nil {
				d.log.Warn("a webhook takes a place of its receiver's for a day", "id", p.ID, "err", err)
			}
		}
		return err
	}
}

// deliver sends one webhook when it is the turn of its receiver's host.
func (d *Dispatcher) deliver(ctx context.Context, shares *Shares, p tasks.NotifyPayload) error {
	to := d.receiver(p)
	if to.url == "" {
		return dead{errors.New("there is no receiver: the settings name none any more")}
	}
	host := HostOf(to.url)
	release, err := shares.Acquire(ctx, host)
	if err != nil {
		if time.Since(time.UnixMilli(p.At)) > tryFor {
			d.log.Error("webhook dead: it is not tried again; see tiwsnap webhooks", "id", p.ID, "err", err)
			return dead{err}
		}
		return err
	}
	sent := false
	defer func() { release(sent, err) }()
	switch gone, err := d.outbox.isGone(ctx, to.batch, to.url); {
	case err != nil:
		return &retryLater{after: time.Second, why: err.Error()}
	case gone:
		d.total.WithLabelValues("gone").Inc()
		return dead{fmt.Errorf("not sent: %s has answered 410 Gone to another webhook", host)}
	}
	body, err := d.body(ctx, p)
	switch {
	case errors.As(err, new(*retryLater)):
		return err
	case err != nil:
		return &retryLater{after: time.Second, why: err.Error()}
	case body == nil:
		d.log.Info("webhook dropped: its record has expired, or it goes on", "id", p.ID)
		return nil
	}
	sent = true
	if err = d.o.Sender.Send(ctx, to.url, p.ID, time.Now(), body); err != nil {
		d.total.WithLabelValues("failed").Inc()
		return d.undelivered(ctx, p, err)
	}
	d.total.WithLabelValues("delivered").Inc()
	d.log.Debug("webhook delivered", "id", p.ID)
	return nil
}

// receiverChanged tells of a host that is left alone for a while, and of its
// return.
func (d *Dispatcher) receiverChanged(host string, until time.Time, err error) {
	if err == nil {
		d.log.Info("webhook receiver answers again", "receiver", host)
		return
	}
	d.log.Warn("webhook receiver does not answer: its webhooks wait", "receiver", host, "until", until, "err", err)
}

// setGone notes that a receiver wants no more webhooks. Of a single room there
// are no others.
func (d *Dispatcher) setGone(ctx context.Context, p tasks.NotifyPayload) {
	to := d.receiver(p)
	if to.batch == "" && p.URL != "" {
		return
	}
	first, err := d.outbox.setGone(context.WithoutCancel(ctx), to.batch, to.url)
	log := d.log.With("receiver", HostOf(to.url), "of", cmp.Or(to.batch, "the settings"))
	switch {
	case err != nil:
		log.Warn("a receiver that is gone is still sent webhooks", "err", err)
	case first:
		log.Warn("webhook receiver has answered 410 Gone: it is sent no more",
			"fix", "tiwsnap webhooks resend ID, if it wants them")
	}
}

// body is what is sent: the same data as "tiwsnap status REF -o json"
// shows, and of a schedule what "tiwsnap schedule list -o json" did. It is nil
// where there is no such record any more, and where it is not ended any more.
func (d *Dispatcher) body(ctx context.Context, p tasks.NotifyPayload) ([]byte, error) {
	var data any
	var ended time.Time
	var err error
	switch p.Type {
	case tasks.ScheduleFailed:
		var f schedule.Failure
		f, err = d.schedules.Failure(ctx, p.Ref)
		data, ended = f, f.At
	case tasks.DataLost:
		var loss *ledger.Loss
		if loss, err = d.ledger.LastLoss(ctx); loss == nil {
			break
		}
		data, ended = struct {
			*ledger.Loss
			Fix string `json:"fix"`
		}{loss, ledger.LossFix}, loss.At
	case tasks.BatchEnded, tasks.ImagesCopied:
		var b ledger.Batch
		b, err = d.ledger.Batch(ctx, p.Ref)
		data, ended = b, b.EndedAt
	case tasks.Callback:
		return d.callbackBody(ctx, p)
	default:
		var s ledger.Snapshot
		s, err = d.ledger.Snapshot(ctx, p.Ref)
		data, ended = d.o.Explain(ctx, s), s.EndedAt
	}
	if errors.Is(err, ledger.ErrNotFound) || errors.Is(err, schedule.ErrNotFound) || err == nil && ended.IsZero() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      any       `json:"data"`
	}{p.Type, time.UnixMilli(p.At).UTC(), data})
	if err != nil {
		return nil, fmt.Errorf("encode webhook: %w", err)
	}
	return body, nil
}

// undelivered decides when a webhook is tried again: after a time that doubles
// and half of which is random, or later where the receiver asks for it, for a
// day in all.
func (d *Dispatcher) undelivered(ctx context.Context, p tasks.NotifyPayload, err error) error {
	tries, _ := asynq.GetRetryCount(ctx)
	log := d.log.With("id", p.ID, "err", err, "try", tries+1)
	left := time.Until(time.UnixMilli(p.At).Add(tryFor))
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusGone {
		d.setGone(ctx, p)
	}
	if e != nil && e.Final || left <= 0 {
		log.Error("webhook dead: it is not tried again; see tiwsnap webhooks")
		return dead{err}
	}
	delay := min(tryFirst<<min(tries, 16), tryMost)
	delay = delay/2 + rand.N(delay/2)
	if e != nil {
		delay = max(delay, e.RetryAfter)
	}
	delay = min(delay, left)
	log.Warn("webhook not delivered", "again_in", delay)
	return &retryLater{after: delay, why: err.Error()}
}

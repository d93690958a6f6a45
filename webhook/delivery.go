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

// Server returns the asynq server that runs Handler. It takes webhooks until ctx ends. Webhooks have a server of their
// own, so that a slow receiver delays no snapshot.
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
		LogLevel:                 asynq.ErrorLevel, // its warnings repeat ours
	})
}

// deadLetter is the error of a webhook that is given up. asynq archives it, and "tiwsnap webhooks" lists it.
type deadLetter struct{ error }

func (deadLetter) Is(target error) bool { return target == asynq.SkipRetry }

// retryDelay is the RetryDelayFunc of asynq. A BusyError is no failure in asynq, because no request was made.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var busy *BusyError
	var later *retryLater
	switch {
	case errors.As(err, &busy):
		return busy.After
	case errors.As(err, &later):
		return later.after
	}
	return 0 // the lease was lost
}

// retryLater is the error of a webhook that is to be retried after a delay.
type retryLater struct {
	after time.Duration
	why   string
}

func (e *retryLater) Error() string {
	return fmt.Sprintf("%s; retry in %s", e.why, e.after.Round(time.Second))
}

// Handler returns the asynq handler that delivers one webhook.
func (d *Dispatcher) Handler() asynq.HandlerFunc {
	hosts := &Hosts{Changed: d.receiverChanged}
	return func(ctx context.Context, t *asynq.Task) error {
		p, err := tasks.ParseNotify(t.Payload())
		switch {
		case errors.Is(err, tasks.ErrNewerPayload):
			return &retryLater{after: time.Minute, why: err.Error()}
		case err != nil:
			d.log.Error("webhook given up: its payload is invalid", "id", p.ID, "err", err)
			return deadLetter{err}
		}
		err = d.deliver(ctx, hosts, p)
		if err == nil || errors.As(err, new(deadLetter)) {
			if err := d.outbox.done(context.WithoutCancel(ctx), HostOf(p.URL), p.ID); err != nil {
				d.log.Warn("cannot release the place of a webhook: its receiver has one less for a day", "id", p.ID, "err", err)
			}
		}
		return err
	}
}

// deliver sends one webhook as soon as its host has a place.
func (d *Dispatcher) deliver(ctx context.Context, hosts *Hosts, p tasks.NotifyPayload) error {
	to := d.receiver(p)
	if to.url == "" {
		return deadLetter{errors.New("no receiver: the settings name none any more")}
	}
	host := HostOf(to.url)
	release, err := hosts.Acquire(ctx, host)
	if err != nil {
		if time.Since(time.UnixMilli(p.At)) > retryFor {
			d.log.Error("webhook given up; see tiwsnap webhooks", "id", p.ID, "err", err)
			return deadLetter{err}
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
		return deadLetter{fmt.Errorf("not sent: %s has answered 410 Gone to another webhook", host)}
	}
	body, err := d.body(ctx, p)
	switch {
	case errors.As(err, new(*retryLater)):
		return err
	case err != nil:
		return &retryLater{after: time.Second, why: err.Error()}
	case body == nil:
		d.log.Info("webhook dropped: its record has expired or is in progress again", "id", p.ID)
		return nil
	}
	sent = true
	if err = d.o.Sender.Send(ctx, to.url, p.ID, time.Now(), body); err != nil {
		d.total.WithLabelValues("failed").Inc()
		return d.failed(ctx, p, err)
	}
	d.total.WithLabelValues("delivered").Inc()
	d.log.Debug("webhook delivered", "id", p.ID)
	return nil
}

// receiverChanged logs that the breaker of a host has opened or closed.
func (d *Dispatcher) receiverChanged(host string, until time.Time, err error) {
	if err == nil {
		d.log.Info("webhook receiver works again", "receiver", host)
		return
	}
	d.log.Warn("webhook receiver fails: its webhooks wait", "receiver", host, "until", until, "err", err)
}

// markGone records that a receiver has answered 410 Gone. The receiver of a single room needs no record: it gets no
// other webhooks.
func (d *Dispatcher) markGone(ctx context.Context, p tasks.NotifyPayload) {
	to := d.receiver(p)
	if to.batch == "" && p.URL != "" {
		return
	}
	first, err := d.outbox.markGone(context.WithoutCancel(ctx), to.batch, to.url)
	log := d.log.With("receiver", HostOf(to.url), "of", cmp.Or(to.batch, "the settings"))
	switch {
	case err != nil:
		log.Warn("cannot record that a receiver is gone: it still gets webhooks", "err", err)
	case first:
		log.Warn("webhook receiver has answered 410 Gone: it gets no more webhooks",
			"fix", "tiwsnap webhooks resend ID, if it wants them")
	}
}

// body returns the body of a webhook. Its data are those of "tiwsnap status REF -o json", and for a schedule those of
// "tiwsnap schedule list -o json". It is nil if the record has expired or is in progress again.
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

// failed decides whether and when to retry a webhook. The delay doubles, half of it is jitter, and Retry-After can make
// it longer. Retries end after a day.
func (d *Dispatcher) failed(ctx context.Context, p tasks.NotifyPayload, err error) error {
	tries, _ := asynq.GetRetryCount(ctx)
	log := d.log.With("id", p.ID, "err", err, "try", tries+1)
	left := time.Until(time.UnixMilli(p.At).Add(retryFor))
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusGone {
		d.markGone(ctx, p)
	}
	if e != nil && e.Final || left <= 0 {
		log.Error("webhook given up; see tiwsnap webhooks")
		return deadLetter{err}
	}
	delay := min(retryFirst<<min(tries, 16), retryMax)
	delay = delay/2 + rand.N(delay/2)
	if e != nil {
		delay = max(delay, e.RetryAfter)
	}
	delay = min(delay, left)
	log.Warn("webhook failed, retrying", "again_in", delay)
	return &retryLater{after: delay, why: err.Error()}
}

package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"tiwsnap/internal/asynqx"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
	"tiwsnap/webhook"
)

const (
	// announceEvery is how often ends that nobody was told of are looked for.
	announceEvery = 500 * time.Millisecond
	// tellEvery is how often it is renewed that ends are to be noted.
	tellEvery = time.Minute
	// announceMany is how many are handled in one go: with announceEvery far
	// more than the quota lets end.
	announceMany = 100
	// announceParallel is how many of them are put on their queue at once.
	announceParallel = 8
	// notifyConcurrency is how many webhooks one process has in hand. It is the
	// shares of 16 hosts: see webhook.Shares.
	notifyConcurrency = 1024
	// notifyFor is how long a webhook is tried.
	notifyFor = 24 * time.Hour
	// notifyFirst and notifyMax bound the time between two tries; it doubles.
	notifyFirst, notifyMax = 2 * time.Second, time.Hour
)

// Webhooks says who is told when a snapshot or a batch has ended, or a tick has failed. A batch that
// names a receiver of its own tells that one.
type Webhooks struct {
	Sender    *webhook.Sender // default: nobody is told; stays the caller's to close
	URL       string          // the receiver where a batch names none; default: none
	Snapshots bool            // tell of each snapshot
	Batches   bool            // tell of each batch; one that names a receiver is told of in any case
	Images    bool            // tell of each batch whose images are copied
	Schedules bool            // tell of each tick of a schedule that fails
}

// announce turns the ends that the ledger has noted into tasks.
func (w *Worker) announce(ctx context.Context) {
	told := time.Now()
	for pause(ctx, announceEvery) {
		if time.Since(told) >= tellEvery {
			w.tell(ctx)
			told = time.Now()
		}
		if err := w.announceSome(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("webhooks wait", "err", err)
			pause(ctx, time.Second)
		}
	}
}

// tell lets everyone who ends something know that it is to be told.
func (w *Worker) tell(ctx context.Context) {
	if err := w.ledger.Tell(ctx, w.o.Webhooks.Snapshots, w.o.Webhooks.Batches, w.o.Webhooks.Images, w.o.Webhooks.Schedules); err != nil && ctx.Err() == nil {
		w.log.Warn("what ends may not be told by webhook", "err", err)
	}
}

// announceSome hands on what is due, and postpones what has to wait since its
// receiver's host has its share of webhooks in asynq.
func (w *Worker) announceSome(ctx context.Context) error {
	if some, err := w.ledger.HasNotices(ctx); !some || err != nil {
		return err
	}
	for ctx.Err() == nil {
		notices, err := w.ledger.Notices(ctx, announceMany)
		if err != nil || len(notices) == 0 {
			return err
		}
		told, wait, err := w.handOn(ctx, notices)
		if err != nil {
			return err
		}
		if err := errors.Join(w.ledger.Announced(ctx, told), w.ledger.PostponeNotices(ctx, wait)); err != nil {
			return err
		}
		if len(notices) < announceMany {
			break
		}
	}
	return ctx.Err()
}

// handOn puts the webhooks of notices on their queue. Those that wait have no
// place there yet; told are all others.
func (w *Worker) handOn(ctx context.Context, notices []ledger.Notice) (told, wait []ledger.Notice, err error) {
	payloads, err := w.payloads(ctx, notices)
	if err != nil {
		return nil, nil, err
	}
	room := map[string]int{}
	queued := map[string][]string{} // ids by host
	isGone := map[receiver]bool{}
	skipped := map[string]int{} // by host
	var some []tasks.NotifyPayload
	for i, p := range payloads {
		if p == nil {
			told = append(told, notices[i])
			continue
		}
		to := w.receiver(*p)
		gone, known := isGone[to]
		if !known {
			if gone, err = w.outbox.IsGone(ctx, to.batch, to.url); err != nil {
				return nil, nil, err
			}
			isGone[to] = gone
		}
		if gone {
			skipped[webhook.HostOf(to.url)]++
			told = append(told, notices[i])
			continue
		}
		host := webhook.HostOf(p.URL)
		if _, known := room[host]; !known {
			if room[host], err = w.outbox.Room(ctx, host); err != nil {
				return nil, nil, err
			}
		}
		if room[host] <= 0 {
			wait = append(wait, notices[i])
			continue
		}
		room[host]--
		queued[host] = append(queued[host], p.ID)
		some, told = append(some, *p), append(told, notices[i])
	}
	for host, ids := range queued {
		if err := w.outbox.Queue(ctx, host, ids...); err != nil {
			return nil, nil, err
		}
	}
	var g errgroup.Group
	g.SetLimit(announceParallel)
	for _, p := range some {
		g.Go(func() error {
			task, err := p.Task(w.o.Namespace.String())
			if err != nil {
				return err
			}
			if _, err = w.queue.EnqueueContext(ctx, task); errors.Is(err, asynq.ErrTaskIDConflict) {
				err = nil // it is there already
			}
			return err
		})
	}
	// Where this ends in the middle all of them are handed out again, and the
	// TaskIDs make that harmless.
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	for host, n := range skipped {
		w.metrics.webhooks.WithLabelValues("gone").Add(float64(n))
		w.log.Info("webhooks not sent: their receiver has answered 410 Gone", "receiver", host, "webhooks", n)
	}
	return told, wait, nil
}

// receiver is whom a webhook is for.
type receiver struct {
	url   string
	batch string // whose receiver it is; empty: that of the settings, or of a single room
}

func (w *Worker) receiver(p tasks.NotifyPayload) receiver {
	return receiver{cmp.Or(p.URL, w.o.Webhooks.URL), webhook.BatchOf(p)}
}

// payloads are the webhooks to send for these notices, in their order. It is nil for what
// has expired, or goes on (it was retried and will end again), for an end
// longer ago than a webhook is tried, and where there is no receiver.
func (w *Worker) payloads(ctx context.Context, notices []ledger.Notice) ([]*tasks.NotifyPayload, error) {
	all := make([]*tasks.NotifyPayload, len(notices))
	add := func(i int, n ledger.Notice, event string, ended time.Time) {
		switch {
		case ended.IsZero() || cmp.Or(n.URL, w.o.Webhooks.URL) == "":
		case time.Since(ended) > notifyFor:
			w.log.Error("webhook given up: its turn did not come in time", "event", event, "ref", n.ID, "ended", ended)
		default:
			p := tasks.NewNotify(event, n.ID, ended, n.URL)
			all[i] = &p
		}
	}
	var snapshots, callbacks []int // places in notices
	var ids, calledIDs []string
	for i, n := range notices {
		switch n.Kind {
		case "snapshot":
			snapshots, ids = append(snapshots, i), append(ids, n.ID)
			continue
		case "callback":
			callbacks, calledIDs = append(callbacks, i), append(calledIDs, n.ID)
			continue
		case "schedule":
			add(i, n, tasks.ScheduleFailed, n.At)
			continue
		case "loss":
			add(i, n, tasks.DataLost, n.At)
			continue
		}
		b, err := w.ledger.Batch(ctx, n.ID)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return nil, err
		}
		if n.Kind == "images" {
			add(i, n, tasks.ImagesCopied, n.At)
			continue
		}
		add(i, n, tasks.BatchEnded, b.EndedAt)
	}
	records, err := w.ledger.Snapshots(ctx, append(ids, calledIDs...))
	for k, s := range records {
		if k < len(snapshots) {
			i := snapshots[k]
			add(i, notices[i], tasks.SnapshotEnded, s.EndedAt)
			continue
		}
		i := callbacks[k-len(snapshots)]
		n := notices[i]
		n.URL = s.Room.CallbackURL
		add(i, n, tasks.Callback, s.EndedAt)
	}
	return all, err
}

// notifyServer is the asynq server of the webhooks. A receiver that is slow or
// away holds up no snapshot.
func (w *Worker) notifyServer(ctx context.Context) *asynq.Server {
	queue := w.o.Namespace.QueueWebhooks()
	taker := asynqx.Taker{
		Queue: queue, Types: []string{tasks.TypeNotify}, Foreign: w.foreign(queue),
	}
	return asynq.NewServerFromRedisClient(taker.Redis(ctx, w.o.Redis), asynq.Config{
		Concurrency:              notifyConcurrency,
		Queues:                   map[string]int{queue: asynqx.Weight},
		IsFailure:                func(err error) bool { return !errors.As(err, new(*webhook.BusyError)) },
		RetryDelayFunc:           notifyDelay,
		TaskCheckInterval:        checkEvery,
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          w.o.CallTimeout + 5*time.Second,
		Logger:                   asynqLog{w.log},
		LogLevel:                 asynq.ErrorLevel, // its warnings are ours, in other words
	})
}

// dead is what a handler returns for a webhook that will not be tried again:
// asynq archives it, and "tiwsnap webhooks" lists it.
type dead struct{ error }

func (dead) Is(target error) bool { return target == asynq.SkipRetry }

// notifyDelay is asynq's RetryDelayFunc for webhooks. What waits for its host
// has not been tried, so that is no failure in asynq either.
func notifyDelay(n int, err error, t *asynq.Task) time.Duration {
	var busy *webhook.BusyError
	if errors.As(err, &busy) {
		return busy.After
	}
	return retryDelay(n, err, t)
}

// notifyHandler sends one webhook.
func (w *Worker) notifyHandler() asynq.HandlerFunc {
	shares := &webhook.Shares{Changed: w.receiverChanged}
	return func(ctx context.Context, t *asynq.Task) error {
		p, err := tasks.ParseNotify(t.Payload())
		switch {
		case errors.Is(err, tasks.ErrNewerPayload):
			return &retryLater{after: time.Minute, why: err.Error()}
		case err != nil:
			w.log.Error("a webhook can never be sent: its payload is wrong", "id", p.ID, "err", err)
			return dead{err}
		}
		err = w.notify(ctx, shares, p)
		if err == nil || errors.As(err, new(dead)) {
			if err := w.outbox.Done(context.WithoutCancel(ctx), webhook.HostOf(p.URL), p.ID); err != nil {
				w.log.Warn("a webhook takes a place of its receiver's for a day", "id", p.ID, "err", err)
			}
		}
		return err
	}
}

// notify sends one webhook when it is the turn of its receiver's host.
func (w *Worker) notify(ctx context.Context, shares *webhook.Shares, p tasks.NotifyPayload) error {
	to := w.receiver(p)
	if to.url == "" {
		return dead{errors.New("there is no receiver: the settings name none any more")}
	}
	host := webhook.HostOf(to.url)
	release, err := shares.Acquire(ctx, host)
	if err != nil {
		if time.Since(time.UnixMilli(p.At)) > notifyFor {
			w.log.Error("webhook dead: it is not tried again; see tiwsnap webhooks", "id", p.ID, "err", err)
			return dead{err}
		}
		return err
	}
	sent := false
	defer func() { release(sent, err) }()
	switch gone, err := w.outbox.IsGone(ctx, to.batch, to.url); {
	case err != nil:
		return &retryLater{after: time.Second, why: err.Error()}
	case gone:
		w.metrics.webhooks.WithLabelValues("gone").Inc()
		return dead{fmt.Errorf("not sent: %s has answered 410 Gone to another webhook", host)}
	}
	body, err := w.notifyBody(ctx, p)
	switch {
	case errors.As(err, new(*retryLater)):
		return err
	case err != nil:
		return &retryLater{after: time.Second, why: err.Error()}
	case body == nil:
		w.log.Info("webhook dropped: its record has expired, or it goes on", "id", p.ID)
		return nil
	}
	sent = true
	if err = w.o.Webhooks.Sender.Send(ctx, to.url, p.ID, time.Now(), body); err != nil {
		w.metrics.webhooks.WithLabelValues("failed").Inc()
		return w.undelivered(ctx, p, err)
	}
	w.metrics.webhooks.WithLabelValues("delivered").Inc()
	w.log.Debug("webhook delivered", "id", p.ID)
	return nil
}

// receiverChanged tells of a host that is left alone for a while, and of its
// return.
func (w *Worker) receiverChanged(host string, until time.Time, err error) {
	if err == nil {
		w.log.Info("webhook receiver answers again", "receiver", host)
		return
	}
	w.log.Warn("webhook receiver does not answer: its webhooks wait", "receiver", host, "until", until, "err", err)
}

// setGone notes that a receiver wants no more webhooks. Of a single room there
// are no others.
func (w *Worker) setGone(ctx context.Context, p tasks.NotifyPayload) {
	to := w.receiver(p)
	if to.batch == "" && p.URL != "" {
		return
	}
	first, err := w.outbox.SetGone(context.WithoutCancel(ctx), to.batch, to.url)
	log := w.log.With("receiver", webhook.HostOf(to.url), "of", cmp.Or(to.batch, "the settings"))
	switch {
	case err != nil:
		log.Warn("a receiver that is gone is still sent webhooks", "err", err)
	case first:
		log.Warn("webhook receiver has answered 410 Gone: it is sent no more", "fix", "tiwsnap webhooks resend ID, if it wants them")
	}
}

// notifyBody is what is sent: the same data as "tiwsnap status REF -o json"
// shows, and of a schedule what "tiwsnap schedule list -o json" did. It is nil where there is no such record any more, and where it is not
// ended any more.
func (w *Worker) notifyBody(ctx context.Context, p tasks.NotifyPayload) ([]byte, error) {
	var data any
	var ended time.Time
	var err error
	switch p.Type {
	case tasks.ScheduleFailed:
		var f schedule.Failure
		f, err = w.schedules.Failure(ctx, p.Ref)
		data, ended = f, f.At
	case tasks.DataLost:
		var loss *ledger.Loss
		if loss, err = w.ledger.LastLoss(ctx); loss == nil {
			break
		}
		data, ended = struct {
			*ledger.Loss
			Fix string `json:"fix"`
		}{loss, ledger.LossFix}, loss.At
	case tasks.BatchEnded, tasks.ImagesCopied:
		var b ledger.Batch
		b, err = w.ledger.Batch(ctx, p.Ref)
		data, ended = b, b.EndedAt
	case tasks.Callback:
		return w.relayBody(ctx, p)
	default:
		var s ledger.Snapshot
		s, err = w.ledger.Snapshot(ctx, p.Ref)
		explain := func(_ context.Context, s ledger.Snapshot) results.Result { return results.Explain(s) }
		if w.o.Copier != nil {
			explain = w.o.Copier.Results.Explain // knows where the copies are
		}
		data, ended = explain(ctx, s), s.EndedAt
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
func (w *Worker) undelivered(ctx context.Context, p tasks.NotifyPayload, err error) error {
	tries, _ := asynq.GetRetryCount(ctx)
	log := w.log.With("id", p.ID, "err", err, "try", tries+1)
	left := time.Until(time.UnixMilli(p.At).Add(notifyFor))
	var e *webhook.Error
	if errors.As(err, &e) && e.Status == http.StatusGone {
		w.setGone(ctx, p)
	}
	if e != nil && e.Final || left <= 0 {
		log.Error("webhook dead: it is not tried again; see tiwsnap webhooks")
		return dead{err}
	}
	delay := min(notifyFirst<<min(tries, 16), notifyMax)
	delay = delay/2 + jitter(delay/2)
	if e != nil {
		delay = max(delay, e.RetryAfter)
	}
	delay = min(delay, left)
	log.Warn("webhook not delivered", "again_in", delay)
	return &retryLater{after: delay, why: err.Error()}
}

package webhook

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
)

const (
	// pollEvery is the time between two polls of the ledger's outbox.
	pollEvery = 500 * time.Millisecond
	// subscribeEvery is the time between two renewals of the subscription to events.
	subscribeEvery = time.Minute
	// pollMany is how many events are handled at a time: with pollEvery far more than the quota can produce.
	pollMany = 100
	// enqueueParallel is how many webhooks are enqueued in asynq at a time.
	enqueueParallel = 8
	// concurrency bounds the webhooks of one process: the limits of 16 hosts, see Hosts.
	concurrency = 1024
	// retryFor is how long a webhook is retried.
	retryFor = 24 * time.Hour
	// retryFirst and retryMax bound the delay between two attempts; it doubles.
	retryFirst, retryMax = 2 * time.Second, time.Hour
)

// Subscription selects events and their receiver. A batch may name a receiver of its own, which gets its events
// instead.
type Subscription struct {
	Sender    *Sender // default: no webhooks; the caller closes it
	URL       string  // the default receiver; default: none
	Snapshots bool    // the end of each snapshot
	Batches   bool    // the end of each batch; a receiver of the batch's own gets it in any case
	Images    bool    // each batch whose images are copied
	Schedules bool    // each failed tick of a schedule
}

// DispatcherOptions are the settings of a Dispatcher. Redis, Ledger, Log and the Sender of the Subscription are
// required.
type DispatcherOptions struct {
	Redis     redis.UniversalClient // the caller closes it
	Namespace keys.Namespace
	Ledger    *ledger.Ledger // its outbox has the events
	Subscription
	// Explain returns the data of a snapshot event. Default: results.Explain, which has no copies of images.
	Explain func(context.Context, ledger.Snapshot) results.Result
	// Foreign is called for tasks of other applications on the queue of the webhooks. Default: none.
	Foreign func(kind, id string)
	// ShutdownTimeout is how long a stop waits for webhooks that are being sent. Default 15 s.
	ShutdownTimeout time.Duration
	Log             *slog.Logger
	Metrics         prometheus.Registerer // default: none
}

// Dispatcher turns events of the ledger's outbox into webhooks and delivers them. Any number may share one Redis.
type Dispatcher struct {
	o         DispatcherOptions
	log       *slog.Logger
	ledger    *ledger.Ledger
	queue     *asynq.Client
	schedules *schedule.Store
	outbox    *Outbox
	total     *prometheus.CounterVec
}

// NewDispatcher returns a dispatcher.
func NewDispatcher(o DispatcherOptions) *Dispatcher {
	if o.Explain == nil {
		o.Explain = func(_ context.Context, s ledger.Snapshot) results.Result { return results.Explain(s) }
	}
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 15*time.Second)
	return &Dispatcher{
		o: o, log: o.Log, ledger: o.Ledger, queue: asynq.NewClientFromRedisClient(o.Redis),
		schedules: schedule.NewStore(o.Redis, o.Namespace), outbox: NewOutbox(o.Redis, o.Namespace),
		total: promauto.With(o.Metrics).NewCounterVec(prometheus.CounterOpts{
			Name: "tiwsnap_webhooks_total",
			Help: "Webhooks by result: delivered, failed, or gone (not sent after a 410 Gone).",
		}, []string{"result"}),
	}
}

// Run enqueues webhooks for the events in the ledger's outbox until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) {
	subscribed := time.Now()
	for pause(ctx, pollEvery) {
		if time.Since(subscribed) >= subscribeEvery {
			d.Subscribe(ctx)
			subscribed = time.Now()
		}
		if err := d.enqueueDue(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("cannot enqueue webhooks, retrying", "err", err)
			pause(ctx, time.Second)
		}
	}
}

// Subscribe makes all processes record the selected events in the outbox. It lasts a few minutes; Run renews it.
func (d *Dispatcher) Subscribe(ctx context.Context) {
	err := d.ledger.SetNotifications(ctx, d.o.Snapshots, d.o.Batches, d.o.Images, d.o.Schedules)
	if err != nil && ctx.Err() == nil {
		d.log.Warn("cannot subscribe to events: webhooks may be missing", "err", err)
	}
}

// enqueueDue enqueues the webhooks of all events that are due. It postpones events whose host has its limit of webhooks
// in asynq.
func (d *Dispatcher) enqueueDue(ctx context.Context) error {
	if some, err := d.ledger.HasNotices(ctx); !some || err != nil {
		return err
	}
	for ctx.Err() == nil {
		notices, err := d.ledger.TakeNotices(ctx, pollMany)
		if err != nil || len(notices) == 0 {
			return err
		}
		done, wait, err := d.enqueue(ctx, notices)
		if err != nil {
			return err
		}
		if err := errors.Join(d.ledger.DeleteNotices(ctx, done), d.ledger.PostponeNotices(ctx, wait)); err != nil {
			return err
		}
		if len(notices) < pollMany {
			break
		}
	}
	return ctx.Err()
}

// enqueue enqueues the webhooks of events in asynq. wait are the events whose host has no place; done are all others.
func (d *Dispatcher) enqueue(ctx context.Context, notices []ledger.Notice) (done, wait []ledger.Notice, err error) {
	payloads, err := d.payloads(ctx, notices)
	if err != nil {
		return nil, nil, err
	}
	room := map[string]int{}
	queued := map[string][]string{} // ids by host
	isGone := map[receiver]bool{}
	skipped := map[string]int{} // by host
	var ready []tasks.NotifyPayload
	for i, p := range payloads {
		if p == nil {
			done = append(done, notices[i])
			continue
		}
		to := d.receiver(*p)
		gone, known := isGone[to]
		if !known {
			if gone, err = d.outbox.isGone(ctx, to.batch, to.url); err != nil {
				return nil, nil, err
			}
			isGone[to] = gone
		}
		if gone {
			skipped[HostOf(to.url)]++
			done = append(done, notices[i])
			continue
		}
		host := HostOf(p.URL)
		if _, known := room[host]; !known {
			if room[host], err = d.outbox.room(ctx, host); err != nil {
				return nil, nil, err
			}
		}
		if room[host] <= 0 {
			wait = append(wait, notices[i])
			continue
		}
		room[host]--
		queued[host] = append(queued[host], p.ID)
		ready, done = append(ready, *p), append(done, notices[i])
	}
	for host, ids := range queued {
		if err := d.outbox.queue(ctx, host, ids...); err != nil {
			return nil, nil, err
		}
	}
	var g errgroup.Group
	g.SetLimit(enqueueParallel)
	for _, p := range ready {
		g.Go(func() error {
			task, err := p.Task(d.o.Namespace.String())
			if err != nil {
				return err
			}
			if _, err = d.queue.EnqueueContext(ctx, task); errors.Is(err, asynq.ErrTaskIDConflict) {
				err = nil // enqueued before
			}
			return err
		})
	}
	// If this process dies here, the events are enqueued again, and the TaskIDs make that harmless.
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	for host, n := range skipped {
		d.total.WithLabelValues("gone").Add(float64(n))
		d.log.Info("webhooks not sent: their receiver has answered 410 Gone", "receiver", host, "webhooks", n)
	}
	return done, wait, nil
}

// receiver is the receiver of a webhook.
type receiver struct {
	url   string
	batch string // that names it; empty: it is that of the settings or of a single room
}

func (d *Dispatcher) receiver(p tasks.NotifyPayload) receiver {
	return receiver{cmp.Or(p.URL, d.o.URL), BatchOf(p)}
}

// payloads returns the webhook of each event, in their order. It is nil if there is no receiver, or if the record has
// expired, is in progress again after a retry, or ended longer ago than webhooks are retried.
func (d *Dispatcher) payloads(ctx context.Context, notices []ledger.Notice) ([]*tasks.NotifyPayload, error) {
	all := make([]*tasks.NotifyPayload, len(notices))
	add := func(i int, n ledger.Notice, event string, ended time.Time) {
		switch {
		case ended.IsZero() || cmp.Or(n.URL, d.o.URL) == "":
		case time.Since(ended) > retryFor:
			d.log.Error("webhook given up: it waited too long in the outbox", "event", event, "ref", n.ID, "ended", ended)
		default:
			p := tasks.NewNotify(event, n.ID, ended, n.URL)
			all[i] = &p
		}
	}
	var snapshots, callbacks []int // indexes of notices
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
		b, err := d.ledger.Batch(ctx, n.ID)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return nil, err
		}
		if n.Kind == "images" {
			add(i, n, tasks.ImagesCopied, n.At)
			continue
		}
		add(i, n, tasks.BatchEnded, b.EndedAt)
	}
	records, err := d.ledger.Snapshots(ctx, append(ids, calledIDs...))
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

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

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
	// announceEvery is how often ends that nobody was told of are looked for.
	announceEvery = 500 * time.Millisecond
	// tellEvery is how often it is renewed that ends are to be noted.
	tellEvery = time.Minute
	// announceMany is how many are handled in one go: with announceEvery far
	// more than the quota lets end.
	announceMany = 100
	// announceParallel is how many of them are put on their queue at once.
	announceParallel = 8
	// concurrency is how many webhooks one process has in hand. It is the
	// shares of 16 hosts: see Shares.
	concurrency = 1024
	// tryFor is how long a webhook is tried.
	tryFor = 24 * time.Hour
	// tryFirst and tryMost bound the time between two tries; it doubles.
	tryFirst, tryMost = 2 * time.Second, time.Hour
)

// Subscription says who is told when a snapshot or a batch has ended, or a tick has failed. A batch that
// names a receiver of its own tells that one.
type Subscription struct {
	Sender    *Sender // default: nobody is told; stays the caller's to close
	URL       string  // the receiver where a batch names none; default: none
	Snapshots bool    // tell of each snapshot
	Batches   bool    // tell of each batch; one that names a receiver is told of in any case
	Images    bool    // tell of each batch whose images are copied
	Schedules bool    // tell of each tick of a schedule that fails
}

// DispatcherOptions are the settings of a Dispatcher. Redis, Ledger, Log and the Sender of the Subscription are
// required.
type DispatcherOptions struct {
	Redis     redis.UniversalClient // stays the caller's to close
	Namespace keys.Namespace
	Ledger    *ledger.Ledger // has the notes of what ends
	Subscription
	// Explain is what is told of a snapshot that has ended. Default: results.Explain, which knows nothing of copies.
	Explain func(context.Context, ledger.Snapshot) results.Result
	// Foreign is told of tasks of others on the queue of the webhooks. Default: nobody is.
	Foreign func(kind, id string)
	// ShutdownTimeout is how long the webhooks that are being sent are waited for. Default 15 s.
	ShutdownTimeout time.Duration
	Log             *slog.Logger
	Metrics         prometheus.Registerer // default: nobody sees them
}

// Dispatcher turns what the ledger has noted into webhooks, and delivers these. Any number may work on one Redis.
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

// Run puts webhooks for what the ledger has noted on their queue, until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) {
	told := time.Now()
	for pause(ctx, announceEvery) {
		if time.Since(told) >= tellEvery {
			d.Subscribe(ctx)
			told = time.Now()
		}
		if err := d.announceSome(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("webhooks wait", "err", err)
			pause(ctx, time.Second)
		}
	}
}

// Subscribe lets everyone who ends something know that it is to be told: for a few minutes, which Run renews.
func (d *Dispatcher) Subscribe(ctx context.Context) {
	err := d.ledger.SetNotifications(ctx, d.o.Snapshots, d.o.Batches, d.o.Images, d.o.Schedules)
	if err != nil && ctx.Err() == nil {
		d.log.Warn("what ends may not be told by webhook", "err", err)
	}
}

// announceSome hands on what is due, and postpones what has to wait since its
// receiver's host has its share of webhooks in asynq.
func (d *Dispatcher) announceSome(ctx context.Context) error {
	if some, err := d.ledger.HasNotices(ctx); !some || err != nil {
		return err
	}
	for ctx.Err() == nil {
		notices, err := d.ledger.TakeNotices(ctx, announceMany)
		if err != nil || len(notices) == 0 {
			return err
		}
		told, wait, err := d.handOn(ctx, notices)
		if err != nil {
			return err
		}
		if err := errors.Join(d.ledger.DeleteNotices(ctx, told), d.ledger.PostponeNotices(ctx, wait)); err != nil {
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
func (d *Dispatcher) handOn(ctx context.Context, notices []ledger.Notice) (told, wait []ledger.Notice, err error) {
	payloads, err := d.payloads(ctx, notices)
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
			told = append(told, notices[i])
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
		some, told = append(some, *p), append(told, notices[i])
	}
	for host, ids := range queued {
		if err := d.outbox.queue(ctx, host, ids...); err != nil {
			return nil, nil, err
		}
	}
	var g errgroup.Group
	g.SetLimit(announceParallel)
	for _, p := range some {
		g.Go(func() error {
			task, err := p.Task(d.o.Namespace.String())
			if err != nil {
				return err
			}
			if _, err = d.queue.EnqueueContext(ctx, task); errors.Is(err, asynq.ErrTaskIDConflict) {
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
		d.total.WithLabelValues("gone").Add(float64(n))
		d.log.Info("webhooks not sent: their receiver has answered 410 Gone", "receiver", host, "webhooks", n)
	}
	return told, wait, nil
}

// receiver is whom a webhook is for.
type receiver struct {
	url   string
	batch string // whose receiver it is; empty: that of the settings, or of a single room
}

func (d *Dispatcher) receiver(p tasks.NotifyPayload) receiver {
	return receiver{cmp.Or(p.URL, d.o.URL), BatchOf(p)}
}

// payloads are the webhooks to send for these notices, in their order. It is nil for what
// has expired, or goes on (it was retried and will end again), for an end
// longer ago than a webhook is tried, and where there is no receiver.
func (d *Dispatcher) payloads(ctx context.Context, notices []ledger.Notice) ([]*tasks.NotifyPayload, error) {
	all := make([]*tasks.NotifyPayload, len(notices))
	add := func(i int, n ledger.Notice, event string, ended time.Time) {
		switch {
		case ended.IsZero() || cmp.Or(n.URL, d.o.URL) == "":
		case time.Since(ended) > tryFor:
			d.log.Error("webhook given up: its turn did not come in time", "event", event, "ref", n.ID, "ended", ended)
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

// pause waits for d and reports whether ctx is still alive.
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

// Package worker runs snapshots. A Worker moves rooms from the backlog to asynq
// queues, sends a CreateSnapshotTask request for each under the shared rate limit,
// and polls DescribeSnapshotTask for the results. It also retries failed attempts,
// restores lost tasks and outcomes, and sends webhooks. Any number of workers may
// share one Redis, through which they coordinate.
package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/images"
	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/schedule"
	"tiwsnap/tiw"
	"tiwsnap/webhook"
)

// Options are the settings of a Worker. Redis and TIW are required.
type Options struct {
	Redis redis.UniversalClient // the caller closes it
	TIW   *tiw.Client

	Namespace    keys.Namespace // prefix of all keys and queues; default: keys.Default
	RateLimit    int            // requests per second for each API action; default 20
	Margin       time.Duration  // safety margin added to the one-second window of a permit; default 15 ms
	Concurrency  int            // maximum of tasks in progress in this process, for each queue; default 256
	Attempts     int            // failed attempts after which a snapshot fails; default 8
	CallTimeout  time.Duration  // timeout of one API call, the same as in TIW; default 10 s
	ConfirmAfter time.Duration  // delay from acceptance to the first result poll; default 30 s
	Retention    time.Duration  // how long records of ended snapshots are kept; default 7 days
	// CallbackURL returns the URL that Tencent calls when the task of an attempt
	// has ended. Default: nil, results are only polled.
	CallbackURL func(snapshot string, attempt int) string
	// OtherCallbackURL is sent to Tencent for rooms that have no CallbackURL, if
	// CallbackURL is nil. Default: none.
	OtherCallbackURL string
	// OnUnknown is what to do with a request of unknown outcome; default
	// WaitUnknown. UnknownGrace is how long WaitUnknown waits for its callback;
	// default 0, for when no callbacks are written to the ledger.
	OnUnknown    OnUnknown
	UnknownGrace time.Duration
	ConfirmShare int // percent of the Describe quota for confirmation; default 100
	// SuspendFor is how long an application that worked before is suspended after
	// Tencent refuses it. Default 24 h.
	SuspendFor time.Duration
	// Second is the unit of the schedules of the gate and of retries. Default 1 s;
	// tests make it shorter.
	Second time.Duration
	// Spool is the folder that stores outcomes while Redis cannot take them. Each
	// Redis needs its own. Default: outcomes are kept in memory only.
	Spool string
	// Webhooks are not sent if their Sender is nil.
	Webhooks webhook.Subscription
	// Replicated sends a request only after the replicas of Redis have confirmed its
	// intent, so that a failover cannot cause a second task.
	Replicated bool
	// Copier copies the images of ended snapshots. Default: nil, images stay in
	// Tencent's storage.
	Copier *images.Copier
	// Schedules are the class lists that are enqueued at regular times.
	Schedules []schedule.Schedule
	Log       *slog.Logger // default: discard
	// Metrics registers the metrics of this worker. Default: nil, they are not exposed.
	Metrics prometheus.Registerer
}

// OnUnknown is what to do with a request of unknown outcome: Tencent may or may not
// have created a task.
type OnUnknown string

// The choices of OnUnknown. The default is WaitUnknown.
const (
	WaitUnknown  OnUnknown = "wait"  // wait for the callback; retry if none comes within UnknownGrace
	RetryUnknown OnUnknown = "retry" // retry after the usual backoff
	HoldUnknown  OnUnknown = "hold"  // hold for review until a person decides
)

func (o *Options) setDefaults() {
	setDefault(&o.RateLimit, 20)
	setDefault(&o.Concurrency, 256)
	setDefault(&o.Attempts, 8)
	setDefault(&o.CallTimeout, 10*time.Second)
	setDefault(&o.ConfirmAfter, 30*time.Second)
	setDefault(&o.Retention, 7*24*time.Hour)
	setDefault(&o.OnUnknown, WaitUnknown)
	setDefault(&o.ConfirmShare, 100)
	setDefault(&o.Second, time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
}

// setDefault sets v to value if v is zero.
func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Worker runs snapshots in one process. Any number of workers may share one Redis.
type Worker struct {
	o        Options
	name     string // random id of this worker, for leases and the roster
	log      *slog.Logger
	tiw      *tiw.Client
	ledger   *ledger.Ledger
	backlog  *backlog.Backlog
	producer *enqueue.Client
	spool    spool
	outcomes outcomes
	replicas replicas
	gate     *gate.Gate
	create   *ratelimit.Limiter // the limiter of CreateSnapshotTask in gate
	describe *ratelimit.Limiter // the limiter of DescribeSnapshotTask in gate
	metrics  metrics
	traffic  traffic
	failures failures
	journal  *journal
	webhooks *webhook.Dispatcher // nil: no webhooks are sent
	foreign  sync.Map            // "QUEUE TYPE" of logged tasks of other applications
}

// New returns a worker. It does not touch Redis or the network.
func New(o Options) (*Worker, error) {
	if o.Redis == nil || o.TIW == nil {
		return nil, errors.New("worker: Options.Redis and Options.TIW are required")
	}
	o.setDefaults()
	w := &Worker{
		o:        o,
		name:     rand.Text(),
		log:      o.Log,
		tiw:      o.TIW,
		spool:    spool{o.Spool},
		backlog:  backlog.New(o.Redis, o.Namespace),
		producer: enqueue.New(o.Redis, o.Namespace),
		metrics:  newMetrics(o.Metrics),
	}
	w.journal = &journal{w: w, watched: map[string]bool{}, newest: map[string]bool{}}
	var needed func() int
	if o.Replicated {
		w.replicas.Replicas = rdb.NewReplicas(o.Redis, o.Namespace.Snapshot(""))
		needed = w.replicas.Needed
	}
	w.ledger = ledger.New(o.Redis, ledger.Options{
		Namespace: o.Namespace, Replicas: needed,
		Busy: 2 * o.CallTimeout, Grace: w.grace(), Hold: o.OnUnknown == HoldUnknown,
		ConfirmAfter: o.ConfirmAfter, Attempts: o.Attempts, Retention: o.Retention, Relay: w.relays(),
	})
	if o.Webhooks.Sender != nil {
		w.webhooks = w.dispatcher()
	}
	var err error
	if w.gate, err = gate.New(gate.Options{
		Redis: o.Redis, Namespace: o.Namespace, RateLimit: o.RateLimit, DescribeShare: o.ConfirmShare, Margin: o.Margin,
		CallTimeout: o.CallTimeout, SuspendFor: o.SuspendFor, Second: o.Second, Log: o.Log,
	}); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	w.create, w.describe = w.gate.Limiters()[actionCreate], w.gate.Limiters()[actionDescribe]
	return w, nil
}

// Limiters returns the rate limiters of this worker, by API action.
func (w *Worker) Limiters() map[string]*ratelimit.Limiter {
	return w.gate.Limiters()
}

// Run runs snapshots until ctx ends and then shuts down: it starts nothing new, waits
// for calls in flight (at most CallTimeout plus 5 s), writes their outcomes and
// returns unused permits. It keeps running while Redis is down. Errors: an asynq
// server does not start, or unused permits cannot be returned.
func (w *Worker) Run(ctx context.Context) error {
	var servers []*asynq.Server
	var handlers []asynq.Handler
	takers := w.takers(ctx)
	bulk := w.lane(w.o.Namespace.QueueBulk(), ratelimit.Bulk)
	w.countReplicas(ctx) // before the first request
	for _, l := range []*lane{
		w.lane(w.o.Namespace.QueueInteractive(), ratelimit.Interactive),
		bulk,
	} {
		for _, s := range l.servers(ctx, takers) {
			servers, handlers = append(servers, s), append(handlers, l.handler())
		}
	}
	if w.webhooks != nil {
		servers, handlers = append(servers, w.webhooks.Server(ctx)), append(handlers, w.webhooks.Handler())
		w.webhooks.Subscribe(ctx) // before the first snapshot ends
	}
	cancels := new(asynqx.Cancels)
	for i, server := range servers {
		if err := server.Start(cancels.Handler(handlers[i])); err != nil {
			return fmt.Errorf("start worker: %w", err)
		}
	}

	var loops sync.WaitGroup
	loops.Go(func() { cancels.Run(ctx, w.o.Redis) })
	loops.Go(func() { w.feed(ctx) })
	loops.Go(func() { w.confirm(ctx) })
	loops.Go(func() { w.sweep(ctx) })
	loops.Go(func() { w.summarizeFailures(ctx) })
	loops.Go(func() { w.journal.run(ctx) })
	loops.Go(func() { w.pack(ctx) })
	loops.Go(func() { w.sweepOrphans(ctx) })
	loops.Go(func() { w.probe(ctx) })
	loops.Go(func() { w.watchRedis(ctx) })
	loops.Go(func() { w.watchLoss(ctx) })
	loops.Go(func() { w.watchServer(ctx) })
	if w.o.Replicated {
		loops.Go(func() { w.watchReplicas(ctx) })
	}
	loops.Go(func() { w.report(ctx) })
	if w.spool.dir != "" {
		loops.Go(func() { w.replay(ctx) })
	}
	if w.webhooks != nil {
		loops.Go(func() { w.webhooks.Run(ctx) })
	}
	if w.o.Copier != nil {
		loops.Go(func() { w.o.Copier.Run(ctx) })
	}
	loops.Go(func() { schedule.NewClock(w.o.Redis, w.o.Namespace, w.o.Schedules, w.log).Run(ctx) })
	w.log.Info("worker started", "rate_limit", w.o.RateLimit, "concurrency", w.o.Concurrency)

	<-ctx.Done()
	w.log.Info("worker stopping")
	// Producers stop before consumers: first the loops that queue tasks, then the
	// servers that take tasks, then the waits for a permit. Last, the calls in
	// flight end and write their outcomes.
	loops.Wait()
	for _, server := range servers {
		server.Stop()
	}
	w.releaseLease(ctx, bulk.lease)
	stop, cancel := context.WithTimeout(context.Background(), w.o.CallTimeout+5*time.Second)
	defer cancel()
	err := w.gate.Close(stop)
	var down sync.WaitGroup
	for _, server := range servers {
		down.Go(server.Shutdown)
	}
	down.Wait()
	w.logFailures()
	w.log.Info("worker stopped")
	return err
}

// dispatcher returns the sender of webhooks of this worker.
func (w *Worker) dispatcher() *webhook.Dispatcher {
	o := webhook.DispatcherOptions{
		Redis: w.o.Redis, Namespace: w.o.Namespace, Ledger: w.ledger, Subscription: w.o.Webhooks,
		Foreign:         w.logForeign(w.o.Namespace.QueueWebhooks()),
		ShutdownTimeout: w.o.CallTimeout + 5*time.Second, Log: w.log, Metrics: w.o.Metrics,
	}
	if w.o.Copier != nil {
		o.Explain = w.o.Copier.Results.Explain // adds the URLs of the copies
	}
	return webhook.NewDispatcher(o)
}

// pause waits for d. It returns false at once when ctx ends.
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

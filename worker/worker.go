// Package worker runs the snapshots: it feeds the backlog to asynq, sends
// requests under the shared rate limit, polls for results, and recovers lost
// work. It is the only package that knows all the others.
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
	Redis redis.UniversalClient // stays the caller's to close
	TIW   *tiw.Client

	Namespace    keys.Namespace // whose work this is; default: keys.Default
	RateLimit    int            // requests a second for each API action; default 20
	Margin       time.Duration  // added to the second before a permit can be used again; default 15 ms
	Concurrency  int            // calls in flight in this process, for each queue, at most; default 256
	Attempts     int            // failed attempts after which a snapshot fails; default 8
	CallTimeout  time.Duration  // timeout of one API call, as the TIW client has it; default 10 s
	ConfirmAfter time.Duration  // first Describe after acceptance; default 30 s
	Retention    time.Duration  // how long ended records are kept; default 7 days
	// CallbackURL makes the URL that Tencent calls when the task of an attempt
	// has ended. Default: none is given, the results are asked for.
	CallbackURL func(snapshot string, attempt int) string
	// OtherCallbackURL is given to Tencent for rooms that name none, where
	// CallbackURL is nil. Default: none.
	OtherCallbackURL string
	// OnUnknown is what to do with a request of unknown outcome, and
	// UnknownGrace how long to wait for its callback. Default 0: no callbacks
	// are written to the ledger.
	OnUnknown    OnUnknown
	UnknownGrace time.Duration
	ConfirmShare int // percent of the Describe quota for confirmation; default 100
	// SuspendFor is how long an application that has worked before waits where
	// Tencent refuses it. Default 24 h.
	SuspendFor time.Duration
	// Second is how long a second of the schedules of the gate and of retries
	// lasts. Default 1 s; tests make it shorter.
	Second time.Duration
	// Spool is a folder, for this Redis alone, where outcomes lie that Redis
	// cannot take at the moment. Default: they are kept in memory only.
	Spool    string
	Webhooks webhook.Subscription
	// Replicated sends a request only after the replicas of Redis have the intent, so that
	// no failover makes a second task.
	Replicated bool
	// Copier copies the images of what has ended. Default: they stay where Tencent has
	// them.
	Copier *images.Copier
	// Schedules are the class lists that are snapshotted again and again.
	Schedules []schedule.Schedule
	Log       *slog.Logger // default: none
	// Metrics takes the figures of this worker. Default: nobody sees them.
	Metrics prometheus.Registerer
}

// OnUnknown is what to do with a request of which nobody knows whether it has
// made a task.
type OnUnknown string

// The choices of OnUnknown. The default is WaitUnknown.
const (
	WaitUnknown  OnUnknown = "wait"  // for the callback; if none comes, send again
	RetryUnknown OnUnknown = "retry" // at once
	HoldUnknown  OnUnknown = "hold"  // until a person decides
)

func (o *Options) setDefaults() {
	def(&o.RateLimit, 20)
	def(&o.Concurrency, 256)
	def(&o.Attempts, 8)
	def(&o.CallTimeout, 10*time.Second)
	def(&o.ConfirmAfter, 30*time.Second)
	def(&o.Retention, 7*24*time.Hour)
	def(&o.OnUnknown, WaitUnknown)
	def(&o.ConfirmShare, 100)
	def(&o.Second, time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Worker is one process' share of the work. Any number may run on one Redis.
type Worker struct {
	o         Options
	name      string // of this process, among the feeders
	log       *slog.Logger
	tiw       *tiw.Client
	ledger    *ledger.Ledger
	backlog   *backlog.Backlog
	inspector *asynq.Inspector
	producer  *enqueue.Client
	spool     spool
	outcomes  outcomes
	replicas  replicas
	gate      *gate.Gate
	create    *ratelimit.Limiter // of the gate, for CreateSnapshotTask
	describe  *ratelimit.Limiter // of the gate, for DescribeSnapshotTask
	metrics   metrics
	traffic   traffic
	failures  failures
	journal   *journal
	webhooks  *webhook.Dispatcher // nil: none are sent
	named     sync.Map            // "QUEUE TYPE" of tasks of others that the log has named
}

// New returns a worker. It does not touch Redis or the network.
func New(o Options) (*Worker, error) {
	if o.Redis == nil || o.TIW == nil {
		return nil, errors.New("worker: Options.Redis and Options.TIW are required")
	}
	o.setDefaults()
	w := &Worker{
		o:         o,
		name:      rand.Text(),
		log:       o.Log,
		tiw:       o.TIW,
		spool:     spool{o.Spool},
		backlog:   backlog.New(o.Redis, o.Namespace),
		inspector: asynq.NewInspectorFromRedisClient(o.Redis),
		producer:  enqueue.New(o.Redis, o.Namespace),
		metrics:   newMetrics(o.Metrics),
	}
	w.journal = &journal{w: w, known: map[string]bool{}, newest: map[string]bool{}}
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

// Limiters are those of this worker, by API action.
func (w *Worker) Limiters() map[string]*ratelimit.Limiter {
	return w.gate.Limiters()
}

// Run works until ctx ends and then stops in order: nothing new is begun,
// calls that are out are waited for (at most the call timeout and 5 s), their
// outcomes are written, reservations go back. Redis being away is waited out.
func (w *Worker) Run(ctx context.Context) error {
	var servers []*asynq.Server
	var handlers []asynq.Handler
	takers := w.takers(ctx)
	bulk := w.lane(w.o.Namespace.QueueBulk(), ratelimit.Bulk)
	w.countReplicas(ctx) // before the first send
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
		w.webhooks.Subscribe(ctx) // before the first end
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
	loops.Go(func() { w.tellFailures(ctx) })
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
	// Senders stop before receivers: first nobody puts tasks on the queues,
	// then nobody takes any, then those that wait for a permit give up, then
	// the calls that are out end and write their outcomes.
	loops.Wait()
	for _, server := range servers {
		server.Stop()
	}
	w.leave(ctx, bulk.lease)
	stop, cancel := context.WithTimeout(context.Background(), w.o.CallTimeout+5*time.Second)
	defer cancel()
	err := w.gate.Close(stop)
	var down sync.WaitGroup
	for _, server := range servers {
		down.Go(server.Shutdown)
	}
	down.Wait()
	w.sumUp()
	w.log.Info("worker stopped")
	return err
}

// dispatcher is what sends the webhooks of this worker.
func (w *Worker) dispatcher() *webhook.Dispatcher {
	o := webhook.DispatcherOptions{
		Redis: w.o.Redis, Namespace: w.o.Namespace, Ledger: w.ledger, Subscription: w.o.Webhooks,
		Foreign:         w.foreign(w.o.Namespace.QueueWebhooks()),
		ShutdownTimeout: w.o.CallTimeout + 5*time.Second, Log: w.log, Metrics: w.o.Metrics,
	}
	if w.o.Copier != nil {
		o.Explain = w.o.Copier.Results.Explain // knows where the copies are
	}
	return webhook.NewDispatcher(o)
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

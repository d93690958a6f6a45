package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

const (
	// serverInterval is the time between two checks for another Redis server while
	// there are new connections. Without a proxy, an open connection never changes its
	// server.
	serverInterval = 2 * time.Second
	// maxServerInterval is the longest time between two checks: behind a proxy the
	// connections survive a failover.
	maxServerInterval = 30 * time.Second
)

// watchLoss restores the outcomes that this process remembers when Redis has lost data,
// until ctx ends. The ledger finds a loss and logs an alarm.
func (w *Worker) watchLoss(ctx context.Context) {
	w.ledger.WatchLosses(ctx, ledger.LossWatch{
		Dir: w.spool.dir, Notify: w.o.Webhooks.Sender != nil, Log: w.log,
		Found: func(loss ledger.Loss) {
			w.metrics.losses.WithLabelValues(loss.Kind).Inc()
			w.backlog.ClearCache()
			if w.o.Webhooks.Sender != nil {
				w.webhooks.Subscribe(ctx) // the subscription is lost too
			}
			w.restore(ctx)
		},
	})
}

// watchServer restores outcomes after a failover, until ctx ends. A failover may lose
// writes that watchLoss does not notice.
func (w *Worker) watchServer(ctx context.Context) {
	dialed, checked := w.o.Redis.PoolStats().Misses, time.Now()
	server := w.serverRunID(ctx)
	for pause(ctx, serverInterval) {
		now := w.o.Redis.PoolStats().Misses
		if server != "" && now == dialed && time.Since(checked) < maxServerInterval {
			continue
		}
		current := w.serverRunID(ctx)
		if current == "" {
			continue
		}
		dialed, checked = now, time.Now()
		if current == server {
			continue
		}
		if server != "" {
			w.log.Warn("Redis failover or restart detected, restoring lost outcomes")
			w.restore(ctx)
		}
		server = current
	}
}

const (
	// outcomeTTL and maxOutcomes limit the age and number of the outcomes that this
	// process remembers. A promoted replica may lack that many.
	outcomeTTL   = 2 * time.Minute
	maxOutcomes  = 20_000
	restoreBatch = 200 // records read in one round trip
)

// outcomes remembers the outcomes of the newest requests. The zero value is ready to
// use. It is safe for concurrent use.
type outcomes struct {
	restoring sync.Mutex // held during restore

	mu  sync.Mutex
	all []*outcome
}

type outcome struct {
	at      time.Time
	payload tasks.SnapshotPayload
	attempt int
	counted bool // already counted as an extra task
	ledger.Outcome
}

// add remembers an outcome and drops old ones.
func (o *outcomes) add(p tasks.SnapshotPayload, attempt int, out ledger.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	drop := 0
	for drop < len(o.all) && (time.Since(o.all[drop].at) > outcomeTTL || len(o.all)-drop >= maxOutcomes) {
		drop++
	}
	o.all = append(o.all[drop:], &outcome{at: time.Now(), payload: p, attempt: attempt, Outcome: out})
}

func (o *outcomes) list() []*outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.all)
}

// missingIn reports whether the record s may lack the outcome.
func (o *outcome) missingIn(s ledger.Snapshot) bool {
	if o.counted {
		return false
	}
	if o.State != ledger.Accepted {
		return s.State == ledger.Sending || s.State == "" && o.State == ledger.Unknown
	}
	return s.TaskID != o.TaskID && !slices.Contains(slices.Collect(maps.Values(s.ExtraTasks)), o.TaskID)
}

// restore writes remembered outcomes again that Redis has lost. Accepted snapshots are
// then not sent again. If one was already sent again, its task is counted as an extra
// one.
func (w *Worker) restore(ctx context.Context) {
	w.outcomes.restoring.Lock()
	defer w.outcomes.restoring.Unlock()
	kept := 0
	defer func() {
		if kept > 0 {
			w.log.Warn("outcomes stored whose batches Redis had lost", "number", kept,
				"fix", "enqueue the same rooms under the same batch name to use them")
		}
	}()
	for some := range slices.Chunk(w.outcomes.list(), restoreBatch) {
		ids := make([]string, len(some))
		for i, o := range some {
			ids[i] = o.payload.ID
		}
		records, err := w.ledger.Records(ctx, ids)
		if err != nil {
			w.log.Error("cannot check which outcomes Redis has lost", "err", err)
			return
		}
		for i, o := range some {
			if !o.missingIn(records[i]) {
				continue
			}
			log := w.log.With("id", o.payload.ID, "attempt", o.attempt, "state", o.State, "task_id", o.TaskID)
			switch err := w.ledger.Restore(ctx, o.payload, o.attempt, o.Outcome); {
			case err == nil:
				log.Warn("lost outcome restored")
			case errors.Is(err, ledger.ErrLost):
				kept++
			case errors.Is(err, ledger.ErrLate) && o.TaskID != "":
				o.counted = true
				log.Warn("extra task: Redis had lost the outcome, and the snapshot has another task")
			case !errors.Is(err, ledger.ErrLate):
				log.Error("lost outcome not restored", "err", err)
			}
		}
	}
}

// serverRunID returns the run id of the Redis server that takes writes, or "" if it is
// unknown. It changes after a failover or a restart.
func (w *Worker) serverRunID(ctx context.Context) string {
	node, err := rdb.Master(ctx, w.o.Redis, w.o.Namespace.Epoch())
	if err != nil {
		return ""
	}
	for line := range strings.Lines(node.Info(ctx, "server").Val()) {
		if id, ok := strings.CutPrefix(line, "run_id:"); ok {
			return strings.TrimSpace(id)
		}
	}
	return ""
}

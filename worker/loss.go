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
	// serverEvery is how often it is looked which server of Redis answers, if there
	// are new connections: another server cannot have the old ones.
	serverEvery = 2 * time.Second
	// serverMost is the longest time between two looks: a proxy keeps connections.
	serverMost = 30 * time.Second
)

// watchLoss raises an alarm where Redis has lost data, and restores what this process
// knows of it.
func (w *Worker) watchLoss(ctx context.Context) {
	w.ledger.WatchLosses(ctx, ledger.LossWatch{
		Dir: w.spool.dir, Notify: w.o.Webhooks.Sender != nil, Log: w.log,
		Found: func(loss ledger.Loss) {
			w.metrics.losses.WithLabelValues(loss.Kind).Inc()
			w.backlog.ClearCache()
			if w.o.Webhooks.Sender != nil {
				w.webhooks.Subscribe(ctx) // that ends are to be noted is lost, too
			}
			w.restore(ctx)
		},
	})
}

// watchServer restores what a failover has lost and no look for a loss finds.
func (w *Worker) watchServer(ctx context.Context) {
	dialed, looked := w.o.Redis.PoolStats().Misses, time.Now()
	server := w.server(ctx)
	for pause(ctx, serverEvery) {
		now := w.o.Redis.PoolStats().Misses
		if server != "" && now == dialed && time.Since(looked) < serverMost {
			continue
		}
		is := w.server(ctx)
		if is == "" {
			continue
		}
		dialed, looked = now, time.Now()
		if is == server {
			continue
		}
		if server != "" {
			w.log.Warn("another Redis server answers: a failover or a restart")
			w.restore(ctx)
		}
		server = is
	}
}

const (
	// outcomesFor is how long the outcomes of this process are remembered, and
	// outcomesMost how many: a replica that is promoted may be so far behind.
	outcomesFor  = 2 * time.Minute
	outcomesMost = 20_000
	restoreMany  = 200 // records that are read at a time
)

// outcomes are what became of the newest requests. The zero value is ready, and safe
// for concurrent use.
type outcomes struct {
	restoring sync.Mutex // held while they are restored

	mu  sync.Mutex
	all []*outcome
}

type outcome struct {
	at      time.Time
	payload tasks.SnapshotPayload
	attempt int
	counted bool // as an extra task: not once more
	ledger.Outcome
}

func (o *outcomes) add(p tasks.SnapshotPayload, attempt int, out ledger.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	drop := 0
	for drop < len(o.all) && (time.Since(o.all[drop].at) > outcomesFor || len(o.all)-drop >= outcomesMost) {
		drop++
	}
	o.all = append(o.all[drop:], &outcome{at: time.Now(), payload: p, attempt: attempt, Outcome: out})
}

func (o *outcomes) snapshot() []*outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.all)
}

// lacks reports whether a record may lack the outcome.
func (o *outcome) lacks(s ledger.Snapshot) bool {
	if o.counted {
		return false
	}
	if o.State != ledger.Accepted {
		return s.State == ledger.Sending || s.State == "" && o.State == ledger.Unknown
	}
	return s.TaskID != o.TaskID && !slices.Contains(slices.Collect(maps.Values(s.ExtraTasks)), o.TaskID)
}

// restore writes the outcomes of the last minutes again that Redis does not have: a
// failover has lost them. So nothing is sent again for those that were accepted; where
// it was already, the task is counted as an extra one.
func (w *Worker) restore(ctx context.Context) {
	w.outcomes.restoring.Lock()
	defer w.outcomes.restoring.Unlock()
	kept := 0
	defer func() {
		if kept > 0 {
			w.log.Warn("outcomes kept that Redis had lost with their batches", "number", kept,
				"fix", "enqueue the same rooms under the same name: they are used then")
		}
	}()
	for some := range slices.Chunk(w.outcomes.snapshot(), restoreMany) {
		ids := make([]string, len(some))
		for i, o := range some {
			ids[i] = o.payload.ID
		}
		records, err := w.ledger.Records(ctx, ids)
		if err != nil {
			w.log.Error("outcomes that Redis may have lost are not restored", "err", err)
			return
		}
		for i, o := range some {
			if !o.lacks(records[i]) {
				continue
			}
			log := w.log.With("id", o.payload.ID, "attempt", o.attempt, "state", o.State, "task_id", o.TaskID)
			switch err := w.ledger.Restore(ctx, o.payload, o.attempt, o.Outcome); {
			case err == nil:
				log.Warn("outcome restored that Redis had lost")
			case errors.Is(err, ledger.ErrLost):
				kept++
			case errors.Is(err, ledger.ErrLate) && o.TaskID != "":
				o.counted = true
				log.Warn("extra task: Redis had lost the answer, and the snapshot has another task")
			case !errors.Is(err, ledger.ErrLate):
				log.Error("outcome not restored that Redis had lost", "err", err)
			}
		}
	}
}

// server is the run id of the Redis server that takes our writes, or empty where that
// is not known: another one means a failover or a restart.
func (w *Worker) server(ctx context.Context) string {
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

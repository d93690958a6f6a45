package worker

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

const (
	// lossEvery is the time between two looks for a loss of data, and seenKept that
	// between two writes of what was seen to the spool folder.
	lossEvery = 2 * time.Second
	seenKept  = 10 * time.Second
	// seenName is the file that has it.
	seenName = "seen.json"
)

// watchLoss raises an alarm where Redis has lost data since the last look, also the
// last one of the process before this one.
func (w *Worker) watchLoss(ctx context.Context) {
	seen, kept, server := w.readSeen(), time.Now(), ""
	for {
		if is := w.server(ctx); is != "" {
			if server != "" && server != is {
				w.log.Warn("another Redis server answers: a failover or a restart")
				w.restore(ctx)
			}
			server = is
		}
		loss, err := w.ledger.Watch(ctx, seen, w.o.Webhooks.Sender != nil)
		if loss != nil {
			w.log.Error("ALARM: "+loss.String(), "kind", loss.Kind, "missing", len(loss.Missing), "fix", ledger.LossFix)
			w.metrics.losses.WithLabelValues(loss.Kind).Inc()
			w.restore(ctx)
		}
		if err != nil && ctx.Err() == nil {
			w.log.Debug("whether Redis has lost data is not known", "err", err)
		}
		if loss != nil || time.Since(kept) >= seenKept {
			w.keepSeen(seen)
			kept = time.Now()
		}
		if !pause(ctx, lossEvery) {
			w.keepSeen(seen)
			return
		}
	}
}

// readSeen returns what the process before this one has seen.
func (w *Worker) readSeen() *ledger.Seen {
	seen := new(ledger.Seen)
	if w.spool.dir == "" {
		return seen
	}
	b, err := os.ReadFile(filepath.Join(w.spool.dir, seenName))
	if err == nil {
		err = json.Unmarshal(b, seen)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.log.Warn("what the last worker has seen of Redis cannot be read", "spool", w.spool.dir, "err", err)
	}
	return seen
}

// keepSeen keeps what was seen for the next process.
func (w *Worker) keepSeen(seen *ledger.Seen) {
	if w.spool.dir == "" {
		return
	}
	b, err := json.Marshal(seen)
	if err == nil {
		_, err = w.spool.write(seenName, b)
	}
	if err != nil {
		w.log.Warn("what this worker has seen of Redis cannot be kept", "spool", w.spool.dir, "err", err)
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
	mu  sync.Mutex
	all []outcome
}

type outcome struct {
	at      time.Time
	payload tasks.SnapshotPayload
	attempt int
	ledger.Outcome
}

func (o *outcomes) add(p tasks.SnapshotPayload, attempt int, out ledger.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	drop := 0
	for drop < len(o.all) && (time.Since(o.all[drop].at) > outcomesFor || len(o.all)-drop >= outcomesMost) {
		drop++
	}
	o.all = append(o.all[drop:], outcome{time.Now(), p, attempt, out})
}

func (o *outcomes) snapshot() []outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.all)
}

// lacks reports whether a record may lack the outcome.
func (o outcome) lacks(s ledger.Snapshot) bool {
	if o.State != ledger.Accepted {
		return s.State == ledger.Sending
	}
	return s.TaskID != o.TaskID && !slices.Contains(slices.Collect(maps.Values(s.ExtraTasks)), o.TaskID)
}

// restore writes the outcomes of the last minutes again that Redis does not have: a
// failover has lost them. So nothing is sent again for those that were accepted; where
// it was already, the task is counted as an extra one.
func (w *Worker) restore(ctx context.Context) {
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
			case errors.Is(err, ledger.ErrLate) && o.TaskID != "":
				log.Warn("extra task: Redis had lost the answer, and the snapshot has another task or is gone")
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

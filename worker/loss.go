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

	"github.com/redis/go-redis/v9"

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
	// answersFor is how long the answers of this process are remembered, and
	// answersMost how many: a replica that is promoted may be so far behind.
	answersFor  = 2 * time.Minute
	answersMost = 20_000
	restoreMany = 200 // records that are read at a time
)

// answers are the newest requests that Tencent has accepted. The zero value is
// ready, and safe for concurrent use.
type answers struct {
	mu  sync.Mutex
	all []answer
}

type answer struct {
	at      time.Time
	payload tasks.SnapshotPayload
	attempt int
	outcome ledger.Outcome
}

func (a *answers) add(p tasks.SnapshotPayload, attempt int, o ledger.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	drop := 0
	for drop < len(a.all) && (time.Since(a.all[drop].at) > answersFor || len(a.all)-drop >= answersMost) {
		drop++
	}
	a.all = append(a.all[drop:], answer{time.Now(), p, attempt, o})
}

func (a *answers) snapshot() []answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.all)
}

// restore writes the answers of the last minutes again that Redis does not have: a
// failover has lost them. So nothing is sent again for them; where it was already,
// the task is counted as an extra one.
func (w *Worker) restore(ctx context.Context) {
	for some := range slices.Chunk(w.answers.snapshot(), restoreMany) {
		ids := make([]string, len(some))
		for i, a := range some {
			ids[i] = a.payload.ID
		}
		records, err := w.ledger.Records(ctx, ids)
		if err != nil {
			w.log.Error("answers that Redis may have lost are not restored", "err", err)
			return
		}
		for i, a := range some {
			task := a.outcome.TaskID
			if s := records[i]; s.TaskID == task || slices.Contains(slices.Collect(maps.Values(s.ExtraTasks)), task) {
				continue
			}
			log := w.log.With("id", a.payload.ID, "attempt", a.attempt, "task_id", task)
			switch err := w.ledger.Restore(ctx, a.payload, a.attempt, a.outcome); {
			case err == nil:
				log.Warn("answer restored that Redis had lost")
			case errors.Is(err, ledger.ErrLate):
				log.Warn("extra task: Redis had lost the answer, and the snapshot has another task or is gone")
			default:
				log.Error("answer not restored that Redis had lost", "err", err)
			}
		}
	}
}

// server is the run id of the Redis server that answers, or empty where that is not
// known: another one means a failover or a restart.
func (w *Worker) server(ctx context.Context) string {
	c, ok := w.o.Redis.(*redis.Client)
	if !ok {
		return "" // of a cluster any node may answer
	}
	for line := range strings.Lines(c.Info(ctx, "server").Val()) {
		if id, ok := strings.CutPrefix(line, "run_id:"); ok {
			return strings.TrimSpace(id)
		}
	}
	return ""
}

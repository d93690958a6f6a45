package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"tiwsnap/internal/asynqx"
	"tiwsnap/tasks"
)

// failureInterval is the time between two summaries of failed snapshots in the log.
const failureInterval = 10 * time.Second

// failures counts the snapshots that have failed since the last summary, by error
// code.
type failures struct {
	mu     sync.Mutex
	byCode map[string]*failure
}

type failure struct {
	count       int
	id, message string // of the first one
}

// snapshotFailed counts a permanently failed snapshot, here and in asynq's statistics.
func (w *Worker) snapshotFailed(ctx context.Context, id, code, message string) {
	w.log.Debug("snapshot failed", "id", id, "code", code, "message", message)
	w.failures.mu.Lock()
	if w.failures.byCode == nil {
		w.failures.byCode = map[string]*failure{}
	}
	if f := w.failures.byCode[code]; f != nil {
		f.count++
	} else {
		w.failures.byCode[code] = &failure{1, id, message}
	}
	w.failures.mu.Unlock()
	queue := w.o.Namespace.QueueInteractive()
	if _, _, ok := tasks.SplitRowID(id); ok {
		queue = w.o.Namespace.QueueBulk()
	}
	if err := asynqx.CountFailed(context.WithoutCancel(ctx), w.o.Redis, queue); err != nil {
		w.log.Debug("failure not counted in asynq's statistics", "id", id, "err", err)
	}
}

// summarizeFailures logs a summary at each interval until ctx ends.
func (w *Worker) summarizeFailures(ctx context.Context) {
	for pause(ctx, failureInterval) {
		w.logFailures()
	}
}

// logFailures logs one line per error code and resets the counts.
func (w *Worker) logFailures() {
	w.failures.mu.Lock()
	byCode := w.failures.byCode
	w.failures.byCode = nil
	w.failures.mu.Unlock()
	for _, code := range slices.Sorted(maps.Keys(byCode)) {
		f := byCode[code]
		w.log.Warn("snapshots failed", "code", code, "count", f.count, "first", f.id, "message", f.message)
	}
}

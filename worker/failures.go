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

// sumUpEvery is how often the log tells of the snapshots that have failed.
const sumUpEvery = 10 * time.Second

// failures are the snapshots that have failed since the log told of some, by
// code.
type failures struct {
	mu     sync.Mutex
	byCode map[string]*failure
}

type failure struct {
	count       int
	id, message string // of the first
}

// snapshotFailed notes that a snapshot has failed for good.
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
		w.log.Debug("asynq's statistics lack a failure", "id", id, "err", err)
	}
}

// tellFailures tells of what has failed, summed up, until ctx ends.
func (w *Worker) tellFailures(ctx context.Context) {
	for pause(ctx, sumUpEvery) {
		w.sumUp()
	}
}

func (w *Worker) sumUp() {
	w.failures.mu.Lock()
	byCode := w.failures.byCode
	w.failures.byCode = nil
	w.failures.mu.Unlock()
	for _, code := range slices.Sorted(maps.Keys(byCode)) {
		f := byCode[code]
		w.log.Warn("snapshots failed", "code", code, "count", f.count, "first", f.id, "message", f.message)
	}
}

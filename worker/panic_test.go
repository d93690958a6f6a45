package worker_test

import (
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/worker"
)

// A task that panics fails, in tiwsnap and in asynq's statistics, and delays no other task.
func TestPanickingTask(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.options = func(o *worker.Options) {
		o.Second, o.Attempts, o.UnknownGrace = 20*time.Millisecond, 3, 100*time.Millisecond
		o.CallbackURL = func(snapshot string, _ int) string {
			if snapshot == "a.2" {
				panic("unexpected")
			}
			return ""
		}
	}
	w.enqueue("a", 3)
	w.work()
	w.eventually("the batch has ended", func() bool {
		b, err := w.ledger.Batch(t.Context(), "a")
		return err == nil && b.Succeeded == 2 && b.Failed == 1
	})
	if s, err := w.ledger.Snapshot(t.Context(), "a.2"); err != nil || s.State != ledger.Failed {
		t.Errorf("record = %+v, %v", s, err)
	}
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	w.eventually("asynq counts the failures and has no task left", func() bool {
		info, err := inspector.GetQueueInfo(keys.Default.QueueBulk())
		return err == nil && info.Failed >= 3 && info.Size == 0
	})
}

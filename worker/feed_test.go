package worker_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tiw/tiwtest"
)

func TestSmallBatchBehindALargeOne(t *testing.T) {
	needs.Time(t)
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.enqueue("large", 100_000)
	w.work()
	w.waitForBatch("large", "is in progress", func(b ledger.Batch) bool { return b.Accepted+b.Succeeded > 0 })
	w.enqueue("small", 10)
	if b := w.waitForEnd("small"); b.Succeeded != 10 {
		t.Errorf("batch = %+v", b)
	}
	if b, _ := w.ledger.Batch(t.Context(), "large"); b.Queued < 99_500 {
		t.Errorf("the small batch waited for the large one: %+v", b)
	}
	w.wantWithinLimit()
}

// A task that was deleted from asynq, by a person or by accident, is enqueued again.
func TestLostTask(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.enqueue("a", 5)
	ids, _, err := backlog.New(w.rdb, keys.Default).Take(t.Context(), "a feeder that died", 3)
	if err != nil || len(ids) != 3 {
		t.Fatalf("Take() = %v, %v, want 3 rooms", ids, err)
	}
	for _, id := range ids {
		w.rdb.ZAdd(t.Context(), keys.Default.InFlight(), redis.Z{Score: 1, Member: id}) // a minute ago
	}
	w.work()
	if b := w.waitForEnd("a"); b.Succeeded != 5 {
		t.Errorf("batch = %+v", b)
	}
	w.wantOneTaskEach(5)
}

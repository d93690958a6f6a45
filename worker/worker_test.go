package worker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

func TestDrain(t *testing.T) {
	needs.Time(t)
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprintf("of a batch by %d workers sends every room once, at the rate limit", workers), func(t *testing.T) {
			w := newWorld(t, redistest.Client(t), tiwtest.Options{Latency: 30 * time.Millisecond})
			for range workers {
				w.work()
			}
			w.enqueue("a", 60)
			b := w.waitForEnd("a")
			if b.Succeeded != 60 || b.Failed != 0 || b.PossibleDuplicates != 0 || b.Images < 60 {
				t.Errorf("batch = %+v", b)
			}
			w.wantWithinLimit()
			w.wantOneTaskEach(60)
			s, err := w.ledger.Snapshot(t.Context(), "a.1")
			if err != nil || s.State != ledger.Succeeded || len(s.Images) == 0 || s.TaskID == "" || s.RequestID == "" ||
				s.Attempts != 1 {
				t.Errorf("record of a.1 = %+v, %v", s, err)
			}
			for _, key := range []string{keys.Default.InFlight(), keys.Default.Open(), keys.Default.Confirm(),
				keys.Default.Ring()} {
				if n := w.rdb.Exists(t.Context(), key).Val(); n != 0 {
					t.Errorf("%s exists after the end", key)
				}
			}
		})
	}
}

func TestSingleRoom(t *testing.T) {
	needs.Time(t)
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.enqueue("large", 200)
	w.work()
	w.waitForBatch("large", "is in progress", func(b ledger.Batch) bool { return b.Accepted+b.Succeeded > 0 })
	single, err := w.queue.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 9999}, enqueue.RoomOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := 1; w.tasksByRoom()[9999] == 0; n++ {
		if err := w.sim.WaitRequests(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := w.ledger.Batch(t.Context(), "large"); b.Queued < 100 {
		t.Errorf("the single room waited for most of the batch: %+v", b)
	}
	w.wantWithinLimit()
	if _, err := w.ledger.Snapshot(t.Context(), single.ID); err != nil {
		t.Errorf("Snapshot() of the single room: %v", err)
	}
}

func TestHandOver(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Latency: 300 * time.Millisecond})
	stop := w.work()
	w.enqueue("a", 60)
	if err := w.sim.WaitRequests(t.Context(), 15); err != nil {
		t.Fatal(err)
	}
	stop() // some requests are in flight, others wait for a permit
	b, err := w.ledger.Batch(t.Context(), "a")
	if err != nil || b.Sending != 0 || b.Unknown != 0 || b.Accepted+b.Succeeded < 15 {
		t.Errorf("batch after the worker stopped = %+v, %v", b, err)
	}
	w.work()
	if b := w.waitForEnd("a"); b.Succeeded != 60 || b.PossibleDuplicates != 0 {
		t.Errorf("batch = %+v", b)
	}
	w.wantWithinLimit()
	w.wantOneTaskEach(60)
}

func TestRedisRestarts(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	server := redistest.Real(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { rdb.Close() })
	w := newWorld(t, rdb, tiwtest.Options{Latency: 200 * time.Millisecond})
	w.work()
	w.enqueue("a", 60)
	if err := w.sim.WaitRequests(t.Context(), 15); err != nil {
		t.Fatal(err)
	}
	server.Kill() // requests are in flight: their outcomes have to wait
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if b := w.waitForEnd("a"); b.Succeeded != 60 || b.PossibleDuplicates != 0 {
		t.Errorf("batch = %+v", b)
	}
	w.wantWithinLimit()
	w.wantOneTaskEach(60)
}

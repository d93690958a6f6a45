package worker_test

import (
	"os"
	"path/filepath"
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

// The next worker stores the outcomes that a dead worker could not write to Redis. The test pins the file format: the
// next worker may be of another release.
func TestSpoolIsReplayedAtStart(t *testing.T) {
	needs.Time(t)
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.enqueue("a", 1)
	p := tasks.SnapshotPayload{ID: "a.1", Batch: "a", Room: tasks.Room{SdkAppId: app, RoomId: 1}}
	if in, err := w.ledger.Begin(t.Context(), p, "x", ""); err != nil || in.Attempt != 1 {
		t.Fatalf("Begin() = %+v, %v, want attempt 1", in, err)
	}
	w.spool = t.TempDir()
	file := filepath.Join(w.spool, "a.1-1.outcome.json")
	text := `{"id":"a.1","attempt":1,"outcome":{"state":"accepted","task_id":"lost-and-found","request_id":"r"}}`
	for name, text := range map[string]string{file: text, filepath.Join(w.spool, "half.tmp"): `{"id":`,
		filepath.Join(w.spool, "odd.outcome.json"): `{`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.work()
	w.waitForBatch("a", "has its task", func(b ledger.Batch) bool { return b.Accepted == 1 })
	if s, err := w.ledger.Snapshot(t.Context(), "a.1"); err != nil || s.TaskID != "lost-and-found" || s.Attempts != 1 {
		t.Errorf("record = %+v, %v", s, err)
	}
	w.eventually("the file is removed", func() bool {
		_, err := os.Stat(file)
		return os.IsNotExist(err)
	})
	if n := w.sim.State().Actions[tiwtest.ActionCreate].Received.Requests; n != 0 {
		t.Errorf("%d requests for a snapshot with a task, want none", n)
	}
}

// A worker that dies during a write leaves a partial file, which is useless.
func TestPartialSpoolFilesAreRemoved(t *testing.T) {
	needs.Time(t)
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.spool = t.TempDir()
	left, fresh := filepath.Join(w.spool, "123.tmp"), filepath.Join(w.spool, "456.tmp")
	for _, name := range []string{left, fresh} {
		if err := os.WriteFile(name, []byte(`{"id":`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-10 * time.Minute)
	if err := os.Chtimes(left, long, long); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.eventually("the file of a dead worker is removed", func() bool {
		_, err := os.Stat(left)
		return os.IsNotExist(err)
	})
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("a file that another worker may be writing was removed: %v", err)
	}
}

// While Redis is down, outcomes are stored on disk. When it is back, no file is left.
func TestSpoolBridgesRedis(t *testing.T) {
	needs.Time(t)
	server := redistest.Real(t, "--appendonly", "yes", "--appendfsync", "always")
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1})
	t.Cleanup(func() { rdb.Close() })
	w := newWorld(t, rdb, tiwtest.Options{Latency: 500 * time.Millisecond})
	w.spool = t.TempDir()
	w.queue = enqueue.New(rdb, keys.Default)
	w.work()
	w.enqueue("a", 20)
	if err := w.sim.WaitRequests(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	files := func() int {
		all, err := filepath.Glob(filepath.Join(w.spool, "*.outcome.json"))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	w.eventually("the spool has outcomes", func() bool { return files() > 0 })
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	if b := w.waitForEnd("a"); b.Succeeded != 20 || b.PossibleDuplicates != 0 {
		t.Errorf("batch = %+v", b)
	}
	w.wantOneTaskEach(20)
	w.eventually("the spool is empty", func() bool { return files() == 0 })
}

package worker_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/worker"
)

// With Options.Replicated a worker sends no request whose intent a failover could lose. While no replica confirms, the
// rooms wait, they lose no attempt, and the stop is reported. Sending resumes by itself.
func TestIntentsOnReplicas(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	master := redistest.Real(t, "--repl-diskless-sync-delay", "0")
	host, port, _ := strings.Cut(master.Addr, ":")
	replica := redistest.Real(t, "--replicaof", host+" "+port)
	rdb := redis.NewClient(&redis.Options{Addr: master.Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { rdb.Close() })
	w := newWorld(t, rdb, tiwtest.Options{})
	w.options = func(o *worker.Options) { o.Replicated = true }
	w.eventually("the replica follows", func() bool {
		return strings.Contains(rdb.Info(t.Context(), "replication").Val(), "state=online")
	})
	if err := replica.Freeze(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { replica.Thaw() })
	w.work()
	w.enqueue("b", 10)
	b := gate.NewBreaker(rdb, keys.Default)
	w.eventually("the stop is reported", func() bool {
		stops, err := b.Stops(t.Context())
		return err == nil && len(stops) == 1 && stops[0].Cause == gate.NoReplica &&
			strings.Contains(stops[0].String(), "Sending is stopped since 20") &&
			strings.Contains(stops[0].String(), "TIWSNAP_REDIS_DURABILITY=replicated")
	})
	w.waitForBatch("b", "is queued", func(b ledger.Batch) bool { return b.Queued == 10 })
	if n := w.sim.State().Actions[tiwtest.ActionCreate].Received.Requests; n != 0 {
		t.Errorf("%d requests without a replica, want none", n)
	}
	if err := replica.Thaw(); err != nil {
		t.Fatal(err)
	}
	w.waitForEnd("b")
	w.wantOneTaskEach(10)
	s, err := w.ledger.Snapshot(t.Context(), tasks.RowID("b", 1))
	if err != nil || s.Attempts != 1 || s.PossibleDuplicates != 0 || len(s.History) != 1 {
		t.Errorf("record = %+v, %v", s, err)
	}
	w.eventually("no stop is reported", func() bool {
		stops, err := b.Stops(t.Context())
		return err == nil && len(stops) == 0
	})
}

package worker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/worker"
)

// dequeue takes the next task of a queue as asynq does, but without a lease. A killed worker leaves its task like this
// if the lease was lost since.
func (w world) dequeue(queue string) (id string) {
	w.Helper()
	prefix := "asynq:{" + queue + "}:"
	id, err := w.rdb.LMove(w.Context(), prefix+"pending", prefix+"active", "RIGHT", "LEFT").Result()
	if err != nil {
		w.Fatal(err)
	}
	if err := w.rdb.HSet(w.Context(), prefix+"t:"+id, "state", "active").Err(); err != nil {
		w.Fatal(err)
	}
	info, err := asynq.NewInspectorFromRedisClient(w.rdb).GetTaskInfo(queue, id)
	if err != nil || info.State != asynq.TaskStateActive {
		w.Fatalf("GetTaskInfo() = %+v, %v, want active", info, err)
	}
	return id
}

// wantRecovered scans once and checks which orphans were recovered.
func (w world) wantRecovered(recoverOrphans func() ([]string, error), want ...string) {
	w.Helper()
	leased, err := recoverOrphans()
	if err != nil || !slices.Equal(leased, want) {
		w.Errorf("recovered orphans = %v, %v, want %v", leased, err, want)
	}
}

func TestOrphans(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	for _, queue := range []string{keys.Default.QueueInteractive(), keys.Default.QueueBulk()} {
		t.Run("on "+queue+" run again after two scans", func(t *testing.T) {
			w := newWorld(t, redistest.Client(t), tiwtest.Options{})
			room := tasks.Room{SdkAppId: app, RoomId: 7}
			id := tasks.NewID()
			task, err := tasks.SnapshotPayload{ID: id, Room: room}.Task(asynq.Queue(queue))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := asynq.NewClientFromRedisClient(w.rdb).EnqueueContext(t.Context(), task); err != nil {
				t.Fatal(err)
			}
			w.dequeue(queue)

			orphans := worker.Orphans(w.rdb, queue)
			recoverOrphans := func() ([]string, error) { return orphans(t.Context()) }
			w.wantRecovered(recoverOrphans)
			w.wantRecovered(recoverOrphans, id)
			w.wantRecovered(recoverOrphans)

			w.work() // asynq recovers tasks at its start, and then each minute
			w.waitForSuccess(id)
			w.wantOneTaskEach(1)
		})
	}

	t.Run("are not tasks with a lease, or that got one between two scans", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		lease := "asynq:{" + keys.Default.QueueInteractive() + "}:lease"
		for n := range 2 {
			if _, err := w.queue.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: uint64(n + 1)},
				enqueue.RoomOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		leased, late := w.dequeue(keys.Default.QueueInteractive()), w.dequeue(keys.Default.QueueInteractive())
		w.rdb.ZAdd(t.Context(), lease, redis.Z{Score: 1e10, Member: leased})
		orphans := worker.Orphans(w.rdb, keys.Default.QueueInteractive())
		recoverOrphans := func() ([]string, error) { return orphans(t.Context()) }
		w.wantRecovered(recoverOrphans)
		w.rdb.ZAdd(t.Context(), lease, redis.Z{Score: 1e10, Member: late})
		w.wantRecovered(recoverOrphans)
		w.rdb.ZRem(t.Context(), lease, late)
		w.wantRecovered(recoverOrphans) // seen twice, but not in a row
		if score := w.rdb.ZScore(t.Context(), lease, leased).Val(); score != 1e10 {
			t.Errorf("score of the lease = %f, want it unchanged", score)
		}
	})
}

// waitForSuccess polls every 20 ms until the snapshot has succeeded.
func (w world) waitForSuccess(id string) {
	w.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		s, err := w.ledger.Snapshot(w.Context(), id)
		if err == nil && s.State == ledger.Succeeded {
			return
		}
		select {
		case <-deadline:
			w.Fatalf("the snapshot has not succeeded within a minute: record = %+v, %v", s, err)
		case <-tick.C:
		}
	}
}

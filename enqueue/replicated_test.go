package enqueue_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
)

func TestReplicated(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	master := redistest.Real(t, "--repl-diskless-sync-delay", "0")
	host, port, _ := strings.Cut(master.Addr, ":")
	replica := redistest.Real(t, "--replicaof", host+" "+port)
	m, r := redis.NewClient(&redis.Options{Addr: master.Addr}), redis.NewClient(&redis.Options{Addr: replica.Addr})
	defer m.Close()
	defer r.Close()
	redistest.Until(t, "the replica follows", func() bool {
		return strings.Contains(m.Info(t.Context(), "replication").Val(), "state=online")
	})
	client := enqueue.New(m, keys.Default)
	room := func(key string) (enqueue.Snapshot, error) {
		return client.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 1}, enqueue.RoomOptions{Key: key, Replicated: true})
	}
	batch := func(id string) (enqueue.Batch, error) {
		return client.Batch(t.Context(), roomSeq(tasks.Room{SdkAppId: app, RoomId: 1}), enqueue.BatchOptions{
			ID: id, Replicated: true,
		})
	}
	onReplica := func(id string) bool {
		_, err := asynq.NewInspectorFromRedisClient(r).GetTaskInfo(keys.Default.QueueInteractive(), id)
		return err == nil
	}

	t.Run("accepted work is on the replica", func(t *testing.T) {
		for i := range 20 {
			s, err := room("")
			if err != nil || !onReplica(s.ID) {
				t.Errorf("room %d: Room() = %+v, %v, want it on the replica", i, s, err)
			}
		}
		if _, err := batch("a"); err != nil ||
			r.Exists(t.Context(), keys.Default.Batch("a"), keys.Default.Rows("a")).Val() != 2 {
			t.Errorf("Batch() = %v, want its keys on the replica", err)
		}
	})

	t.Run("frozen replica: ErrNotReplicated until it is back", func(t *testing.T) {
		if err := replica.Freeze(); err != nil {
			t.Fatal(err)
		}
		defer replica.Thaw()
		for i, created := range []bool{true, false} {
			s, err := room("k")
			if !errors.Is(err, enqueue.ErrNotReplicated) || s.Created != created ||
				!strings.Contains(err.Error(), s.ID+" is accepted here") {
				t.Errorf("call %d: Room() = %+v, %v", i+1, s, err)
			}
			b, err := batch("b")
			if !errors.Is(err, enqueue.ErrNotReplicated) || b.Created != created {
				t.Errorf("call %d: Batch() = %+v, %v", i+1, b, err)
			}
		}
		if err := replica.Thaw(); err != nil {
			t.Fatal(err)
		}
		redistest.Until(t, "the replica is back", func() bool {
			s, err := room("k")
			if err == nil && (s.Created || !onReplica(s.ID)) {
				t.Errorf("Room() = %+v, on the replica: %t", s, onReplica(s.ID))
			}
			return err == nil
		})
		if b, err := batch("b"); err != nil || b.Created {
			t.Errorf("Batch() = %+v, %v, want the existing batch", b, err)
		}
	})

	t.Run("ended snapshot: its record is replicated", func(t *testing.T) {
		runWorker(t, m, 20)
		s, err := room("ended")
		if err != nil {
			t.Fatal(err)
		}
		redistest.Until(t, "its task is gone", func() bool {
			_, err := asynq.NewInspectorFromRedisClient(m).GetTaskInfo(keys.Default.QueueInteractive(), s.ID)
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
		if s, err = room("ended"); err != nil || s.Created {
			t.Errorf("Room() = %+v, %v, want the existing snapshot", s, err)
		}
	})
}

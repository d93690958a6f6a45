package enqueue_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
)

func TestRoom(t *testing.T) {
	t.Run("on the interactive queue, by its snapshot id", func(t *testing.T) {
		rdb := redistest.Client(t)
		s, err := enqueue.New(rdb, keys.Default).Room(t.Context(), tasks.Room{SdkAppId: 1, RoomId: 7}, enqueue.RoomOptions{})
		if err != nil || !s.Created {
			t.Fatalf("Room() = %+v, %v, want created", s, err)
		}
		id := s.ID
		info, err := asynq.NewInspectorFromRedisClient(rdb).GetTaskInfo(keys.Default.QueueInteractive(), id)
		if err != nil {
			t.Fatal(err)
		}
		p, err := tasks.ParseSnapshot(info.Payload)
		if err != nil || p.ID != id || p.Room.RoomId != 7 {
			t.Errorf("payload = %+v, %v", p, err)
		}
	})

	t.Run("invalid: every error", func(t *testing.T) {
		rdb := redistest.Client(t)
		_, err := enqueue.New(rdb, keys.Default).Room(t.Context(), tasks.Room{SnapshotMode: "x"}, enqueue.RoomOptions{})
		var bad *tasks.RoomError
		if !errors.As(err, &bad) || len(bad.Faults) != 3 {
			t.Errorf("unexpected error: %v", err)
		}
		checkEmpty(t, rdb)
	})
}

func TestBatch(t *testing.T) {
	needs.Time(t)
	defaults := tasks.Room{SdkAppId: 1}

	t.Run("failing iterator: nothing is left", func(t *testing.T) {
		rdb := redistest.Client(t)
		broken := errors.New("disk")
		rooms := func(yield func(tasks.Room, error) bool) {
			for i := range uint64(20_000) { // some of it is pushed
				if !yield(tasks.Room{RoomId: i + 1}, nil) {
					return
				}
			}
			yield(tasks.Room{}, broken)
		}
		if _, err := enqueue.New(rdb, keys.Default).Batch(t.Context(), rooms,
			enqueue.BatchOptions{Defaults: defaults}); !errors.Is(err, broken) {
			t.Errorf("unexpected error: %v", err)
		}
		checkEmpty(t, rdb)
	})

	t.Run("invalid room", func(t *testing.T) {
		rdb := redistest.Client(t)
		_, err := enqueue.New(rdb, keys.Default).
			Batch(t.Context(), roomSeq(tasks.Room{RoomId: 1}, tasks.Room{}), enqueue.BatchOptions{Defaults: defaults})
		var bad *tasks.RoomError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), "room 2 of the batch") {
			t.Errorf("unexpected error: %v", err)
		}
		checkEmpty(t, rdb)
	})

	t.Run("killed halfway: the same call completes it", func(t *testing.T) {
		rdb := redistest.Client(t)
		load := backlog.New(rdb, keys.Default).Load(defaults) // of a producer that died before Seal
		for i := range uint64(20_000) {
			if err := load.Add(t.Context(), &tasks.Room{RoomId: i + 1}); err != nil {
				t.Fatal(err)
			}
		}
		left := rdb.Keys(t.Context(), "*").Val()
		if len(left) != 1 || rdb.TTL(t.Context(), left[0]).Val() <= 0 {
			t.Errorf("keys of the load %v, want one with an expiration", left)
		}
		client := enqueue.New(rdb, keys.Default)
		for i, created := range []bool{true, false} {
			b, err := client.Batch(t.Context(), roomSeq(tasks.Room{RoomId: 1}, tasks.Room{RoomId: 2}),
				enqueue.BatchOptions{ID: "class-", Defaults: defaults})
			if err != nil || b.Rooms != 2 || b.Created != created {
				t.Errorf("call %d: Batch() = %+v, %v, want created: %t", i+1, b, err, created)
			}
		}
		if n := rdb.ZCard(t.Context(), keys.Default.Batches()).Val(); n != 1 {
			t.Errorf("%d batches, want 1", n)
		}
	})

	t.Run("name of other rooms: ErrExists, nothing is added", func(t *testing.T) {
		rdb := redistest.Client(t)
		client := enqueue.New(rdb, keys.Default)
		batch := func(rooms ...tasks.Room) (enqueue.Batch, error) {
			return client.Batch(t.Context(), roomSeq(rooms...), enqueue.BatchOptions{ID: "monday", Defaults: defaults})
		}
		one, two, three := tasks.Room{RoomId: 1}, tasks.Room{RoomId: 2}, tasks.Room{RoomId: 3}
		if b, err := batch(one, two); err != nil || !b.Created {
			t.Fatalf("Batch() = %+v, %v, want created", b, err)
		}
		if b, err := batch(two, one); err != nil || b.Created || b.Rooms != 2 {
			t.Errorf("same rooms: Batch() = %+v, %v", b, err)
		}
		b, err := batch(one, three)
		if !errors.Is(err, enqueue.ErrExists) || b.ID != "monday" || b.Rooms != 2 ||
			err.Error() != "batch monday exists already with other rooms (2 of them)" {
			t.Errorf("other rooms: Batch() = %+v, %v", b, err)
		}
		if all := rdb.Keys(t.Context(), keys.Default.Loading("*")).Val(); len(all) > 0 {
			t.Errorf("loads are left: %v", all)
		}
	})

	t.Run("Redis unavailable: error with the address", func(t *testing.T) {
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
		defer rdb.Close()
		if _, err := enqueue.New(rdb, keys.Default).Batch(t.Context(), roomSeq(tasks.Room{SdkAppId: 1, RoomId: 1}),
			enqueue.BatchOptions{}); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
			t.Errorf("unexpected error: %v", err)
		}
	})
}

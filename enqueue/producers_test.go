package enqueue_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
)

// Producers enqueue two lists of rooms under one name at once. One makes the batch, the
// others with the same rooms find it, and those with other rooms get ErrExists.
func TestConcurrentProducersOfOneName(t *testing.T) {
	t.Parallel()
	server := redistest.Real(t)
	var created, same, refused atomic.Int64
	var all sync.WaitGroup
	for i, c := range newProducers(t, server.URL(), 20) {
		all.Go(func() {
			rooms := roomSeq(tasks.Room{SdkAppId: app, RoomId: 1}, tasks.Room{SdkAppId: app, RoomId: uint64(2 + i%2)})
			switch b, err := c.Batch(t.Context(), rooms, enqueue.BatchOptions{ID: "monday"}); {
			case errors.Is(err, enqueue.ErrExists):
				refused.Add(1)
			case err != nil:
				t.Error(err)
			case b.Created:
				created.Add(1)
			default:
				same.Add(1)
			}
		})
	}
	all.Wait()
	if created.Load() != 1 || same.Load() != 9 || refused.Load() != 10 {
		t.Errorf("%d created, %d found, %d refused, want 1, 9, 10", created.Load(), same.Load(), refused.Load())
	}
}

func TestConcurrentProducersOfOneList(t *testing.T) {
	t.Parallel()
	const n = 20_000
	server := redistest.Real(t)
	rooms := func(yield func(tasks.Room, error) bool) {
		for i := range uint64(n) {
			if !yield(tasks.Room{RoomId: i + 1}, nil) {
				return
			}
		}
	}
	got := make([]enqueue.Batch, 20)
	var all sync.WaitGroup
	for i, c := range newProducers(t, server.URL(), len(got)) {
		all.Go(func() {
			var err error
			got[i], err = c.Batch(t.Context(), rooms, enqueue.BatchOptions{ID: "class-", Defaults: tasks.Room{SdkAppId: app}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	created := 0
	for _, b := range got {
		if b.Created {
			created++
		}
		if b.ID != got[0].ID || b.Rooms != n {
			t.Errorf("Batch() = %+v, want id %s with %d rooms", b, got[0].ID, n)
		}
	}
	if created != 1 {
		t.Errorf("%d of 20 producers created it, want 1", created)
	}
	c := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer c.Close()
	if waiting, _, err := backlog.New(c, keys.Default).Waiting(t.Context()); waiting != n || err != nil {
		t.Errorf("%d rooms are queued, want %d (%v)", waiting, n, err)
	}
	if left := c.Keys(t.Context(), keys.Default.Loading("*")).Val(); len(left) > 0 {
		t.Errorf("loads are left: %v", left)
	}
}

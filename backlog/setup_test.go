package backlog_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
)

// enqueue enqueues a batch of n rooms with the RoomIds 1 to n.
func enqueue(t *testing.T, b *backlog.Backlog, id string, n int, defaults tasks.Room) backlog.Batch {
	t.Helper()
	load := b.Load(defaults)
	for i := range n {
		if err := load.Add(t.Context(), &tasks.Room{RoomId: uint64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := load.Seal(t.Context(), id, "")
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// take calls Take.
func take(t *testing.T, b *backlog.Backlog, owner string, depth int) []string {
	t.Helper()
	ids, _, err := b.Take(t.Context(), owner, depth)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// begin removes snapshots from the set in flight, as if workers had begun them.
func begin(t *testing.T, rdb *redis.Client, ids []string) {
	t.Helper()
	for _, id := range ids {
		if err := rdb.ZRem(t.Context(), keys.Default.InFlight(), id).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

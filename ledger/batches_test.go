package ledger_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func TestBatches(t *testing.T) {
	f := setup(t, 1)
	f.rdb.ZAdd(t.Context(), keys.Default.Batches(), redis.Z{Score: 0, Member: "expired"})
	all, err := f.Batches(t.Context(), 1)
	if err != nil || len(all) != 1 || all[0].ID != "b" {
		t.Errorf("Batches() = %+v, %v, want b", all, err)
	}
	if ids := f.rdb.ZRange(t.Context(), keys.Default.Batches(), 0, -1).Val(); !slices.Equal(ids, []string{"b"}) {
		t.Errorf("list of batches = %q, want b: Batches() must remove expired ids", ids)
	}
}

func TestNotFound(t *testing.T) {
	f := setup(t, 1)
	if _, err := f.Snapshot(t.Context(), "s-none"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("Snapshot() of an unknown id: error = %v, want ErrNotFound", err)
	}
	if _, err := f.Batch(t.Context(), "none"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("Batch() of an unknown id: error = %v, want ErrNotFound", err)
	}
	single := tasks.SnapshotPayload{ID: "s-1", Room: tasks.Room{SdkAppId: 1, RoomId: 7}}
	f.begin(single, "a")
	f.outcome(single, 1, accepted("t"))
	if s := f.record(single); s.State != ledger.Accepted || s.Batch != "" {
		t.Errorf("record of a single room = %+v", s)
	}
	if keys := f.rdb.Keys(t.Context(), keys.Default.Batch("")).Val(); len(keys) != 0 {
		t.Errorf("a single room created %v", keys)
	}
	f.rdb.ZAdd(t.Context(), keys.Default.Batches(), redis.Z{Score: 2, Member: "expired"})
	all, err := f.Batches(t.Context(), 10)
	if err != nil || len(all) != 1 || all[0].ID != "b" {
		t.Errorf("Batches() = %+v, %v, want b", all, err)
	}
}

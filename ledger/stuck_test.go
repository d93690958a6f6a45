package ledger_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
)

func TestStuck(t *testing.T) {
	f := setup(t, 3)
	for n := 1; n <= 3; n++ {
		f.begin(row(n), "a")
	}
	f.outcome(row(3), 1, accepted("t3"))
	f.rdb.ZAdd(t.Context(), keys.Default.Open(), redis.Z{Score: 1, Member: row(2).ID}) // as if long ago
	stuck, err := f.Stuck(t.Context(), time.Minute, 10)
	if err != nil || len(stuck) != 1 || stuck[0].ID != row(2).ID {
		t.Errorf("Stuck() = %+v, %v, want %s", stuck, err, row(2).ID)
	}
	if again, _ := f.Stuck(t.Context(), time.Minute, 10); len(again) != 0 {
		t.Errorf("second Stuck() = %+v, want none", again)
	}
}

func TestUntrack(t *testing.T) {
	untrack := func(f fixture, p tasks.SnapshotPayload) {
		if err := f.Untrack(f.Context(), p.ID); err != nil {
			f.Fatal(err)
		}
	}

	t.Run("removes an id without a record", func(t *testing.T) {
		f := setup(t, 1)
		for _, set := range []string{keys.Default.Open(), keys.Default.Confirm()} {
			f.rdb.ZAdd(t.Context(), set, redis.Z{Score: 1, Member: row(1).ID})
		}
		untrack(f, row(1))
		if f.inSet(keys.Default.Open(), row(1)) || f.inSet(keys.Default.Confirm(), row(1)) {
			t.Error("the id is still in a set of work in progress")
		}
	})

	t.Run("keeps the polls of an accepted snapshot", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		untrack(f, row(1))
		if !f.inSet(keys.Default.Confirm(), row(1)) {
			t.Error("the accepted task is not polled")
		}
	})

	t.Run("keeps a snapshot that was retried meanwhile", func(t *testing.T) {
		f := setup(t, 1)
		single := tasks.SnapshotPayload{ID: "s-1", Room: tasks.Room{SdkAppId: 1, RoomId: 7}}
		f.fail(single, "InvalidParameter")
		f.retry(single)
		untrack(f, single)
		if !f.inSet(keys.Default.Open(), single) {
			t.Error("the sweeper does not check the retried snapshot")
		}
	})
}

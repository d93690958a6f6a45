package ledger_test

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func (f fixture) callBack(p tasks.SnapshotPayload, attempt int, task string) {
	f.Helper()
	if err := f.Callback(f.Context(), p.ID, attempt, task, []byte(`{"a":1}`)); err != nil {
		f.Fatal(err)
	}
}

// due returns what is to be asked about now.
func (f fixture) due() []ledger.Snapshot {
	f.Helper()
	due, _, err := f.Due(f.Context(), 10)
	if err != nil {
		f.Fatal(err)
	}
	return due
}

// in reports whether a snapshot is in one of the sets of work in progress.
func (f fixture) in(set string, p tasks.SnapshotPayload) bool {
	f.Helper()
	err := f.rdb.ZScore(f.Context(), set, p.ID).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		f.Fatal(err)
	}
	return err == nil
}

func TestDisbelieve(t *testing.T) {
	// asking is a snapshot of unknown outcome whose callback has named a task
	// that does not exist, and that a worker asks about.
	asking := func(t *testing.T) (fixture, ledger.Snapshot) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.callBack(row(1), 1, "lie")
		due := f.due()
		if len(due) != 1 || due[0].Told[1] != "lie" {
			t.Fatalf("due: %+v", due)
		}
		return f, due[0]
	}
	disbelieve := func(f fixture, s ledger.Snapshot) {
		if err := f.Disbelieve(f.Context(), s); err != nil {
			f.Fatal(err)
		}
	}

	t.Run("ends the asking", func(t *testing.T) {
		f, s := asking(t)
		disbelieve(f, s)
		if f.in(keys.Confirm, row(1)) || len(f.record(row(1)).Told) != 0 || !f.in(keys.Open, row(1)) {
			t.Errorf("%+v", f.record(row(1)))
		}
	})

	t.Run("does not lose a task that was accepted meanwhile", func(t *testing.T) {
		f, s := asking(t)
		f.outcome(row(1), 1, accepted("t1"))
		disbelieve(f, s)
		if !f.in(keys.Confirm, row(1)) {
			t.Error("nobody will ask about the accepted task")
		}
	})

	t.Run("does not lose a task that was named meanwhile", func(t *testing.T) {
		f, s := asking(t)
		f.callBack(row(1), 1, "t1")
		disbelieve(f, s)
		if got := f.record(row(1)).Told[1]; got != "t1" || !f.in(keys.Confirm, row(1)) {
			t.Errorf("told %q", got)
		}
	})
}

func TestForget(t *testing.T) {
	forget := func(f fixture, p tasks.SnapshotPayload) {
		if err := f.Forget(f.Context(), p.ID); err != nil {
			f.Fatal(err)
		}
	}

	t.Run("removes what has no record", func(t *testing.T) {
		f := setup(t, 1)
		for _, set := range []string{keys.Open, keys.Confirm} {
			f.rdb.ZAdd(t.Context(), set, redis.Z{Score: 1, Member: row(1).ID})
		}
		forget(f, row(1))
		if f.in(keys.Open, row(1)) || f.in(keys.Confirm, row(1)) {
			t.Error("it is still in progress")
		}
	})

	t.Run("leaves an accepted snapshot to be asked about", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		forget(f, row(1))
		if !f.in(keys.Confirm, row(1)) {
			t.Error("nobody will ask about it")
		}
	})

	t.Run("leaves alone what was retried meanwhile", func(t *testing.T) {
		f := setup(t, 1)
		single := tasks.SnapshotPayload{ID: "s-1", Room: tasks.Room{SdkAppId: 1, RoomId: 7}}
		f.fail(single, "InvalidParameter")
		f.retry(single)
		forget(f, single)
		if !f.in(keys.Open, single) {
			t.Error("the sweeper will not look after it")
		}
	})
}

package ledger_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func TestFailures(t *testing.T) {
	needs.Time(t)
	failures := func(f fixture, batch string) (ids []string) {
		for s, err := range f.Failures(f.Context(), batch) {
			if err != nil {
				f.Fatal(err)
			}
			ids = append(ids, s.ID)
		}
		return ids
	}

	t.Run("come newest first, without those that have expired", func(t *testing.T) {
		f := setup(t, 1)
		for n := 1; n <= 4; n++ {
			f.fail(single(n), "InvalidParameter")
			f.waitMilli()
		}
		f.rdb.Del(t.Context(), keys.Default.Snapshot(single(3).ID))
		if diff := cmp.Diff([]string{"s-4", "s-2", "s-1"}, failures(f, "")); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("of snapshots without a batch leave the list with their records", func(t *testing.T) {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{Retention: 50 * time.Millisecond})
		f.fail(single(1), "InvalidParameter")
		for f.rdb.Exists(t.Context(), keys.Default.Snapshot(single(1).ID)).Val() == 1 {
		}
		f.fail(single(2), "InvalidParameter")
		if n := f.rdb.ZCard(t.Context(), keys.Default.Failed("")).Val(); n != 1 {
			t.Errorf("%d in the list", n)
		}
		if left := f.rdb.PTTL(t.Context(), keys.Default.Failed("")).Val(); left == -1 {
			t.Error("the list would stay when all in it is gone")
		}
	})

	t.Run("of a snapshot that is retried leave the list", func(t *testing.T) {
		f := setup(t, 2)
		f.fail(row(1), "InvalidParameter")
		f.fail(row(2), "InvalidParameter")
		f.retry(row(1))
		if diff := cmp.Diff([]string{"b.2"}, failures(f, "b")); diff != "" {
			t.Error(diff)
		}
	})
}

// No key of a batch stays in Redis forever, however the batch ends.
func TestLeftovers(t *testing.T) {
	needs.Time(t)
	f := setup(t, 1)
	f.rdb.FlushDB(t.Context())
	f.Ledger = ledger.New(f.rdb, ledger.Options{Retention: 200 * time.Millisecond})
	b := backlog.New(f.rdb, keys.Default)
	load := b.Load(tasks.Room{})
	for n := 1; n <= 7; n++ {
		if err := load.Add(t.Context(), &tasks.Room{SdkAppId: 1, RoomId: uint64(n)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := load.Seal(t.Context(), "b", ""); err != nil {
		t.Fatal(err)
	}
	f.cancel(row(6)) // before it is fed
	f.feed(5)
	f.begin(row(1), "x")
	f.outcome(row(1), 1, accepted("t1"))
	f.settle(row(1), "t1", ledger.Succeeded)
	f.fail(row(2), "InvalidParameter")
	f.fail(row(3), "InvalidParameter")
	f.retry(row(3)) // it will be fed again
	f.suspend()
	f.verdict(row(4), "x", ledger.Done) // it waits for its application
	if err := b.Pause(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	f.cancelBatch()
	f.verdict(row(5), "x", ledger.Done)
	f.cancel(row(3))
	f.release()
	if b := f.batch(); !b.Ended() || b.Canceled != 5 {
		t.Fatalf("%+v", b)
	}

	day := time.Now().Unix() / (24 * 60 * 60)
	f.feed(1) // the feeder drops the batch from the ring

	want, left := []string{keys.Default.Batches(), keys.Default.Index(day), keys.Default.Indexes(),
		keys.Default.Totals()}, []string(nil)
	for deadline := time.Now().Add(5 * time.Second); !slices.Equal(left, want); {
		if time.Now().After(deadline) {
			t.Fatal(cmp.Diff(want, left))
		}
		f.pack()
		b.Waiting(t.Context()) // as each enqueue does
		left = slices.Sorted(slices.Values(f.rdb.Keys(t.Context(), "{tiwsnap}:"+"*").Val()))
	}
	if all, err := f.Batches(t.Context(), 1); len(all) != 0 || err != nil {
		t.Errorf("%+v, %v", all, err)
	}
	if n := f.rdb.Exists(t.Context(), keys.Default.Batches()).Val(); n != 0 {
		t.Error("it is still in the list of batches")
	}
}

func TestBatches(t *testing.T) {
	f := setup(t, 1)
	f.rdb.ZAdd(t.Context(), keys.Default.Batches(), redis.Z{Score: 0, Member: "expired"})
	all, err := f.Batches(t.Context(), 1)
	if err != nil || len(all) != 1 || all[0].ID != "b" {
		t.Errorf("%+v, %v", all, err)
	}
	if ids := f.rdb.ZRange(t.Context(), keys.Default.Batches(), 0, -1).Val(); !slices.Equal(ids, []string{"b"}) {
		t.Errorf("the list has %q: where nobody reads it to its end it grows for ever", ids)
	}
}

func TestCancelOfNoRow(t *testing.T) {
	for _, id := range []string{"b.3", "none.1"} {
		f := open(t, 2)
		if state, err := f.Cancel(t.Context(), id, tasks.Room{}); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s: %s, %v", id, state, err)
		}
		f.cancelBatch()
		if ok, err := f.Retry(t.Context(), id, tasks.Room{}); ok || err != nil {
			t.Errorf("%s: retried: %t, %v", id, ok, err)
		}
		f.counts(ledger.Batch{Total: 2, Canceled: 2})
	}
}

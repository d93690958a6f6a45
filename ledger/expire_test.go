package ledger_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// Every key of a batch expires, however the batch ends.
func TestAllKeysOfABatchExpire(t *testing.T) {
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
	f.retry(row(3)) // it is to be fed again
	f.suspend()
	f.wantVerdict(row(4), "x", ledger.Done) // it waits for its application
	if err := b.Pause(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	f.cancelBatch()
	f.wantVerdict(row(5), "x", ledger.Done)
	f.cancel(row(3))
	f.release()
	if b := f.batch(); !b.Ended() || b.Canceled != 5 {
		t.Fatalf("batch = %+v", b)
	}

	day := time.Now().Unix() / (24 * 60 * 60)
	f.feed(1) // the feeder drops the batch from the ring

	want, left := []string{keys.Default.Batches(), keys.Default.Index(day), keys.Default.Indexes(),
		keys.Default.Totals()}, []string(nil)
	for deadline := time.Now().Add(5 * time.Second); !slices.Equal(left, want); {
		if time.Now().After(deadline) {
			t.Fatalf("keys after the retention (-want +got):\n%s", cmp.Diff(want, left))
		}
		f.pack()
		b.Waiting(t.Context()) // as each enqueue does
		left = slices.Sorted(slices.Values(f.rdb.Keys(t.Context(), "{tiwsnap}:"+"*").Val()))
	}
	if all, err := f.Batches(t.Context(), 1); len(all) != 0 || err != nil {
		t.Errorf("Batches() = %+v, %v, want none", all, err)
	}
	if n := f.rdb.Exists(t.Context(), keys.Default.Batches()).Val(); n != 0 {
		t.Error("the expired batch is still in the list of batches")
	}
}

// The records of a batch are kept for the retention from the end of the batch, and the
// record of a single room from its own end.
func TestRecordsExpireWithTheirBatch(t *testing.T) {
	f := setup(t, 2)
	f.Ledger = ledger.New(f.rdb, ledger.Options{Retention: time.Hour})
	f.fail(row(1), "InvalidParameter")
	f.fail(single(1), "InvalidParameter")
	f.pack()
	batchKeys := []string{keys.Default.Packed("b"), keys.Default.Failed("b"), keys.Default.Rows("b"),
		keys.Default.Batch("b")}
	for _, key := range batchKeys {
		if ttl := f.rdb.PTTL(t.Context(), key).Val(); ttl != -1 {
			t.Errorf("%s expires in %s before its batch has ended", key, ttl)
		}
	}
	purge := func(retention time.Duration) (left bool) {
		t.Helper()
		if err := ledger.New(f.rdb, ledger.Options{Retention: retention}).Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := f.Snapshot(t.Context(), single(1).ID)
		return err == nil
	}
	if !purge(time.Hour) {
		t.Error("Purge() removed the record of a single room before its retention")
	}
	if purge(time.Nanosecond) {
		t.Error("Purge() kept the record of a single room after its retention")
	}
	f.fail(row(2), "InvalidParameter")
	for _, pack := range []bool{false, true} { // the last one is packed after the end
		if pack {
			f.pack()
		}
		for _, key := range batchKeys {
			if ttl := f.rdb.PTTL(t.Context(), key).Val(); ttl < 59*time.Minute || ttl > 66*time.Minute {
				t.Errorf("%s expires in %s after the end, want an hour", key, ttl)
			}
		}
	}
	f.retry(row(1))
	for _, key := range batchKeys {
		if ttl := f.rdb.PTTL(t.Context(), key).Val(); ttl != -1 {
			t.Errorf("%s expires in %s after a retry", key, ttl)
		}
	}
}

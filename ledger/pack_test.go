package ledger_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
)

// pack packs all ended records, as if they had ended long ago.
func (f fixture) pack() {
	f.Helper()
	for _, id := range f.rdb.ZRange(f.Context(), keys.Default.Unpacked(), 0, -1).Val() {
		f.rdb.ZAdd(f.Context(), keys.Default.Unpacked(), redis.Z{Score: 1, Member: id})
	}
	if _, err := f.Pack(f.Context(), 1000); err != nil {
		f.Fatal(err)
	}
	if n := f.rdb.ZCard(f.Context(), keys.Default.Unpacked()).Val(); n != 0 {
		f.Fatalf("%d records stay unpacked", n)
	}
}

// A packed record, of a row or a single room, reads as before. It can be retried.
func TestPackedRecords(t *testing.T) {
	f := setup(t, 3)
	images := []string{"https://h/1/a.png", "https://h/1/b.png"}
	f.accept(1)
	if err := f.Settle(t.Context(), row(1).ID, "t"+row(1).ID, ledger.Result{
		State: ledger.Succeeded, Images: images, Total: new(3),
	}); err != nil {
		t.Fatal(err)
	}
	f.fail(row(2), "InvalidParameter")
	f.fail(single(1), "InvalidParameter")
	f.cancel(row(3))
	ids := []string{row(1).ID, row(2).ID, row(3).ID, single(1).ID, "b.4", "s-none"}
	before, err := f.Snapshots(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	f.pack()
	if n := f.rdb.Exists(t.Context(), keys.Default.Snapshot(row(1).ID),
		keys.Default.Snapshot(single(1).ID)).Val(); n != 0 {
		t.Errorf("%d hashes are left", n)
	}
	after, err := f.Snapshots(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	if s := after[0]; s.Room.RoomId != 1 || !cmp.Equal(s.Images, images) || len(s.History) != 1 {
		t.Errorf("%+v", s)
	}

	if in := f.begin(row(1), "again"); in.Verdict != ledger.Done {
		t.Errorf("begin: %+v", in)
	}
	if state := f.cancel(row(2)); state != ledger.Failed {
		t.Errorf("cancel: %s", state)
	}
	if f.retry(row(1)) || !f.retry(row(2)) || !f.retry(row(3)) || !f.retry(single(1)) {
		t.Error("what has failed or was canceled can be retried, and nothing else")
	}
	if in := f.begin(row(2), "once more"); in.Verdict != ledger.Send || in.Attempt != 2 || in.Failures != 0 {
		t.Errorf("begin after a retry: %+v", in)
	}
	f.outcome(row(2), 2, accepted("t2"))
	if s := f.record(row(2)); s.TaskID != "t2" || len(s.History) != 2 || s.Attempts != 2 {
		t.Errorf("%+v", s)
	}
}

// The records of a batch are kept for the retention from the end of the batch, and the
// record of a single room from its own end.
func TestRecordsLiveWithTheirBatch(t *testing.T) {
	f := setup(t, 2)
	f.Ledger = ledger.New(f.rdb, ledger.Options{Retention: time.Hour})
	f.fail(row(1), "InvalidParameter")
	f.fail(single(1), "InvalidParameter")
	f.pack()
	never := []string{keys.Default.Packed("b"), keys.Default.Failed("b"), keys.Default.Rows("b"), keys.Default.Batch("b")}
	for _, key := range never {
		if ttl := f.rdb.PTTL(t.Context(), key).Val(); ttl != -1 {
			t.Errorf("%s expires in %s, and its batch goes on", key, ttl)
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
		t.Error("the record of the single room is dropped before its retention is over")
	}
	if purge(time.Nanosecond) {
		t.Error("the record of the single room stays after its retention")
	}
	f.fail(row(2), "InvalidParameter")
	for _, pack := range []bool{false, true} { // the last one is packed after the end
		if pack {
			f.pack()
		}
		for _, key := range never {
			if ttl := f.rdb.PTTL(t.Context(), key).Val(); ttl < 59*time.Minute || ttl > 66*time.Minute {
				t.Errorf("%s expires in %s after the end", key, ttl)
			}
		}
	}
	f.retry(row(1))
	for _, key := range never {
		if ttl := f.rdb.PTTL(t.Context(), key).Val(); ttl != -1 {
			t.Errorf("%s expires in %s, and its batch goes on again", key, ttl)
		}
	}
}

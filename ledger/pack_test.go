package ledger_test

import (
	"testing"

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
		f.Fatalf("%d records are not packed", n)
	}
}

// A packed record of a row or a single room reads as before and can be retried.
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
		t.Errorf("%d hashes are left, want none", n)
	}
	after, err := f.Snapshots(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("records (-before +packed):\n%s", diff)
	}
	if s := after[0]; s.Room.RoomId != 1 || !cmp.Equal(s.Images, images) || len(s.History) != 1 {
		t.Errorf("record = %+v", s)
	}

	if in := f.begin(row(1), "again"); in.Verdict != ledger.Done {
		t.Errorf("Begin() of a packed record = %+v, want %s", in, ledger.Done)
	}
	if state := f.cancel(row(2)); state != ledger.Failed {
		t.Errorf("Cancel() of a packed record = %s, want %s", state, ledger.Failed)
	}
	if f.retry(row(1)) || !f.retry(row(2)) || !f.retry(row(3)) || !f.retry(single(1)) {
		t.Error("Retry() must succeed for failed and canceled snapshots only")
	}
	if in := f.begin(row(2), "second"); in.Verdict != ledger.Send || in.Attempt != 2 || in.Failures != 0 {
		t.Errorf("Begin() after a retry = %+v", in)
	}
	f.outcome(row(2), 2, accepted("t2"))
	if s := f.record(row(2)); s.TaskID != "t2" || len(s.History) != 2 || s.Attempts != 2 {
		t.Errorf("record = %+v", s)
	}
}

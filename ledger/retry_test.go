package ledger_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func TestRetry(t *testing.T) {
	t.Run("of a failed snapshot reopens its batch", func(t *testing.T) {
		f := open(t, 2)
		f.feed(2)
		f.fail(row(1), "InvalidParameter")
		f.fail(row(2), "InvalidParameter")
		if !f.batch().Ended() {
			t.Fatal("the batch has not ended")
		}
		if !f.retry(row(2)) || f.retry(row(2)) {
			t.Error("Retry() did not succeed exactly once")
		}
		f.wantCounts(ledger.Batch{Total: 2, Queued: 1, Failed: 1})
		if b := f.batch(); b.Ended() || f.rdb.TTL(t.Context(), keys.Default.Batch("b")).Val() >= 0 ||
			f.rdb.TTL(t.Context(), keys.Default.Snapshot("b.2")).Val() >= 0 {
			t.Errorf("the batch has ended or expires: %+v", b)
		}
		if stuck, _ := f.Stuck(t.Context(), 0, 10); len(stuck) != 0 {
			t.Errorf("Stuck() = %+v, want none: a retried row waits for the turn of its batch", stuck)
		}
		if ids := f.feed(5); !slices.Equal(ids, []string{"b.2"}) {
			t.Errorf("fed = %v", ids)
		}
		if in := f.begin(row(2), "y"); in.Verdict != ledger.Send || in.Attempt != 2 || in.Failures != 0 {
			t.Errorf("Begin() = %+v", in)
		}
	})

	t.Run("is checked by the sweeper from the first attempt on, also if sending is stopped",
		func(t *testing.T) {
			f := open(t, 1)
			f.feed(1)
			f.fail(row(1), "InvalidParameter")
			f.retry(row(1))
			f.feed(1)
			f.stop()
			f.wantVerdict(row(1), "y", ledger.Stopped)
			if n := f.rdb.ZCard(t.Context(), keys.Default.Open()).Val(); n != 1 {
				t.Errorf("%d snapshots in the open set, want 1", n)
			}
		})

	t.Run("is not delayed by a pause that ended with the batch", func(t *testing.T) {
		f := open(t, 1)
		f.feed(1)
		pause := func() {
			t.Helper()
			if err := backlog.New(f.rdb, keys.Default).Pause(t.Context(), "b"); err != nil {
				t.Fatal(err)
			}
		}
		pause()
		if b := f.batch(); b.State != "paused" {
			t.Errorf("batch = %+v", b)
		}
		f.fail(row(1), "InvalidParameter")
		pause() // no effect after the end
		if b := f.batch(); b.State != "ended" || b.Paused {
			t.Errorf("batch = %+v", b)
		}
		f.retry(row(1))
		if ids := f.feed(5); !slices.Equal(ids, []string{"b.1"}) {
			t.Errorf("fed = %v", ids)
		}
	})

	t.Run("of one snapshot of a canceled batch leaves the others canceled", func(t *testing.T) {
		f := open(t, 5)
		f.feed(2)
		f.cancelBatch()
		f.wantVerdict(row(1), "x", ledger.Done)
		for _, p := range []tasks.SnapshotPayload{row(1), row(4)} { // one with a record, one without
			if !f.retry(p) || f.retry(p) {
				t.Errorf("Retry(%s) did not succeed exactly once", p.ID)
			}
		}
		f.wantVerdict(row(2), "x", ledger.Done)
		if ids := f.feed(5); !slices.Equal(ids, []string{"b.1", "b.4"}) {
			t.Errorf("fed = %v", ids)
		}
		f.wantVerdict(row(1), "y", ledger.Send)
		if s := f.record(row(4)); s.State != ledger.Queued || s.Room.RoomId != 4 {
			t.Errorf("record = %+v", s)
		}
		f.wantCounts(ledger.Batch{Total: 5, Queued: 1, Sending: 1, Canceled: 3})

		if n := f.cancelBatch(); n != 0 { // the second cancel also covers the retried ones
			t.Errorf("CancelBatch() = %d, want 0", n)
		}
		f.wantVerdict(row(4), "y", ledger.Done)
		f.outcome(row(1), 1, unknown)
		f.wantVerdict(row(1), "z", ledger.Done)
		if b := f.batch(); b.Canceled != 5 || !b.Ended() || !b.CanceledUnfed(3) || b.CanceledUnfed(2) {
			t.Errorf("batch = %+v", b)
		}
	})

	t.Run("of a held snapshot sends it, also if sending is stopped at first", func(t *testing.T) {
		f := open(t, 1)
		f.Ledger = holdUnknown(f)
		single := tasks.SnapshotPayload{ID: "s-1", Room: tasks.Room{SdkAppId: 1, RoomId: 7}}
		f.feed(1)
		for _, p := range []tasks.SnapshotPayload{row(1), single} {
			f.begin(p, "x")
			f.outcome(p, 1, unknown)
			f.wantVerdict(p, "y", ledger.Done)
			f.wantVerdict(p, "y", ledger.Done)
			if s := f.record(p); !s.Held || s.State != ledger.Unknown {
				t.Errorf("record = %+v", s)
			}
			var held []string
			for s, err := range f.Held(t.Context(), p.Batch) {
				held = append(held, fmt.Sprint(s.ID, err))
			}
			if diff := cmp.Diff([]string{p.ID + "<nil>"}, held); diff != "" {
				t.Errorf("Held() (-want +got):\n%s", diff)
			}
			if !f.retry(p) || f.retry(p) {
				t.Errorf("Retry(%s) did not succeed exactly once", p.ID)
			}
			if s := f.record(p); s.Held {
				t.Errorf("record = %+v", s)
			}
		}
		if ids := f.feed(5); !slices.Equal(ids, []string{"b.1"}) {
			t.Errorf("fed = %v", ids)
		}
		f.stop()
		f.wantVerdict(row(1), "z", ledger.Stopped)
		f.start()
		f.wantVerdict(row(1), "z", ledger.Send)
		f.outcome(row(1), 2, unknown)
		f.wantVerdict(row(1), "a", ledger.Done) // held again: each retry allows one request
		if s := f.record(row(1)); !s.Held {
			t.Errorf("record = %+v", s)
		}
	})

	t.Run("of a held snapshot that was canceled queues it", func(t *testing.T) {
		f := open(t, 1)
		f.Ledger = holdUnknown(f)
		f.feed(1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.begin(row(1), "y")
		if state := f.cancel(row(1)); state != ledger.Canceled {
			t.Errorf("Cancel() = %s", state)
		}
		f.retry(row(1))
		f.wantVerdict(row(1), "z", ledger.Send)
	})

	t.Run("is refused while in progress and after success", func(t *testing.T) {
		f := open(t, 2)
		f.begin(row(1), "x")
		f.begin(row(2), "x")
		f.outcome(row(2), 1, accepted("t2"))
		if f.retry(row(1)) || f.retry(row(2)) {
			t.Error("Retry() succeeded")
		}
	})
}

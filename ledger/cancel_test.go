package ledger_test

import (
	"errors"
	"slices"
	"testing"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func TestCancel(t *testing.T) {
	t.Run("before the first attempt", func(t *testing.T) {
		f := open(t, 2)
		if state := f.cancel(row(1)); state != ledger.Canceled {
			t.Errorf("Cancel() = %s", state)
		}
		f.feed(2)
		f.wantVerdict(row(1), "x", ledger.Done)
		f.wantVerdict(row(2), "x", ledger.Send)
		f.wantCounts(ledger.Batch{Total: 2, Sending: 1, Canceled: 1})
	})

	t.Run("with a request in flight, without another request", func(t *testing.T) {
		f := open(t, 3)
		for n := 1; n <= 3; n++ {
			f.begin(row(n), "x")
			if state := f.cancel(row(n)); state != ledger.Sending {
				t.Errorf("Cancel() = %s", state)
			}
		}
		f.outcome(row(1), 1, unknown)
		f.outcome(row(2), 1, ledger.Outcome{State: ledger.Queued, Code: "RequestLimitExceeded"})
		f.outcome(row(3), 1, accepted("t3"))
		f.wantCounts(ledger.Batch{Total: 3, Accepted: 1, Canceled: 2})
	})

	t.Run("is refused after acceptance and after the end", func(t *testing.T) {
		f := open(t, 2)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		f.begin(row(2), "x")
		f.outcome(row(2), 1, ledger.Outcome{State: ledger.Failed, Code: "InvalidParameter"})
		if a, b := f.cancel(row(1)), f.cancel(row(2)); a != ledger.Accepted || b != ledger.Failed {
			t.Errorf("Cancel() = %s and %s, want %s and %s", a, b, ledger.Accepted, ledger.Failed)
		}
		f.wantCounts(ledger.Batch{Total: 2, Accepted: 1, Failed: 1})
	})
}

func TestCancelBatch(t *testing.T) {
	t.Run("at once what was not fed, the rest when workers begin it", func(t *testing.T) {
		f := open(t, 10)
		f.feed(4)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		f.begin(row(2), "x")
		f.begin(row(3), "x")
		f.outcome(row(3), 1, unknown)
		if n := f.cancelBatch(); n != 6 {
			t.Errorf("CancelBatch() = %d, want 6", n)
		}
		f.wantCounts(ledger.Batch{Total: 10, Accepted: 1, Sending: 1, Unknown: 1, Queued: 1, Canceled: 6})
		if ids := f.feed(5); len(ids) != 0 {
			t.Errorf("fed = %v after CancelBatch(), want none", ids)
		}
		f.outcome(row(2), 1, unknown)
		for n := 2; n <= 4; n++ {
			f.wantVerdict(row(n), "y", ledger.Done)
		}
		f.wantCounts(ledger.Batch{Total: 10, Accepted: 1, Canceled: 9})
		if err := f.Settle(t.Context(), row(1).ID, "t1", ledger.Result{State: ledger.Succeeded}); err != nil {
			t.Fatal(err)
		}
		if b := f.batch(); !b.Ended() || b.CanceledUnfed(4) || !b.CanceledUnfed(5) {
			t.Errorf("batch = %+v", b)
		}
		if n := f.cancelBatch(); n != 0 {
			t.Errorf("CancelBatch() after the end = %d, want 0", n)
		}
	})

	t.Run("counts rows that were canceled before once", func(t *testing.T) {
		f := open(t, 10)
		f.cancel(row(1))
		f.cancel(row(7))
		f.cancel(row(8))
		if fed := f.feed(2); !slices.Equal(fed, []string{"b.2", "b.3"}) {
			t.Errorf("fed = %v, want the rows that were not canceled", fed)
		}
		if n := f.cancelBatch(); n != 5 { // 4 to 6, 9 and 10
			t.Errorf("CancelBatch() = %d, want 5", n)
		}
		f.cancel(row(9)) // it is canceled already
		f.wantCounts(ledger.Batch{Total: 10, Queued: 2, Canceled: 8})
		for n := 1; n <= 3; n++ {
			f.wantVerdict(row(n), "x", ledger.Done)
		}
		if b := f.batch(); b.Canceled != 10 || !b.Ended() {
			t.Errorf("batch = %+v", b)
		}
	})

	t.Run("only ends the pause if every snapshot is accepted or has ended", func(t *testing.T) {
		f := open(t, 1)
		f.feed(1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		if err := backlog.New(f.rdb, keys.Default).Pause(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		if n := f.cancelBatch(); n != 0 {
			t.Errorf("CancelBatch() = %d, want 0", n)
		}
		if b := f.batch(); b.CanceledFrom != 0 || b.Paused {
			t.Errorf("batch = %+v", b)
		}
	})

	t.Run("ends snapshots that are held or wait for their application", func(t *testing.T) {
		f := open(t, 3)
		f.Ledger = holdUnknown(f)
		f.feed(3)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.wantVerdict(row(1), "y", ledger.Done) // held
		f.suspend()
		f.wantVerdict(row(2), "x", ledger.Done) // waits for its application
		f.wantVerdict(row(3), "x", ledger.Done)
		f.cancel(row(3))
		if n := f.cancelBatch(); n != 2 {
			t.Errorf("CancelBatch() = %d, want 2", n)
		}
		if b := f.batch(); b.Canceled != 3 || !b.Ended() {
			t.Errorf("batch = %+v", b)
		}
		for s, err := range f.Held(t.Context(), "b") {
			t.Errorf("Held() returned %+v, %v, want none", s, err)
		}
	})

	t.Run("of a paused batch with retried snapshots", func(t *testing.T) {
		f := open(t, 3)
		f.feed(1)
		f.fail(row(1), "InvalidParameter")
		f.retry(row(1))
		if err := backlog.New(f.rdb, keys.Default).Pause(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		f.cancelBatch()
		f.cancelBatch() // the second call changes nothing
		if ids := f.feed(5); !slices.Equal(ids, []string{"b.1"}) {
			t.Errorf("fed = %v", ids)
		}
		f.wantVerdict(row(1), "y", ledger.Done)
		if b := f.batch(); b.Canceled != 3 || !b.Ended() || b.Paused {
			t.Errorf("batch = %+v", b)
		}
	})
}

func TestCancelOfAnUnknownRow(t *testing.T) {
	for _, id := range []string{"b.3", "none.1"} {
		f := open(t, 2)
		if state, err := f.Cancel(t.Context(), id, tasks.Room{}); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("Cancel(%s) = %s, %v, want ErrNotFound", id, state, err)
		}
		f.cancelBatch()
		if ok, err := f.Retry(t.Context(), id, tasks.Room{}); ok || err != nil {
			t.Errorf("Retry(%s) = %t, %v, want false", id, ok, err)
		}
		f.wantCounts(ledger.Batch{Total: 2, Canceled: 2})
	}
}

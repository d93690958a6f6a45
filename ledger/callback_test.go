package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
)

func TestCallback(t *testing.T) {
	// patient returns a ledger that polls an accepted task after an hour. Its grace is two minutes.
	patient := func(t *testing.T) fixture {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{
			Busy: 10 * time.Second, Grace: 2 * time.Minute, ConfirmAfter: time.Hour, Retention: time.Hour,
		})
		return f
	}

	t.Run("before the answer is recorded, and the answer is accepted", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.callback(row(1), 1, "t1")
		if due := f.due(); len(due) != 0 {
			t.Errorf("due = %+v while the request is in flight, want none", due)
		}
		f.outcome(row(1), 1, accepted("t1"))
		s := f.record(row(1))
		if s.State != ledger.Accepted || s.TaskID != "t1" || len(s.ExtraTasks)+len(s.ReportedTasks) != 0 || s.Callbacks != 1 {
			t.Errorf("record = %+v", s)
		}
	})

	t.Run("before a lost answer starts a poll at once", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.callback(row(1), 1, "t1")
		f.outcome(row(1), 1, unknown)
		if due := f.due(); len(due) != 1 || due[0].ReportedTasks[1] != "t1" || due[0].State != ledger.Unknown {
			t.Errorf("due = %+v", due)
		}
	})

	t.Run("of a dead worker's request starts a poll when the request is given up", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.callback(row(1), 1, "t1")
		f.backdate(row(1))
		f.wantVerdict(row(1), "y", ledger.Wait)
		if due := f.due(); len(due) != 1 || due[0].ReportedTasks[1] != "t1" {
			t.Errorf("due = %+v", due)
		}
	})

	t.Run("of an unknown outcome is claimed after Tencent confirms it", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.callback(row(1), 1, "t1")
		if due := f.due(); len(due) != 1 {
			t.Fatalf("due = %+v", due)
		}
		if err := f.claimTask(row(1), 1, "t1"); err != nil {
			t.Fatal(err)
		}
		s := f.record(row(1))
		if s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 ||
			len(s.ExtraTasks)+len(s.ReportedTasks) != 0 {
			t.Errorf("record = %+v", s)
		}
		f.wantVerdict(row(1), "y", ledger.Done)
	})

	t.Run("prevents a new request until its task was polled", func(t *testing.T) {
		f := setup(t, 1) // no grace
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.callback(row(1), 1, "t1")
		f.wantVerdict(row(1), "y", ledger.Wait)
		due := f.due()
		f.wantVerdict(row(1), "y", ledger.Wait)
		f.discard(due[0])
		f.wantVerdict(row(1), "y", ledger.Send)
	})

	t.Run("prevents a failure until the task of the earlier request was polled", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.begin(row(1), "y")
		f.callback(row(1), 1, "t1")
		f.outcome(row(1), 2, ledger.Outcome{State: ledger.Failed, Code: "InvalidParameter"})
		if s := f.record(row(1)); s.State != ledger.Unknown || !f.inSet(keys.Default.Confirm(), row(1)) {
			t.Errorf("record = %+v", s)
		}
		if err := f.claimTask(row(1), 1, "t1"); err != nil {
			t.Fatal(err)
		}
		if s := f.record(row(1)); s.State != ledger.Accepted || s.TaskID != "t1" || s.Code != "" {
			t.Errorf("record = %+v", s)
		}
	})

	t.Run("without a TaskID does not end the grace of an unknown outcome", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.callback(row(1), 1, "")
		if s := f.record(row(1)); s.State != ledger.Unknown || s.Callbacks != 1 || len(f.due()) != 0 {
			t.Errorf("record = %+v", s)
		}
	})

	// The body of a snapshot callback is not documented.
	for _, task := range []string{"t1", "", "something-else"} {
		t.Run("after acceptance makes the poll due, TaskID "+task, func(t *testing.T) {
			f := patient(t)
			f.begin(row(1), "x")
			f.outcome(row(1), 1, accepted("t1"))
			if due := f.due(); len(due) != 0 {
				t.Fatalf("due = %+v before the callback, want none", due)
			}
			f.callback(row(1), 1, task)
			if due := f.due(); len(due) != 1 || due[0].TaskID != "t1" || len(due[0].ExtraTasks) != 0 {
				t.Errorf("due = %+v", due)
			}
		})
	}

	t.Run("repeated ten times concurrently counts as one task", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		var g errgroup.Group
		for range 10 {
			g.Go(func() error { return f.Callback(t.Context(), row(1).ID, 1, "t1", nil) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if due := f.due(); len(due) != 1 || len(f.due()) != 0 {
			t.Errorf("due = %+v", due)
		}
		if s := f.record(row(1)); s.Callbacks != 10 || len(s.ReportedTasks) != 1 {
			t.Errorf("record = %+v", s)
		}
		f.wantCounts(ledger.Batch{Total: 1, Unknown: 1})
	})

	t.Run("after the end only adds an extra task", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.backdate(row(1))
		f.rdb.HSet(t.Context(), keys.Default.Snapshot(row(1).ID), "sent_at", 1)
		f.begin(row(1), "y")
		f.outcome(row(1), 2, accepted("t2"))
		f.settle(row(1), "t2", ledger.Succeeded)
		for range 2 {
			f.callback(row(1), 2, "t2")
			f.callback(row(1), 1, "t1")
			f.pack()
		}
		s := f.record(row(1))
		if s.State != ledger.Succeeded || s.TaskID != "t2" || len(f.due()) != 0 {
			t.Errorf("record = %+v", s)
		}
		if diff := cmp.Diff(map[int]string{1: "t1"}, s.ExtraTasks); diff != "" {
			t.Errorf("ExtraTasks (-want +got):\n%s", diff)
		}
		if ttl := f.rdb.TTL(t.Context(), keys.Default.Packed("b")).Val(); ttl <= 0 {
			t.Error("the packed record does not expire")
		}
	})

	t.Run("of a canceled snapshot makes the poll due after a retry", func(t *testing.T) {
		f := patient(t)
		f.begin(single(1), "x")
		f.outcome(single(1), 1, unknown)
		f.cancel(single(1))
		f.callback(single(1), 1, "t1")
		if s := f.record(single(1)); s.State != ledger.Canceled || s.ExtraTasks[1] != "t1" || len(f.due()) != 0 {
			t.Errorf("record = %+v", s)
		}
		f.retry(single(1))
		f.wantVerdict(single(1), "y", ledger.Wait)
		if due := f.due(); len(due) != 1 || due[0].ReportedTasks[1] != "t1" {
			t.Errorf("due = %+v", due)
		}
	})

	t.Run("does not replace a task that Tencent has returned", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.cancel(row(1))
		if err := f.claimTask(row(1), 1, "t1"); !errors.Is(err, ledger.ErrLate) { // the answer comes from a spool
			t.Fatal(err)
		}
		f.callback(row(1), 1, "forged")
		if diff := cmp.Diff(map[int]string{1: "t1"}, f.record(row(1)).ExtraTasks); diff != "" {
			t.Errorf("ExtraTasks (-want +got):\n%s", diff)
		}
	})

	t.Run("keeps 4 KiB of the body", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		if err := f.Callback(t.Context(), row(1).ID, 1, "", make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if n := f.rdb.HStrLen(t.Context(), keys.Default.Snapshot(row(1).ID), "callback:1").Val(); n != 4<<10 {
			t.Errorf("the stored body has %d bytes, want 4096", n)
		}
	})

	t.Run("of an expired record stores nothing", func(t *testing.T) {
		f := patient(t)
		f.rdb.FlushDB(t.Context())
		f.callback(row(1), 1, "t1")
		if n := f.rdb.Exists(t.Context(), keys.Default.Snapshot(row(1).ID), keys.Default.Confirm()).Val(); n != 0 {
			t.Error("the callback created a record")
		}
	})
}

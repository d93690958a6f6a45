package ledger_test

import (
	"testing"
	"time"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func TestGrace(t *testing.T) {
	setupGrace := func(t *testing.T) fixture {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{Busy: 10 * time.Second, Grace: 2 * time.Minute, Retention: time.Hour})
		return f
	}
	// setAge sets the age of an unknown outcome.
	setAge := func(f fixture, p tasks.SnapshotPayload, d time.Duration) {
		f.Helper()
		if err := f.rdb.HSet(f.Context(), keys.Default.Snapshot(p.ID), "unknown_at",
			time.Now().Add(-d).UnixMilli()).Err(); err != nil {
			f.Fatal(err)
		}
	}
	wantWait := func(f fixture, in ledger.Intent, least, most time.Duration) {
		f.Helper()
		if in.Verdict != ledger.Wait || in.Wait < least || in.Wait > most {
			f.Errorf("Begin() = %+v, want to wait %s to %s", in, least, most)
		}
	}

	t.Run("starts at the outcome, and then a retry counts as a possible duplicate", func(t *testing.T) {
		f := setupGrace(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		wantWait(f, f.begin(row(1), "y"), 110*time.Second, 2*time.Minute)
		setAge(f, row(1), 119*time.Second)
		wantWait(f, f.begin(row(1), "y"), 0, time.Second)
		setAge(f, row(1), 2*time.Minute)
		f.wantVerdict(row(1), "y", ledger.Send)
		f.outcome(row(1), 2, accepted("t2"))
		if s, b := f.record(row(1)), f.batch(); s.PossibleDuplicates != 1 || b.PossibleDuplicates != 1 {
			t.Errorf("record = %+v, batch = %+v", s, b)
		}
	})

	t.Run("starts at the request of a dead worker, which counts as a failure with a code", func(t *testing.T) {
		f := setupGrace(t)
		f.begin(row(1), "x")
		f.rdb.HSet(t.Context(), keys.Default.Snapshot(row(1).ID), "sent_at", time.Now().Add(-time.Minute).UnixMilli())
		wantWait(f, f.begin(row(1), "y"), 55*time.Second, time.Minute)
		if s := f.record(row(1)); s.State != ledger.Unknown || s.Code != "ClientError.WorkerLost" {
			t.Errorf("record = %+v", s)
		}
		setAge(f, row(1), 2*time.Minute)
		if in := f.begin(row(1), "y"); in.Verdict != ledger.Send || in.Failures != 1 {
			t.Errorf("Begin() = %+v", in)
		}
	})

	t.Run("of the last attempt ends in a failure without another request", func(t *testing.T) {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{Grace: 2 * time.Minute, Attempts: 1, Retention: time.Hour})
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.wantVerdict(row(1), "y", ledger.Wait)
		setAge(f, row(1), 2*time.Minute)
		f.wantVerdict(row(1), "y", ledger.Done)
		s := f.record(row(1))
		if s.State != ledger.Failed || s.Attempts != 1 || s.PossibleDuplicates != 0 ||
			s.Code != "InternalError" || s.Message != "attempts used up, a task may exist: m" {
			t.Errorf("record = %+v", s)
		}
		f.wantCounts(ledger.Batch{Total: 1, Failed: 1})
		f.callback(row(1), 1, "t1") // too late
		if s := f.record(row(1)); s.State != ledger.Failed || s.ExtraTasks[1] != "t1" {
			t.Errorf("record = %+v", s)
		}
	})

	t.Run("is not shortened by cancel and retry", func(t *testing.T) {
		f := setupGrace(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.cancel(row(1))
		f.retry(row(1))
		wantWait(f, f.begin(row(1), "y"), 110*time.Second, 2*time.Minute)
	})

	t.Run("does not apply to a throttled request", func(t *testing.T) {
		f := setupGrace(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		setAge(f, row(1), 2*time.Minute)
		f.begin(row(1), "y")
		f.outcome(row(1), 2, throttled)
		f.wantVerdict(row(1), "z", ledger.Send)
	})
}

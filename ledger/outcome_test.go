package ledger_test

import (
	"errors"
	"testing"
	"time"

	"tiwsnap/ledger"
)

func TestOutcome(t *testing.T) {
	t.Run("is idempotent", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		f.outcome(row(1), 1, accepted("t1"))
		if b := f.batch(); b.Accepted != 1 || b.PossibleDuplicates != 0 {
			t.Errorf("batch = %+v", b)
		}
	})

	t.Run("costs an attempt unless it was throttled", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "a")
		f.outcome(row(1), 1, ledger.Outcome{State: ledger.Queued, Code: "RequestLimitExceeded"})
		if in := f.begin(row(1), "b"); in.Failures != 0 || in.Attempt != 2 {
			t.Errorf("Begin() after throttling = %+v", in)
		}
		f.outcome(row(1), 2, unknown)
		if in := f.begin(row(1), "c"); in.Failures != 1 || in.Attempt != 3 {
			t.Errorf("Begin() after an unknown outcome = %+v", in)
		}
	})

	t.Run("counts each request after the first that may have created a task as a possible duplicate", func(t *testing.T) {
		f := setup(t, 1)
		for i, o := range []ledger.Outcome{
			unknown,
			{State: ledger.Queued, Costs: true, Code: "ClientError.NetworkError"}, // known not to be sent
			unknown,
			{State: ledger.Queued, Code: "RequestLimitExceeded"},
			accepted("t5"),
		} {
			f.begin(row(1), string(rune('a'+i)))
			f.outcome(row(1), i+1, o)
		}
		if s, b := f.record(row(1)), f.batch(); s.PossibleDuplicates != 2 || b.PossibleDuplicates != 2 || s.Attempts != 5 {
			t.Errorf("record = %+v, batch = %+v", s, b)
		}
	})

	t.Run("of an older attempt only keeps its TaskID", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "zombie")
		f.backdate(row(1))
		f.begin(row(1), "y")
		if err := f.Outcome(t.Context(), row(1).ID, 1, unknown); !errors.Is(err, ledger.ErrLate) {
			t.Errorf("late unknown outcome: error = %v, want ErrLate", err)
		}
		if err := f.Outcome(t.Context(), row(1).ID, 1, accepted("t1")); !errors.Is(err, ledger.ErrLate) {
			t.Errorf("late acceptance: error = %v, want ErrLate", err)
		}
		f.outcome(row(1), 2, accepted("t2"))
		s := f.record(row(1))
		if s.TaskID != "t2" || s.ExtraTasks[1] != "t1" || s.PossibleDuplicates != 1 {
			t.Errorf("record = %+v", s)
		}
	})

	t.Run("that is late counts if no request was sent since", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "a")
		f.outcome(row(1), 1, unknown)
		f.outcome(row(1), 1, accepted("t1"))
		s, b := f.record(row(1)), f.batch()
		if s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 || b.Accepted != 1 || b.Unknown != 0 {
			t.Errorf("record = %+v, batch = %+v", s, b)
		}
	})
}

// An answer may arrive after the state of the record has changed. Its TaskID is kept, and no second task is created
// beside a known one.
func TestLateAnswers(t *testing.T) {
	wantLate := func(f fixture, attempt int, task string) {
		f.Helper()
		if err := f.Outcome(f.Context(), row(1).ID, attempt, accepted(task)); !errors.Is(err, ledger.ErrLate) {
			f.Errorf("Outcome() of attempt %d: error = %v, want ErrLate", attempt, err)
		}
	}

	t.Run("of the newest attempt, after an older one was accepted", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.backdate(row(1))
		f.begin(row(1), "y")
		f.backdate(row(1))
		f.Ledger = ledger.New(f.rdb, ledger.Options{Busy: 10 * time.Second, Hold: true})
		f.wantVerdict(row(1), "z", ledger.Done)
		f.outcome(row(1), 1, accepted("t1"))
		wantLate(f, 2, "t2")
		if s := f.record(row(1)); s.TaskID != "t1" || s.ExtraTasks[2] != "t2" {
			t.Errorf("record = %+v", s)
		}
	})

	for end, finish := range map[string]func(f fixture){
		"canceled": func(f fixture) {
			f.cancel(row(1))
			f.backdate(row(1))
			f.wantVerdict(row(1), "y", ledger.Done)
		},
		"failed": func(f fixture) {
			f.outcome(row(1), 1, ledger.Outcome{State: ledger.Failed})
		},
	} {
		t.Run("of a "+end+" snapshot names its task after a retry", func(t *testing.T) {
			f := setup(t, 1)
			f.begin(row(1), "x")
			finish(f)
			if s := f.record(row(1)); string(s.State) != end {
				t.Fatalf("record = %+v", s)
			}
			wantLate(f, 1, "t1")
			f.retry(row(1))
			f.wantVerdict(row(1), "z", ledger.Done)
			if s := f.record(row(1)); s.State != ledger.Accepted || s.TaskID != "t1" {
				t.Errorf("record = %+v", s)
			}
		})
	}
}

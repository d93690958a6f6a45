package ledger_test

import (
	"errors"
	"testing"
	"time"

	"tiwsnap/ledger"
)

// An answer may come after the record has moved on. Its TaskID is not lost, and no
// second task is made beside a known one.
func TestLateAnswers(t *testing.T) {
	late := func(f fixture, attempt int, task string) {
		f.Helper()
		if err := f.Outcome(f.Context(), row(1).ID, attempt, accepted(task)); !errors.Is(err, ledger.ErrLate) {
			f.Errorf("attempt %d: %v, want ErrLate", attempt, err)
		}
	}

	t.Run("of the newest attempt, when an older one was accepted meanwhile", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.cutOff(row(1))
		f.begin(row(1), "y")
		f.cutOff(row(1))
		f.Ledger = ledger.New(f.rdb, ledger.Options{Busy: 10 * time.Second, Hold: true})
		f.verdict(row(1), "z", ledger.Done)
		f.outcome(row(1), 1, accepted("t1"))
		late(f, 2, "t2")
		if s := f.record(row(1)); s.TaskID != "t1" || s.ExtraTasks[2] != "t2" {
			t.Errorf("%+v", s)
		}
	})

	for end, finish := range map[string]func(f fixture){
		"canceled": func(f fixture) {
			f.cancel(row(1))
			f.cutOff(row(1))
			f.verdict(row(1), "y", ledger.Done)
		},
		"failed": func(f fixture) {
			f.outcome(row(1), 1, ledger.Outcome{State: ledger.Failed})
		},
	} {
		t.Run("of a snapshot that was "+end+" is its task when it is retried", func(t *testing.T) {
			f := setup(t, 1)
			f.begin(row(1), "x")
			finish(f)
			if s := f.record(row(1)); string(s.State) != end {
				t.Fatalf("%+v", s)
			}
			late(f, 1, "t1")
			f.retry(row(1))
			f.verdict(row(1), "z", ledger.Done)
			if s := f.record(row(1)); s.State != ledger.Accepted || s.TaskID != "t1" {
				t.Errorf("%+v", s)
			}
		})
	}
}

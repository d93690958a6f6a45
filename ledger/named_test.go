package ledger_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func (f fixture) named(p tasks.SnapshotPayload, attempt int, task string) {
	f.Helper()
	if err := f.Callback(f.Context(), p.ID, attempt, task, []byte("{}")); err != nil {
		f.Fatal(err)
	}
}

// dueIDs returns the ids of the snapshots that are due for a poll.
func (f fixture) dueIDs() []string {
	f.Helper()
	var ids []string
	for _, s := range f.due() {
		ids = append(ids, s.ID)
	}
	return ids
}

func TestNamedTask(t *testing.T) {
	t.Run("a task that a callback has named is asked about before anything is sent again", func(t *testing.T) {
		f := setup(t, 1)
		p := row(1)
		f.begin(p, "x")
		f.named(p, 1, "t1")
		f.cutOff(p) // its worker died, and asynq runs the task again long after any grace
		if in := f.begin(p, "y"); in.Verdict != ledger.Wait {
			t.Fatalf("begun again: %+v", in)
		}
		if diff := cmp.Diff([]string{p.ID}, f.dueIDs()); diff != "" {
			t.Fatalf("to be asked about: %s", diff)
		}
		f.outcome(p, 1, accepted("t1"))
		if in := f.begin(p, "z"); in.Verdict != ledger.Done {
			t.Errorf("begun after its task was claimed: %+v", in)
		}
		if s := f.record(p); s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 ||
			len(s.ReportedTasks) != 0 {
			t.Errorf("after the claim: %+v", s)
		}
	})

	t.Run("a task that Tencent does not know is sent again", func(t *testing.T) {
		f := setup(t, 1)
		p := row(1)
		f.begin(p, "x")
		f.named(p, 1, "forged")
		f.cutOff(p)
		f.begin(p, "y")
		f.discard(f.record(p))
		if in := f.begin(p, "z"); in.Verdict != ledger.Send || in.Attempt != 2 {
			t.Errorf("begun again: %+v", in)
		}
	})

	t.Run("the task of a dead worker is claimed before asynq knows that it is dead", func(t *testing.T) {
		f := setup(t, 1)
		p := row(1)
		f.begin(p, "x")
		f.named(p, 1, "t1")
		if diff := cmp.Diff([]string{p.ID}, f.dueIDs()); diff != "" {
			t.Fatalf("to be asked about: %s", diff)
		}
		f.outcome(p, 1, accepted("t1"))
		f.outcome(p, 1, accepted("t1")) // the worker was only slow
		if s := f.record(p); s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 {
			t.Errorf("after the claim: %+v", s)
		}
	})

	t.Run("an answer that comes after its callback is asked about at once", func(t *testing.T) {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{ConfirmAfter: time.Hour})
		p := row(1)
		f.begin(p, "x")
		f.named(p, 1, "t1")
		if ids := f.dueIDs(); ids != nil {
			t.Fatalf("to be asked about while the answer is on its way: %v", ids)
		}
		f.outcome(p, 1, accepted("t1"))
		if diff := cmp.Diff([]string{p.ID}, f.dueIDs()); diff != "" {
			t.Errorf("to be asked about: %s", diff)
		}
	})

	t.Run("of two tasks that callbacks have named one is an extra", func(t *testing.T) {
		f := setup(t, 1)
		p := row(1)
		f.begin(p, "x")
		f.outcome(p, 1, unknown)
		f.begin(p, "y")
		f.named(p, 1, "t1")
		f.named(p, 2, "t2")
		f.outcome(p, 2, accepted("t2"))
		s := f.record(p)
		if diff := cmp.Diff(map[int]string{1: "t1"}, s.ExtraTasks); s.TaskID != "t2" || diff != "" ||
			len(s.ReportedTasks) != 0 || s.PossibleDuplicates != 1 {
			t.Errorf("after both: %+v %s", s, diff)
		}
	})
}

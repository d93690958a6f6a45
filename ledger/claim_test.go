package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func TestTaskOfAnOlderAttempt(t *testing.T) {
	// secondInFlight returns a snapshot whose second request is in flight. Its first request, of unknown outcome, has
	// created task t1.
	secondInFlight := func(t *testing.T) fixture {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.begin(row(1), "y")
		f.callback(row(1), 1, "t1")
		if due := f.due(); len(due) != 1 || due[0].ReportedTasks[1] != "t1" {
			t.Fatalf("due = %+v", due)
		}
		if err := f.claimTask(row(1), 1, "t1"); !errors.Is(err, ledger.ErrLate) {
			t.Fatalf("ClaimTask() with another request in flight: error = %v, want ErrLate", err)
		}
		return f
	}

	for name, end := range map[string]func(f fixture){
		"is throttled": func(f fixture) { f.outcome(row(1), 2, throttled) },
		"is unknown":   func(f fixture) { f.outcome(row(1), 2, unknown) },
		"fails": func(f fixture) {
			f.outcome(row(1), 2, ledger.Outcome{State: ledger.Failed, Code: "InvalidParameter"})
		},
		"fails and canceled": func(f fixture) { f.cancel(row(1)); f.outcome(row(1), 2, throttled) },
		"is lost":            func(f fixture) { f.backdate(row(1)); f.wantVerdict(row(1), "z", ledger.Done) },
	} {
		t.Run("becomes the task of the snapshot if the newer request "+name, func(t *testing.T) {
			f := secondInFlight(t)
			end(f)
			s := f.record(row(1))
			if s.State != ledger.Accepted || s.TaskID != "t1" || len(s.ExtraTasks)+len(s.ReportedTasks) != 0 || s.Code != "" {
				t.Errorf("record = %+v", s)
			}
			if !f.inSet(keys.Default.Confirm(), row(1)) {
				t.Error("the task is not polled")
			}
		})
	}

	t.Run("becomes an extra task if the newer request is accepted", func(t *testing.T) {
		f := secondInFlight(t)
		f.outcome(row(1), 2, accepted("t2"))
		s := f.record(row(1))
		if s.TaskID != "t2" || s.PossibleDuplicates != 1 {
			t.Errorf("record = %+v", s)
		}
		if diff := cmp.Diff(map[int]string{1: "t1"}, s.ExtraTasks); diff != "" {
			t.Errorf("ExtraTasks (-want +got):\n%s", diff)
		}
	})

	t.Run("stays an extra task after a retry", func(t *testing.T) {
		f := secondInFlight(t)
		f.outcome(row(1), 2, accepted("t2"))
		f.settle(row(1), "t2", ledger.Failed)
		f.retry(row(1))
		f.begin(row(1), "z")
		f.outcome(row(1), 3, throttled)
		if s := f.record(row(1)); s.State != ledger.Queued {
			t.Errorf("the extra task became the task of the snapshot: %+v", s)
		}
		f.begin(row(1), "a")
		f.outcome(row(1), 4, accepted("t4"))
		s := f.record(row(1))
		if s.TaskID != "t4" || s.Answers != 0 {
			t.Errorf("record = %+v", s)
		}
		if diff := cmp.Diff(map[int]string{1: "t1", 2: "t2"}, s.ExtraTasks); diff != "" {
			t.Errorf("ExtraTasks (-want +got):\n%s", diff)
		}
	})
}

func TestDiscardReportedTask(t *testing.T) {
	// polled returns a snapshot of unknown outcome that a worker polls. Its callback has named a task that does not exist.
	polled := func(t *testing.T) (fixture, ledger.Snapshot) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.callback(row(1), 1, "forged")
		due := f.due()
		if len(due) != 1 || due[0].ReportedTasks[1] != "forged" {
			t.Fatalf("due = %+v", due)
		}
		return f, due[0]
	}

	t.Run("ends the polls", func(t *testing.T) {
		f, s := polled(t)
		f.discard(s)
		if f.inSet(keys.Default.Confirm(), row(1)) || len(f.record(row(1)).ReportedTasks) != 0 ||
			!f.inSet(keys.Default.Open(), row(1)) {
			t.Errorf("record after DiscardReportedTask = %+v, want no poll and the sweeper to check it", f.record(row(1)))
		}
	})

	t.Run("keeps a task that was accepted meanwhile", func(t *testing.T) {
		f, s := polled(t)
		f.outcome(row(1), 1, accepted("t1"))
		f.discard(s)
		if !f.inSet(keys.Default.Confirm(), row(1)) {
			t.Error("the accepted task is not polled")
		}
	})

	t.Run("keeps a task that was reported meanwhile", func(t *testing.T) {
		f, s := polled(t)
		f.callback(row(1), 1, "t1")
		f.discard(s)
		if got := f.record(row(1)).ReportedTasks[1]; got != "t1" || !f.inSet(keys.Default.Confirm(), row(1)) {
			t.Errorf("ReportedTasks[1] = %q, want t1", got)
		}
	})
}

func TestClaimTask(t *testing.T) {
	// reported gives row n an unknown outcome and a callback that names a task.
	reported := func(f fixture, n int, task string) {
		f.begin(row(n), "x")
		f.outcome(row(n), 1, unknown)
		f.callback(row(n), 1, task)
	}
	t.Run("rejects the task of another snapshot", func(t *testing.T) {
		f := setup(t, 2)
		f.accept(1)
		task := "t" + row(1).ID
		reported(f, 2, task)
		before := f.record(row(2))
		if err := f.claimTask(row(2), 1, task); !errors.Is(err, ledger.ErrTaken) {
			t.Errorf("ClaimTask(): error = %v, want ErrTaken", err)
		}
		if diff := cmp.Diff(before, f.record(row(2))); diff != "" {
			t.Errorf("record after the rejected claim (-before +after):\n%s", diff)
		}
		f.discard(before)
		if in := f.begin(row(2), "y"); in.Verdict != ledger.Send {
			t.Errorf("Begin() after DiscardReportedTask = %+v, want %s", in, ledger.Send)
		}
	})
	t.Run("rejects a claimed task of a snapshot that has ended", func(t *testing.T) {
		f := setup(t, 3)
		reported(f, 1, "t1")
		if err := f.claimTask(row(1), 1, "t1"); err != nil {
			t.Fatal(err)
		}
		f.settle(row(1), "t1", ledger.Succeeded)
		reported(f, 2, "t1")
		if err := f.claimTask(row(2), 1, "t1"); !errors.Is(err, ledger.ErrTaken) {
			t.Errorf("ClaimTask(): error = %v, want ErrTaken", err)
		}
	})
	t.Run("accepts the same claim twice, and then the answer", func(t *testing.T) {
		f := setup(t, 1)
		reported(f, 1, "t1")
		for range 2 {
			if err := f.claimTask(row(1), 1, "t1"); err != nil {
				t.Errorf("ClaimTask(): %v", err)
			}
		}
		f.outcome(row(1), 1, accepted("t1"))
		if s := f.record(row(1)); s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 {
			t.Errorf("record = %+v", s)
		}
	})
	t.Run("does not restrict the TaskID of an answer", func(t *testing.T) {
		f := setup(t, 2)
		f.accept(1)
		f.begin(row(2), "x")
		f.outcome(row(2), 1, accepted("t"+row(1).ID)) // Tencent has returned the same task twice
		if s := f.record(row(2)); s.State != ledger.Accepted {
			t.Errorf("record = %+v", s)
		}
	})
	t.Run("uses indexes that expire with the records", func(t *testing.T) {
		f := setup(t, 20)
		f.accept(20)
		all, err := f.rdb.Keys(t.Context(), "{tiwsnap}:"+"index:*").Result()
		if err != nil || len(all) == 0 {
			t.Fatalf("%d index keys, %v", len(all), err)
		}
		for _, key := range all {
			if ttl := f.rdb.TTL(t.Context(), key).Val(); ttl < time.Hour || ttl > 50*time.Hour {
				t.Fatalf("%s expires in %s, want 1 to 50 h with a retention of an hour", key, ttl)
			}
		}
	})
}

// reportTask records a callback that names a task.
func (f fixture) reportTask(p tasks.SnapshotPayload, attempt int, task string) {
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

func TestReportedTask(t *testing.T) {
	t.Run("is polled before a new request", func(t *testing.T) {
		f := setup(t, 1)
		p := row(1)
		f.begin(p, "x")
		f.reportTask(p, 1, "t1")
		f.backdate(p) // the worker died, and asynq runs the task again long after any grace
		if in := f.begin(p, "y"); in.Verdict != ledger.Wait {
			t.Fatalf("second Begin() = %+v, want %s", in, ledger.Wait)
		}
		if diff := cmp.Diff([]string{p.ID}, f.dueIDs()); diff != "" {
			t.Fatalf("due (-want +got):\n%s", diff)
		}
		f.outcome(p, 1, accepted("t1"))
		if in := f.begin(p, "z"); in.Verdict != ledger.Done {
			t.Errorf("Begin() after the claim = %+v, want %s", in, ledger.Done)
		}
		if s := f.record(p); s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 ||
			len(s.ReportedTasks) != 0 {
			t.Errorf("record after the claim = %+v", s)
		}
	})

	t.Run("is followed by a new request if Tencent does not know it", func(t *testing.T) {
		f := setup(t, 1)
		p := row(1)
		f.begin(p, "x")
		f.reportTask(p, 1, "forged")
		f.backdate(p)
		f.begin(p, "y")
		f.discard(f.record(p))
		if in := f.begin(p, "z"); in.Verdict != ledger.Send || in.Attempt != 2 {
			t.Errorf("Begin() after DiscardReportedTask = %+v, want %s", in, ledger.Send)
		}
	})

	t.Run("of a dead worker is claimed before asynq notices the death", func(t *testing.T) {
		f := setup(t, 1)
		p := row(1)
		f.begin(p, "x")
		f.reportTask(p, 1, "t1")
		if diff := cmp.Diff([]string{p.ID}, f.dueIDs()); diff != "" {
			t.Fatalf("due (-want +got):\n%s", diff)
		}
		f.outcome(p, 1, accepted("t1"))
		f.outcome(p, 1, accepted("t1")) // the worker was only slow
		if s := f.record(p); s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 {
			t.Errorf("record after the claim = %+v", s)
		}
	})

	t.Run("is polled at once after its answer", func(t *testing.T) {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{ConfirmAfter: time.Hour})
		p := row(1)
		f.begin(p, "x")
		f.reportTask(p, 1, "t1")
		if ids := f.dueIDs(); ids != nil {
			t.Fatalf("due = %v while the request is in flight, want none", ids)
		}
		f.outcome(p, 1, accepted("t1"))
		if diff := cmp.Diff([]string{p.ID}, f.dueIDs()); diff != "" {
			t.Errorf("due (-want +got):\n%s", diff)
		}
	})

	t.Run("becomes an extra task beside the task of the answer", func(t *testing.T) {
		f := setup(t, 1)
		p := row(1)
		f.begin(p, "x")
		f.outcome(p, 1, unknown)
		f.begin(p, "y")
		f.reportTask(p, 1, "t1")
		f.reportTask(p, 2, "t2")
		f.outcome(p, 2, accepted("t2"))
		s := f.record(p)
		if diff := cmp.Diff(map[int]string{1: "t1"}, s.ExtraTasks); s.TaskID != "t2" || diff != "" ||
			len(s.ReportedTasks) != 0 || s.PossibleDuplicates != 1 {
			t.Errorf("record = %+v, ExtraTasks (-want +got):\n%s", s, diff)
		}
	})
}

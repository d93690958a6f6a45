package ledger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// Redis loses all data. The same batch is enqueued again, while workers still have requests and tasks of the lost one.
// The batch ends, and no count is negative.
func TestSameBatchAfterALoss(t *testing.T) {
	f := open(t, 3)
	f.begin(row(1), "lost")
	f.rdb.FlushDB(t.Context())
	f.wantVerdict(row(3), "lost", ledger.Done) // the batch is lost
	f.load(3)
	f.begin(row(1), "new") // row 1 is in flight again, rows 2 and 3 are not
	o := accepted("t1")
	o.Token = "lost"
	if err := f.Outcome(t.Context(), row(1).ID, 1, o); !errors.Is(err, ledger.ErrLate) {
		t.Errorf("Outcome() of the lost request: error = %v, want ErrLate", err)
	}
	f.wantCounts(ledger.Batch{Total: 3, Queued: 2, Sending: 1})
	o = accepted("t1-new")
	o.Token = "new"
	f.outcome(row(1), 1, o)
	f.settle(row(1), "t1-new", ledger.Succeeded)
	for n := 2; n <= 3; n++ {
		f.begin(row(n), "new")
		f.outcome(row(n), 1, accepted(row(n).ID))
		f.settle(row(n), row(n).ID, ledger.Succeeded)
	}
	f.wantCounts(ledger.Batch{Total: 3, Succeeded: 3})
	if !f.batch().Ended() {
		t.Errorf("the batch has not ended: %+v", f.batch())
	}
	if n := f.rdb.HGet(t.Context(), keys.Default.Totals(), "extra_tasks").Val(); n != "1" {
		t.Errorf("extra_tasks = %q, want 1", n)
	}
}

// A spool folder that cannot be written is reported once, not at each attempt.
func TestSpoolFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := ledger.New(redistest.InBubble(t), ledger.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var log bytes.Buffer
		l.WatchLosses(ctx, ledger.LossWatch{
			Dir: filepath.Join(file, "spool"), Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if n := strings.Count(log.String(), "level=WARN msg=\"write "); n != 1 {
			t.Errorf("%d warnings, want 1:\n%s", n, log.String())
		}
		if !strings.Contains(log.String(), "TIWSNAP_WORKER_SPOOL") {
			t.Errorf("the warning does not name the setting:\n%s", log.String())
		}
	})
}

// Answers to lost requests arrive, or are restored, while the batch has no record. They are kept for the same rooms. An
// accepted room is not sent again, and a request that may have created a task is counted.
func TestAnswersWhileTheBatchIsLost(t *testing.T) {
	f := setup(t, 5)
	f.Ledger = ledger.New(f.rdb, ledger.Options{Grace: time.Minute, Retention: time.Hour})
	var lost [6]tasks.SnapshotPayload
	for n := 1; n <= 5; n++ {
		lost[n] = row(n)
		f.begin(row(n), "lost")
	}
	f.rdb.FlushDB(t.Context())
	lost[4].Room.RoomId = 44 // later another list has this name
	for n, o := range []ledger.Outcome{1: accepted("t1"), unknown, throttled, accepted("t4")} {
		if n == 0 {
			continue
		}
		o.Token = "lost"
		if err := f.Outcome(t.Context(), row(n).ID, 2, o); !errors.Is(err, ledger.ErrLost) {
			t.Errorf("Outcome() of row %d: error = %v, want ErrLost", n, err)
		}
		for range 2 {
			if err := f.Restore(t.Context(), lost[n], 2, o); !errors.Is(err, ledger.ErrLost) {
				t.Errorf("Restore() of row %d: error = %v, want ErrLost", n, err)
			}
		}
		if left := f.rdb.PTTL(t.Context(), keys.Default.Snapshot(row(n).ID)).Val(); left <= 0 {
			t.Errorf("the key of row %d does not expire: %s", n, left)
		}
	}
	f.callback(row(1), 2, "t1")
	f.callback(row(5), 2, "t5") // its room is unknown
	f.load(5)

	f.wantVerdict(row(1), "new", ledger.Wait)
	if due := f.due(); len(due) != 1 || due[0].ReportedTasks[2] != "t1" || due[0].Room.SdkAppId != 1 {
		t.Fatalf("due = %+v", due)
	}
	if err := f.claimTask(row(1), 2, "t1"); err != nil {
		t.Fatal(err)
	}
	s := f.record(row(1))
	if s.State != ledger.Accepted || s.PossibleDuplicates != 0 || s.Attempts != 2 || len(s.History) != 1 ||
		s.History[0].RequestID != "r-t1" || s.History[0].TaskID != "t1" {
		t.Errorf("record = %+v", s)
	}
	if in := f.begin(row(2), "new"); in.Verdict != ledger.Wait || in.Wait < 50*time.Second {
		t.Errorf("Begin() after the lost request = %+v, want to wait for its grace", in)
	}
	for n, attempt := range []int{3: 3, 4: 1, 5: 1} {
		if n < 3 {
			continue
		}
		if in := f.begin(row(n), "new"); in.Verdict != ledger.Send || in.Attempt != attempt {
			t.Errorf("Begin() of row %d = %+v, want attempt %d", n, in, attempt)
		}
		f.outcome(row(n), attempt, accepted(row(n).ID))
		if s := f.record(row(n)); s.PossibleDuplicates != 0 || len(s.ExtraTasks) != 0 {
			t.Errorf("record = %+v", s)
		}
	}
	f.wantCounts(ledger.Batch{Total: 5, Queued: 1, Accepted: 4})
	if n := f.rdb.HGet(t.Context(), keys.Default.Totals(), "extra_tasks").Val(); n != "" {
		t.Errorf("extra_tasks = %q, want none", n)
	}

	// The grace is over.
	f.Ledger = ledger.New(f.rdb, ledger.Options{})
	f.wantVerdict(row(2), "new", ledger.Send)
	f.outcome(row(2), 3, accepted("t2"))
	if s, b := f.record(row(2)), f.batch(); s.PossibleDuplicates != 1 || b.PossibleDuplicates != 1 {
		t.Errorf("record has %d possible duplicates, batch %d, want 1", s.PossibleDuplicates, b.PossibleDuplicates)
	}
}

// After a loss the same rooms are enqueued again, and a callback arrives before any of them is begun. The room claims
// the task if Tencent confirms it. Otherwise the next request counts as a possible duplicate.
func TestCallbackBeforeTheRecord(t *testing.T) {
	setupLoss := func(t *testing.T) fixture {
		f := open(t, 3)
		f.begin(row(1), "lost")
		f.rdb.FlushDB(t.Context())
		f.load(3)
		return f
	}
	key := keys.Default.Snapshot(row(1).ID)
	wantNoRecord := func(f fixture) {
		f.Helper()
		if s, err := f.Snapshot(t.Context(), row(1).ID); !errors.Is(err, ledger.ErrNotFound) {
			f.Errorf("Snapshot() before Begin() = %+v, %v, want ErrNotFound", s, err)
		}
		all, err := f.Records(t.Context(), []string{row(1).ID})
		if err != nil || len(all) != 1 || all[0].State != "" || all[0].Callbacks != 0 || len(all[0].ReportedTasks) != 0 {
			f.Errorf("Records() before Begin() = %+v, %v, want an empty one", all, err)
		}
		if f.inSet(keys.Default.Confirm(), row(1)) {
			f.Error("the snapshot is polled before it has a record")
		}
		f.wantCounts(ledger.Batch{Total: 3, Queued: 3})
	}

	t.Run("names a task that is claimed without a request", func(t *testing.T) {
		f := setupLoss(t)
		f.callback(row(1), 2, "t1")
		wantNoRecord(f)
		if left := f.rdb.PTTL(t.Context(), key).Val(); left <= 0 {
			t.Errorf("the callback does not expire: %s", left)
		}
		f.wantVerdict(row(1), "new", ledger.Wait)
		due := f.due()
		if len(due) != 1 || due[0].ReportedTasks[2] != "t1" || due[0].Room.SdkAppId != 1 || due[0].State != ledger.Queued {
			t.Fatalf("due = %+v", due)
		}
		if left := f.rdb.PTTL(t.Context(), key).Val(); left >= 0 {
			t.Errorf("the record expires in %s, before its batch", left)
		}
		if err := f.claimTask(row(1), 2, "t1"); err != nil {
			t.Fatal(err)
		}
		f.wantVerdict(row(1), "new", ledger.Done)
		f.settle(row(1), "t1", ledger.Succeeded)
		s := f.record(row(1))
		if s.TaskID != "t1" || s.Attempts != 2 || s.PossibleDuplicates != 0 || len(s.ExtraTasks) != 0 || s.Room.RoomId != 1 {
			t.Errorf("record = %+v", s)
		}
		f.wantCounts(ledger.Batch{Total: 3, Queued: 2, Succeeded: 1})
	})

	t.Run("names an unknown task, and the next request is a possible duplicate", func(t *testing.T) {
		f := setupLoss(t)
		f.callback(row(1), 1, "t1")
		f.wantVerdict(row(1), "new", ledger.Wait)
		f.discard(f.due()[0])
		if in := f.begin(row(1), "new"); in.Verdict != ledger.Send || in.Attempt != 2 {
			t.Fatalf("Begin() = %+v", in)
		}
		f.outcome(row(1), 2, accepted("t2"))
		if s := f.record(row(1)); s.PossibleDuplicates != 1 || s.Attempts != 2 || s.TaskID != "t2" {
			t.Errorf("record = %+v", s)
		}
		f.wantCounts(ledger.Batch{Total: 3, Queued: 2, Accepted: 1})
		if n := f.batch().PossibleDuplicates; n != 1 {
			t.Errorf("batch has %d possible duplicates, want 1", n)
		}
	})

	t.Run("names no task, and the next request is a possible duplicate", func(t *testing.T) {
		f := setupLoss(t)
		f.callback(row(1), 1, "")
		wantNoRecord(f)
		f.wantVerdict(row(1), "new", ledger.Send)
		f.outcome(row(1), 2, accepted("t2"))
		f.wantCounts(ledger.Batch{Total: 3, Queued: 2, Accepted: 1})
		if n := f.batch().PossibleDuplicates; n != 1 {
			t.Errorf("batch has %d possible duplicates, want 1", n)
		}
	})

	t.Run("of two lost requests: one task is claimed, the other is an extra one", func(t *testing.T) {
		f := setupLoss(t)
		f.callback(row(1), 1, "t1")
		f.callback(row(1), 2, "t2")
		f.wantVerdict(row(1), "new", ledger.Wait)
		if err := f.claimTask(row(1), 1, "t1"); err != nil {
			t.Fatal(err)
		}
		s := f.record(row(1))
		if s.TaskID != "t1" || s.ExtraTasks[2] != "t2" || s.PossibleDuplicates != 1 || s.Attempts != 2 {
			t.Errorf("record = %+v", s)
		}
	})

	t.Run("is followed by the restored answer with the same task", func(t *testing.T) {
		f := setupLoss(t)
		f.callback(row(1), 1, "t1")
		if err := f.Restore(t.Context(), row(1), 1, accepted("t1")); err != nil {
			t.Fatal(err)
		}
		s := f.record(row(1))
		if s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 || len(s.ExtraTasks) != 0 ||
			s.Attempts != 1 {
			t.Errorf("record = %+v", s)
		}
		f.wantVerdict(row(1), "new", ledger.Done)
	})

	t.Run("is followed by a cancel and a retry", func(t *testing.T) {
		f := setupLoss(t)
		f.callback(row(1), 1, "t1")
		if state := f.cancel(row(1)); state != ledger.Canceled {
			t.Fatal(state)
		}
		if s := f.record(row(1)); s.ExtraTasks[1] != "t1" {
			t.Errorf("record = %+v", s)
		}
		f.retry(row(1))
		f.wantVerdict(row(1), "new", ledger.Wait)
		if due := f.due(); len(due) != 1 || due[0].ReportedTasks[1] != "t1" || due[0].Room.SdkAppId != 1 {
			t.Errorf("due = %+v", due)
		}
		f.wantCounts(ledger.Batch{Total: 3, Queued: 3})
	})

	t.Run("is followed by a cancel of the batch, which counts each row once", func(t *testing.T) {
		f := setupLoss(t)
		f.callback(row(1), 1, "t1")
		f.cancelBatch()
		f.callback(row(2), 1, "t2") // too late, it is dropped
		f.wantCounts(ledger.Batch{Total: 3, Canceled: 3})
		if !f.batch().Ended() {
			t.Error("the batch has not ended")
		}
		if n := f.rdb.Exists(t.Context(), keys.Default.Snapshot(row(2).ID)).Val(); n != 0 {
			t.Error("the callback of a row that was canceled before feeding is kept")
		}
		f.retry(row(1))
		f.wantVerdict(row(1), "new", ledger.Wait) // the reported task is polled first
	})

	t.Run("of an unknown row is dropped", func(t *testing.T) {
		f := setupLoss(t)
		f.callback(row(4), 1, "t4")
		if n := f.rdb.Exists(t.Context(), keys.Default.Snapshot(row(4).ID)).Val(); n != 0 {
			t.Error("the callback of an unknown row is kept")
		}
	})

	t.Run("of a single room", func(t *testing.T) {
		f := setupLoss(t)
		var seen ledger.Seen
		f.begin(single(1), "lost")
		f.checkLoss(&seen)
		f.rdb.FlushDB(t.Context())
		f.callback(single(1), 1, "t1")
		if loss := f.checkLoss(&seen); loss == nil || !cmp.Equal(loss.Missing, []string{"b", single(1).ID}) {
			t.Errorf("CheckLoss() = %+v, want b and %s missing", loss, single(1).ID)
		}
		f.wantVerdict(single(1), "new", ledger.Wait)
		if err := f.claimTask(single(1), 1, "t1"); err != nil {
			t.Fatal(err)
		}
		if s := f.record(single(1)); s.TaskID != "t1" || s.Room.RoomId != single(1).Room.RoomId {
			t.Errorf("record = %+v", s)
		}
	})
}

// checkLoss checks for a loss of data.
func (f fixture) checkLoss(s *ledger.Seen) *ledger.Loss {
	f.Helper()
	loss, err := f.CheckLoss(f.Context(), s, true)
	if err != nil {
		f.Fatal(err)
	}
	return loss
}

// Each process that has seen the data of Redis before detects and reports its loss, also after a restart.
func TestCheckLoss(t *testing.T) {
	f := setup(t, 2)
	f.begin(single(1), "x")
	var one, two, kept ledger.Seen
	for range 3 {
		if loss := f.checkLoss(&one); loss != nil {
			t.Errorf("CheckLoss() = %v, want none", loss)
		}
	}
	if loss := f.checkLoss(&two); loss != nil {
		t.Errorf("CheckLoss() = %v, want none", loss)
	}
	file, err := json.Marshal(&one)
	if err != nil {
		t.Fatal(err)
	}
	if loss, err := f.LastLoss(t.Context()); loss != nil || err != nil {
		t.Errorf("LastLoss() = %v, %v, want none", loss, err)
	}

	f.rdb.FlushDB(t.Context())
	if err := json.Unmarshal(file, &kept); err != nil {
		t.Fatal(err)
	}
	want := []string{"b", single(1).ID}
	for _, s := range []*ledger.Seen{&one, &two, &kept} {
		loss := f.checkLoss(s)
		if loss == nil || loss.Kind != ledger.Emptied || !cmp.Equal(loss.Missing, want) {
			t.Errorf("CheckLoss() = %+v, want %q missing", loss, want)
		}
		if loss := f.checkLoss(s); loss != nil {
			t.Errorf("second CheckLoss() = %v, want none", loss)
		}
	}
	loss, err := f.LastLoss(t.Context())
	if err != nil || loss == nil || loss.Kind != ledger.Emptied || !cmp.Equal(loss.Missing, want) {
		t.Errorf("LastLoss() = %+v, %v, want %q missing", loss, err, want)
	}
	if n := f.rdb.ZCard(t.Context(), keys.Default.Outbox()).Val(); n != 1 {
		t.Errorf("%d notices of one loss, want 1", n)
	}

	// A stale replica has the same epoch with an older beat.
	for range 3 {
		f.checkLoss(&one)
	}
	f.rdb.HIncrBy(t.Context(), keys.Default.Epoch(), "beat", -2)
	if loss := f.checkLoss(&one); loss == nil || loss.Kind != ledger.Older || len(loss.Missing) != 0 {
		t.Errorf("CheckLoss() of a stale replica = %+v, want %s", loss, ledger.Older)
	}
}

// An answer that a failover has lost is restored with its record, and no request is sent again. If one was sent before,
// the task is an extra one.
func TestRestore(t *testing.T) {
	f := open(t, 3)
	answer := accepted("t1")
	answer.Token = "lost"
	restore := func(p tasks.SnapshotPayload) error { return f.Restore(t.Context(), p, 1, answer) }

	for range 2 {
		if err := restore(row(1)); err != nil { // intent and answer were lost
			t.Fatal(err)
		}
	}
	f.wantVerdict(row(1), "again", ledger.Done)
	f.begin(row(2), "lost")
	if err := restore(row(2)); err != nil { // the answer was lost
		t.Fatal(err)
	}
	f.wantCounts(ledger.Batch{Total: 3, Queued: 1, Accepted: 2})
	f.begin(row(3), "again") // sent again before the restore
	f.outcome(row(3), 1, accepted("t3"))
	if err := restore(row(3)); !errors.Is(err, ledger.ErrLate) {
		t.Errorf("Restore() of a second task: error = %v, want ErrLate", err)
	}
	if s := f.record(row(3)); s.TaskID != "t3" || len(s.ExtraTasks) != 1 {
		t.Errorf("record = %+v", s)
	}
	if err := restore(single(1)); err != nil {
		t.Fatal(err)
	}
	if s := f.record(single(1)); s.State != ledger.Accepted || s.TaskID != "t1" || s.Room.RoomId != single(1).Room.RoomId {
		t.Errorf("record = %+v", s)
	}
	f.wantCounts(ledger.Batch{Total: 3, Accepted: 3})
	if n := f.rdb.HGet(t.Context(), keys.Default.Totals(), "extra_tasks").Val(); n != "1" {
		t.Errorf("extra_tasks = %q, want 1", n)
	}
	if len(f.due()) != 4 {
		t.Error("not all restored tasks are polled")
	}
}

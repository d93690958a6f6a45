package ledger_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// Redis loses all data. The same batch is enqueued again, while workers still have
// requests and tasks of the lost one. The batch ends, and no count is negative.
func TestSameBatchAfterALoss(t *testing.T) {
	f := open(t, 3)
	f.begin(row(1), "lost")
	f.rdb.FlushDB(t.Context())
	f.verdict(row(3), "lost", ledger.Done) // its batch is gone
	f.load(3)
	f.begin(row(1), "new") // row 1 is in flight again, rows 2 and 3 are not
	o := accepted("t1")
	o.Token = "lost"
	if err := f.Outcome(t.Context(), row(1).ID, 1, o); !errors.Is(err, ledger.ErrLate) {
		t.Errorf("the answer to the lost request: %v", err)
	}
	f.counts(ledger.Batch{Total: 3, Queued: 2, Sending: 1})
	o = accepted("t1-new")
	o.Token = "new"
	f.outcome(row(1), 1, o)
	f.settle(row(1), "t1-new", ledger.Succeeded)
	for n := 2; n <= 3; n++ {
		f.begin(row(n), "new")
		f.outcome(row(n), 1, accepted(row(n).ID))
		f.settle(row(n), row(n).ID, ledger.Succeeded)
	}
	f.counts(ledger.Batch{Total: 3, Succeeded: 3})
	if !f.batch().Ended() {
		t.Errorf("it has not ended: %+v", f.batch())
	}
	if n := f.rdb.HGet(t.Context(), keys.Default.Totals(), "extra_tasks").Val(); n != "1" {
		t.Errorf("%q extra tasks are counted, want 1", n)
	}
}

// Answers to lost requests come, or are restored, while the batch has no record. They
// are kept for the same rooms. An accepted room is not sent again, and a request that
// may have made a task is counted.
func TestAnswersWhileTheBatchIsGone(t *testing.T) {
	f := setup(t, 5)
	f.Ledger = ledger.New(f.rdb, ledger.Options{Grace: time.Minute, Retention: time.Hour})
	var lost [6]tasks.SnapshotPayload
	for n := 1; n <= 5; n++ {
		lost[n] = row(n)
		f.begin(row(n), "lost")
	}
	f.rdb.FlushDB(t.Context())
	lost[4].Room.RoomId = 44 // afterwards the name belongs to another list
	for n, o := range []ledger.Outcome{1: accepted("t1"), unknown, throttled, accepted("t4")} {
		if n == 0 {
			continue
		}
		o.Token = "lost"
		if err := f.Outcome(t.Context(), row(n).ID, 2, o); !errors.Is(err, ledger.ErrLost) {
			t.Errorf("row %d: %v", n, err)
		}
		for range 2 {
			if err := f.Restore(t.Context(), lost[n], 2, o); !errors.Is(err, ledger.ErrLost) {
				t.Errorf("row %d: %v", n, err)
			}
		}
		if left := f.rdb.PTTL(t.Context(), keys.Default.Snapshot(row(n).ID)).Val(); left <= 0 {
			t.Errorf("what is kept of row %d would stay for ever: %s", n, left)
		}
	}
	f.callBack(row(1), 2, "t1")
	f.callBack(row(5), 2, "t5") // its room is unknown
	f.load(5)

	f.verdict(row(1), "new", ledger.Wait)
	if due := f.due(); len(due) != 1 || due[0].ReportedTasks[2] != "t1" || due[0].Room.SdkAppId != 1 {
		t.Fatalf("due: %+v", due)
	}
	if err := f.confirmed(row(1), 2, "t1"); err != nil {
		t.Fatal(err)
	}
	s := f.record(row(1))
	if s.State != ledger.Accepted || s.PossibleDuplicates != 0 || s.Attempts != 2 || len(s.History) != 1 ||
		s.History[0].RequestID != "r-t1" || s.History[0].TaskID != "t1" {
		t.Errorf("%+v", s)
	}
	if in := f.begin(row(2), "new"); in.Verdict != ledger.Wait || in.Wait < 50*time.Second {
		t.Errorf("the grace of the lost request: %+v", in)
	}
	for n, attempt := range []int{3: 3, 4: 1, 5: 1} {
		if n < 3 {
			continue
		}
		if in := f.begin(row(n), "new"); in.Verdict != ledger.Send || in.Attempt != attempt {
			t.Errorf("row %d: %+v", n, in)
		}
		f.outcome(row(n), attempt, accepted(row(n).ID))
		if s := f.record(row(n)); s.PossibleDuplicates != 0 || len(s.ExtraTasks) != 0 {
			t.Errorf("%+v", s)
		}
	}
	f.counts(ledger.Batch{Total: 5, Queued: 1, Accepted: 4})
	if n := f.rdb.HGet(t.Context(), keys.Default.Totals(), "extra_tasks").Val(); n != "" {
		t.Errorf("%q extra tasks are counted, want none", n)
	}

	// The grace is over.
	f.Ledger = ledger.New(f.rdb, ledger.Options{})
	f.verdict(row(2), "new", ledger.Send)
	f.outcome(row(2), 3, accepted("t2"))
	if s, b := f.record(row(2)), f.batch(); s.PossibleDuplicates != 1 || b.PossibleDuplicates != 1 {
		t.Errorf("%d possible duplicates, the batch has %d, want 1", s.PossibleDuplicates, b.PossibleDuplicates)
	}
}

// After a loss the same rooms are enqueued again, and a callback comes before any of
// them is begun. The room claims the task if Tencent confirms it. Otherwise the next
// request counts as a possible duplicate.
func TestCallbackBeforeTheRecord(t *testing.T) {
	lost := func(t *testing.T) fixture {
		f := open(t, 3)
		f.begin(row(1), "lost")
		f.rdb.FlushDB(t.Context())
		f.load(3)
		return f
	}
	key := keys.Default.Snapshot(row(1).ID)
	none := func(f fixture) {
		f.Helper()
		if s, err := f.Snapshot(t.Context(), row(1).ID); !errors.Is(err, ledger.ErrNotFound) {
			f.Errorf("a record before it was begun: %+v, %v", s, err)
		}
		all, err := f.Records(t.Context(), []string{row(1).ID})
		if err != nil || len(all) != 1 || all[0].State != "" || all[0].Callbacks != 0 || len(all[0].ReportedTasks) != 0 {
			f.Errorf("%+v, %v", all, err)
		}
		if f.in(keys.Default.Confirm(), row(1)) {
			f.Error("it is polled before it has a record")
		}
		f.counts(ledger.Batch{Total: 3, Queued: 3})
	}

	t.Run("is claimed, and nothing is sent", func(t *testing.T) {
		f := lost(t)
		f.callBack(row(1), 2, "t1")
		none(f)
		if left := f.rdb.PTTL(t.Context(), key).Val(); left <= 0 {
			t.Errorf("it would stay for ever: %s", left)
		}
		f.verdict(row(1), "new", ledger.Wait)
		due := f.due()
		if len(due) != 1 || due[0].ReportedTasks[2] != "t1" || due[0].Room.SdkAppId != 1 || due[0].State != ledger.Queued {
			t.Fatalf("due: %+v", due)
		}
		if left := f.rdb.PTTL(t.Context(), key).Val(); left >= 0 {
			t.Errorf("the record expires in %s, before its batch", left)
		}
		if err := f.confirmed(row(1), 2, "t1"); err != nil {
			t.Fatal(err)
		}
		f.verdict(row(1), "new", ledger.Done)
		f.settle(row(1), "t1", ledger.Succeeded)
		s := f.record(row(1))
		if s.TaskID != "t1" || s.Attempts != 2 || s.PossibleDuplicates != 0 || len(s.ExtraTasks) != 0 || s.Room.RoomId != 1 {
			t.Errorf("%+v", s)
		}
		f.counts(ledger.Batch{Total: 3, Queued: 2, Succeeded: 1})
	})

	t.Run("is not the room's, and the next one is a possible duplicate", func(t *testing.T) {
		f := lost(t)
		f.callBack(row(1), 1, "t1")
		f.verdict(row(1), "new", ledger.Wait)
		f.discard(f.due()[0])
		if in := f.begin(row(1), "new"); in.Verdict != ledger.Send || in.Attempt != 2 {
			t.Fatalf("%+v", in)
		}
		f.outcome(row(1), 2, accepted("t2"))
		if s := f.record(row(1)); s.PossibleDuplicates != 1 || s.Attempts != 2 || s.TaskID != "t2" {
			t.Errorf("%+v", s)
		}
		f.counts(ledger.Batch{Total: 3, Queued: 2, Accepted: 1})
		if n := f.batch().PossibleDuplicates; n != 1 {
			t.Errorf("the batch counts %d possible duplicates, want 1", n)
		}
	})

	t.Run("names no task, and the next one is a possible duplicate", func(t *testing.T) {
		f := lost(t)
		f.callBack(row(1), 1, "")
		none(f)
		f.verdict(row(1), "new", ledger.Send)
		f.outcome(row(1), 2, accepted("t2"))
		f.counts(ledger.Batch{Total: 3, Queued: 2, Accepted: 1})
		if n := f.batch().PossibleDuplicates; n != 1 {
			t.Errorf("the batch counts %d possible duplicates, want 1", n)
		}
	})

	t.Run("of two lost requests: one task is the room's, the other an extra one", func(t *testing.T) {
		f := lost(t)
		f.callBack(row(1), 1, "t1")
		f.callBack(row(1), 2, "t2")
		f.verdict(row(1), "new", ledger.Wait)
		if err := f.confirmed(row(1), 1, "t1"); err != nil {
			t.Fatal(err)
		}
		s := f.record(row(1))
		if s.TaskID != "t1" || s.ExtraTasks[2] != "t2" || s.PossibleDuplicates != 1 || s.Attempts != 2 {
			t.Errorf("%+v", s)
		}
	})

	t.Run("and then the answer is restored: it is one task", func(t *testing.T) {
		f := lost(t)
		f.callBack(row(1), 1, "t1")
		if err := f.Restore(t.Context(), row(1), 1, accepted("t1")); err != nil {
			t.Fatal(err)
		}
		s := f.record(row(1))
		if s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 || len(s.ExtraTasks) != 0 ||
			s.Attempts != 1 {
			t.Errorf("%+v", s)
		}
		f.verdict(row(1), "new", ledger.Done)
	})

	t.Run("and then the snapshot is canceled, and retried", func(t *testing.T) {
		f := lost(t)
		f.callBack(row(1), 1, "t1")
		if state := f.cancel(row(1)); state != ledger.Canceled {
			t.Fatal(state)
		}
		if s := f.record(row(1)); s.ExtraTasks[1] != "t1" {
			t.Errorf("%+v", s)
		}
		f.retry(row(1))
		f.verdict(row(1), "new", ledger.Wait)
		if due := f.due(); len(due) != 1 || due[0].ReportedTasks[1] != "t1" || due[0].Room.SdkAppId != 1 {
			t.Errorf("due: %+v", due)
		}
		f.counts(ledger.Batch{Total: 3, Queued: 3})
	})

	t.Run("and then the batch is canceled: each row is once", func(t *testing.T) {
		f := lost(t)
		f.callBack(row(1), 1, "t1")
		f.cancelBatch()
		f.callBack(row(2), 1, "t2") // too late, it is dropped
		f.counts(ledger.Batch{Total: 3, Canceled: 3})
		if !f.batch().Ended() {
			t.Error("it has not ended")
		}
		if n := f.rdb.Exists(t.Context(), keys.Default.Snapshot(row(2).ID)).Val(); n != 0 {
			t.Error("a callback of what was canceled unfed is kept")
		}
		f.retry(row(1))
		f.verdict(row(1), "new", ledger.Wait) // the reported task is polled first
	})

	t.Run("of a row that the batch has not is dropped", func(t *testing.T) {
		f := lost(t)
		f.callBack(row(4), 1, "t4")
		if n := f.rdb.Exists(t.Context(), keys.Default.Snapshot(row(4).ID)).Val(); n != 0 {
			t.Error("it is kept")
		}
	})

	t.Run("of a single room", func(t *testing.T) {
		f := lost(t)
		var seen ledger.Seen
		f.begin(single(1), "lost")
		f.watch(&seen)
		f.rdb.FlushDB(t.Context())
		f.callBack(single(1), 1, "t1")
		if loss := f.watch(&seen); loss == nil || !cmp.Equal(loss.Missing, []string{"b", single(1).ID}) {
			t.Errorf("found %+v: what has a callback alone is missing", loss)
		}
		f.verdict(single(1), "new", ledger.Wait)
		if err := f.confirmed(single(1), 1, "t1"); err != nil {
			t.Fatal(err)
		}
		if s := f.record(single(1)); s.TaskID != "t1" || s.Room.RoomId != single(1).Room.RoomId {
			t.Errorf("%+v", s)
		}
	})
}

// watch checks for a loss of data.
func (f fixture) watch(s *ledger.Seen) *ledger.Loss {
	f.Helper()
	loss, err := f.CheckLoss(f.Context(), s, true)
	if err != nil {
		f.Fatal(err)
	}
	return loss
}

// Each process that has seen Redis before detects that its data is gone, even after a
// restart. All of them report the loss.
func TestWatch(t *testing.T) {
	f := setup(t, 2)
	f.begin(single(1), "x")
	var one, two, kept ledger.Seen
	for range 3 {
		if loss := f.watch(&one); loss != nil {
			t.Errorf("nothing is lost: %v", loss)
		}
	}
	if loss := f.watch(&two); loss != nil {
		t.Errorf("nothing is lost: %v", loss)
	}
	file, err := json.Marshal(&one)
	if err != nil {
		t.Fatal(err)
	}
	if loss, err := f.LastLoss(t.Context()); loss != nil || err != nil {
		t.Errorf("%v, %v", loss, err)
	}

	f.rdb.FlushDB(t.Context())
	if err := json.Unmarshal(file, &kept); err != nil {
		t.Fatal(err)
	}
	want := []string{"b", single(1).ID}
	for _, s := range []*ledger.Seen{&one, &two, &kept} {
		loss := f.watch(s)
		if loss == nil || loss.Kind != ledger.Emptied || !cmp.Equal(loss.Missing, want) {
			t.Errorf("found %+v, want %q missing", loss, want)
		}
		if loss := f.watch(s); loss != nil {
			t.Errorf("found twice: %v", loss)
		}
	}
	loss, err := f.LastLoss(t.Context())
	if err != nil || loss == nil || loss.Kind != ledger.Emptied || !cmp.Equal(loss.Missing, want) {
		t.Errorf("%+v, %v", loss, err)
	}
	if n := f.rdb.ZCard(t.Context(), keys.Default.Outbox()).Val(); n != 1 {
		t.Errorf("%d notices for one loss", n)
	}

	// A stale replica has the same epoch with an older beat.
	for range 3 {
		f.watch(&one)
	}
	f.rdb.HIncrBy(t.Context(), keys.Default.Epoch(), "beat", -2)
	if loss := f.watch(&one); loss == nil || loss.Kind != ledger.Older || len(loss.Missing) != 0 {
		t.Errorf("found %+v", loss)
	}
}

// An answer that a failover has lost is restored with its record, and nothing is sent
// again. If the room was sent again before, the task is an extra one.
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
	f.verdict(row(1), "again", ledger.Done)
	f.begin(row(2), "lost")
	if err := restore(row(2)); err != nil { // the answer was lost
		t.Fatal(err)
	}
	f.counts(ledger.Batch{Total: 3, Queued: 1, Accepted: 2})
	f.begin(row(3), "again") // it was sent again before
	f.outcome(row(3), 1, accepted("t3"))
	if err := restore(row(3)); !errors.Is(err, ledger.ErrLate) {
		t.Errorf("a task beside another one: %v", err)
	}
	if s := f.record(row(3)); s.TaskID != "t3" || len(s.ExtraTasks) != 1 {
		t.Errorf("%+v", s)
	}
	if err := restore(single(1)); err != nil {
		t.Fatal(err)
	}
	if s := f.record(single(1)); s.State != ledger.Accepted || s.TaskID != "t1" || s.Room.RoomId != single(1).Room.RoomId {
		t.Errorf("%+v", s)
	}
	f.counts(ledger.Batch{Total: 3, Accepted: 3})
	if n := f.rdb.HGet(t.Context(), keys.Default.Totals(), "extra_tasks").Val(); n != "1" {
		t.Errorf("%q extra tasks are counted, want 1", n)
	}
	if len(f.due()) != 4 {
		t.Error("not all that was restored is polled")
	}
}

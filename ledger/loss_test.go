package ledger_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// After Redis has lost everything the same batch is enqueued again, while workers
// still have requests and tasks of the lost one in hand. It ends, and no count is
// negative, whenever that is.
func TestSameBatchAfterALoss(t *testing.T) {
	for _, when := range []string{"before the answers", "after the answers"} {
		t.Run(when, func(t *testing.T) {
			f := open(t, 3)
			f.begin(row(1), "lost")
			f.begin(row(2), "lost")
			f.rdb.FlushDB(t.Context())
			answer := func() {
				for n, task := range []string{"t1", "t2"} {
					o := accepted(task)
					o.Token = "lost"
					if err := f.Outcome(t.Context(), row(n+1).ID, 1, o); err != nil && !errors.Is(err, ledger.ErrLate) {
						t.Fatal(err)
					}
				}
				f.verdict(row(3), "lost", ledger.Done) // its batch is gone
			}
			if when == "after the answers" {
				answer()
			}
			f.load(3)
			f.begin(row(1), "new") // row 1 is on its way again, row 2 and 3 are not
			if when == "before the answers" {
				o := accepted("t1")
				o.Token = "lost"
				if err := f.Outcome(t.Context(), row(1).ID, 1, o); !errors.Is(err, ledger.ErrLate) {
					t.Errorf("the answer to the lost request: %v", err)
				}
			}
			f.counts(ledger.Batch{Total: 3, Queued: 2, Sending: 1})
			o := accepted("t1-new")
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
			extra := "1"
			if when == "after the answers" {
				extra = "2"
			}
			if n := f.rdb.HGet(t.Context(), keys.Default.Totals(), "extra_tasks").Val(); n != extra {
				t.Errorf("%q extra tasks are counted, want %s", n, extra)
			}
		})
	}
}

// watch looks for a loss of data.
func (f fixture) watch(s *ledger.Seen) *ledger.Loss {
	f.Helper()
	loss, err := f.Watch(f.Context(), s, true)
	if err != nil {
		f.Fatal(err)
	}
	return loss
}

// Every process that has seen Redis before notices that its data is gone, also
// when it has started anew meanwhile, and all tell it.
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
	if n := f.rdb.ZCard(t.Context(), keys.Default.Notices()).Val(); n != 1 {
		t.Errorf("%d notices for one loss", n)
	}

	// A stale replica: the epoch is the same, and has been further.
	for range 3 {
		f.watch(&one)
	}
	f.rdb.HIncrBy(t.Context(), keys.Default.Epoch(), "beat", -2)
	if loss := f.watch(&one); loss == nil || loss.Kind != ledger.Older || len(loss.Missing) != 0 {
		t.Errorf("found %+v", loss)
	}
}

// An answer that a failover has lost is restored, with its record, and nothing is
// sent again; where it was already, the task is an extra one.
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

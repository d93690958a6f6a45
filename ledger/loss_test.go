package ledger_test

import (
	"errors"
	"testing"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
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

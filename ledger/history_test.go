package ledger_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tiwsnap/ledger"
)

// Tencent's support needs the RequestId of each attempt, even if a later one has succeeded.
func TestHistory(t *testing.T) {
	f := setup(t, 1)
	refused := ledger.Outcome{
		State: ledger.Queued, Code: "RequestLimitExceeded", RequestID: "r1", PermitWait: 1250 * time.Millisecond,
	}
	f.begin(row(1), "a")
	f.outcome(row(1), 1, refused)
	f.begin(row(1), "b")
	f.outcome(row(1), 2, ledger.Outcome{State: ledger.Queued, Unsent: true})
	f.begin(row(1), "c")
	f.backdate(row(1))
	f.begin(row(1), "d")
	f.outcome(row(1), 4, accepted("t4"))
	f.Outcome(t.Context(), row(1).ID, 3, accepted("t3")) // a late answer
	f.settle(row(1), "t4", ledger.Succeeded)
	want := []ledger.Attempt{
		{Number: 1, PermitWaitMS: 1250, Outcome: ledger.Queued, Code: "RequestLimitExceeded", RequestID: "r1"},
		{Number: 3, Outcome: ledger.Accepted, RequestID: "r-t3", TaskID: "t3"},
		{Number: 4, Outcome: ledger.Accepted, RequestID: "r-t4", TaskID: "t4"},
	}
	s := f.record(row(1))
	if diff := cmp.Diff(want, s.History, cmpopts.IgnoreFields(ledger.Attempt{}, "SentAt")); diff != "" {
		t.Errorf("History (-want +got):\n%s", diff)
	}
	if first := s.History[0].SentAt; time.Since(first) > time.Minute {
		t.Errorf("SentAt of the first attempt = %s", first)
	}
	if s.PossibleDuplicates != 1 || s.Attempts != 3 {
		t.Errorf("%d possible duplicates, %d attempts, want 1 and 3", s.PossibleDuplicates, s.Attempts)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	f := setup(t, 1)
	const n = 60
	for i := range n {
		f.begin(row(1), time.Now().String())
		f.outcome(row(1), i+1, throttled)
	}
	h := f.record(row(1)).History
	if len(h) != 50 || h[0].Number != 1 || h[1].Number != n-48 || h[49].Number != n {
		t.Errorf("History has %d of %d attempts, %+v to %+v, want 50", len(h), n, h[0], h[len(h)-1])
	}
}

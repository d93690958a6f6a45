package ledger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// feed takes the next n snapshots from the backlog, as a worker does.
func (f fixture) feed(n int) []string {
	f.Helper()
	depth := n + int(f.rdb.ZCard(f.Context(), keys.Default.InFlight()).Val())
	ids, _, err := backlog.New(f.rdb, keys.Default).Take(f.Context(), "feeder", depth)
	if err != nil {
		f.Fatal(err)
	}
	return ids
}

// open is setup with an unfed batch.
func open(t *testing.T, total int) fixture {
	f := setup(t, total)
	f.rdb.HSet(t.Context(), keys.Default.Batch("b"), "fed", 0)
	f.rdb.LPush(t.Context(), keys.Default.Ring(), "b")
	return f
}

func (f fixture) cancel(p tasks.SnapshotPayload) ledger.State {
	f.Helper()
	state, err := f.Cancel(f.Context(), p.ID, p.Room)
	if err != nil {
		f.Fatal(err)
	}
	return state
}

func (f fixture) cancelBatch() int {
	f.Helper()
	n, err := f.CancelBatch(f.Context(), "b")
	if err != nil {
		f.Fatal(err)
	}
	return n
}

func (f fixture) retry(p tasks.SnapshotPayload) bool {
	f.Helper()
	ok, err := f.Retry(f.Context(), p.ID, p.Room)
	if err != nil {
		f.Fatal(err)
	}
	return ok
}

func (f fixture) verdict(p tasks.SnapshotPayload, token string, want ledger.Verdict) {
	f.Helper()
	if in := f.begin(p, token); in.Verdict != want {
		f.Errorf("%s: begin says %q, want %q", p.ID, in.Verdict, want)
	}
}

// counts checks how many snapshots of the batch are in each state.
func (f fixture) counts(want ledger.Batch) {
	f.Helper()
	b := f.batch()
	got := ledger.Batch{Total: b.Total, Queued: b.Queued, Sending: b.Sending, Unknown: b.Unknown,
		Accepted: b.Accepted, Succeeded: b.Succeeded, Failed: b.Failed, Canceled: b.Canceled}
	if diff := cmp.Diff(want, got); diff != "" {
		f.Errorf("the batch (-want +got):\n%s", diff)
	}
}

func TestCancel(t *testing.T) {
	t.Run("before the first attempt", func(t *testing.T) {
		f := open(t, 2)
		if state := f.cancel(row(1)); state != ledger.Canceled {
			t.Errorf("it is %s", state)
		}
		f.feed(2)
		f.verdict(row(1), "x", ledger.Done)
		f.verdict(row(2), "x", ledger.Send)
		f.counts(ledger.Batch{Total: 2, Sending: 1, Canceled: 1})
	})

	t.Run("while a request is out, which is then not sent again", func(t *testing.T) {
		f := open(t, 3)
		for n := 1; n <= 3; n++ {
			f.begin(row(n), "x")
			if state := f.cancel(row(n)); state != ledger.Sending {
				t.Errorf("it is %s", state)
			}
		}
		f.outcome(row(1), 1, unknown)
		f.outcome(row(2), 1, ledger.Outcome{State: ledger.Queued, Code: "RequestLimitExceeded"})
		f.outcome(row(3), 1, accepted("t3"))
		f.counts(ledger.Batch{Total: 3, Accepted: 1, Canceled: 2})
	})

	t.Run("is refused once a task exists, or after the end", func(t *testing.T) {
		f := open(t, 2)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		f.begin(row(2), "x")
		f.outcome(row(2), 1, ledger.Outcome{State: ledger.Failed, Code: "InvalidParameter"})
		if a, b := f.cancel(row(1)), f.cancel(row(2)); a != ledger.Accepted || b != ledger.Failed {
			t.Errorf("%s, %s", a, b)
		}
		f.counts(ledger.Batch{Total: 2, Accepted: 1, Failed: 1})
	})
}

func TestCancelBatch(t *testing.T) {
	t.Run("at once what was not fed, the rest as workers come to it", func(t *testing.T) {
		f := open(t, 10)
		f.feed(4)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		f.begin(row(2), "x")
		f.begin(row(3), "x")
		f.outcome(row(3), 1, unknown)
		if n := f.cancelBatch(); n != 6 {
			t.Errorf("%d canceled at once, want 6", n)
		}
		f.counts(ledger.Batch{Total: 10, Accepted: 1, Sending: 1, Unknown: 1, Queued: 1, Canceled: 6})
		if ids := f.feed(5); len(ids) != 0 {
			t.Errorf("fed after that: %v", ids)
		}
		f.outcome(row(2), 1, unknown)
		for n := 2; n <= 4; n++ {
			f.verdict(row(n), "y", ledger.Done)
		}
		f.counts(ledger.Batch{Total: 10, Accepted: 1, Canceled: 9})
		if err := f.Settle(t.Context(), row(1).ID, "t1", ledger.Result{State: ledger.Succeeded}); err != nil {
			t.Fatal(err)
		}
		if b := f.batch(); !b.Ended() || b.CanceledUnfed(4) || !b.CanceledUnfed(5) {
			t.Errorf("%+v", b)
		}
		if n := f.cancelBatch(); n != 0 {
			t.Errorf("%d canceled after the end", n)
		}
	})

	t.Run("counts rows once that were canceled one by one before", func(t *testing.T) {
		f := open(t, 10)
		f.cancel(row(1))
		f.cancel(row(7))
		f.cancel(row(8))
		if fed := f.feed(2); !slices.Equal(fed, []string{"b.2", "b.3"}) {
			t.Errorf("fed %v, want what was not canceled", fed)
		}
		if n := f.cancelBatch(); n != 5 { // 4 to 6, 9 and 10
			t.Errorf("%d canceled at once, want 5", n)
		}
		f.cancel(row(9)) // it is canceled already
		f.counts(ledger.Batch{Total: 10, Queued: 2, Canceled: 8})
		for n := 1; n <= 3; n++ {
			f.verdict(row(n), "x", ledger.Done)
		}
		if b := f.batch(); b.Canceled != 10 || !b.Ended() {
			t.Errorf("%+v", b)
		}
	})

	t.Run("leaves a batch alone of which every snapshot is accepted or has ended, but for its pause", func(t *testing.T) {
		f := open(t, 1)
		f.feed(1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		if err := backlog.New(f.rdb, keys.Default).Pause(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		if n := f.cancelBatch(); n != 0 {
			t.Errorf("%d canceled", n)
		}
		if b := f.batch(); b.CanceledFrom != 0 || b.Paused {
			t.Errorf("%+v", b)
		}
	})

	t.Run("ends what waits for a person or for its SdkAppId", func(t *testing.T) {
		f := open(t, 3)
		f.Ledger = holding(f)
		f.feed(3)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.verdict(row(1), "y", ledger.Done) // held
		f.suspend()
		f.verdict(row(2), "x", ledger.Done) // waits for its application
		f.verdict(row(3), "x", ledger.Done)
		f.cancel(row(3))
		if n := f.cancelBatch(); n != 2 {
			t.Errorf("%d canceled at once, want 2", n)
		}
		if b := f.batch(); b.Canceled != 3 || !b.Ended() {
			t.Errorf("%+v", b)
		}
		for s, err := range f.Held(t.Context(), "b") {
			t.Errorf("still held: %+v, %v", s, err)
		}
	})

	t.Run("also while it is paused, with snapshots that are to be fed again", func(t *testing.T) {
		f := open(t, 3)
		f.feed(1)
		f.fail(row(1), "InvalidParameter")
		f.retry(row(1))
		if err := backlog.New(f.rdb, keys.Default).Pause(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		f.cancelBatch()
		f.cancelBatch() // the second call changes nothing
		if ids := f.feed(5); !slices.Equal(ids, []string{"b.1"}) {
			t.Errorf("fed: %v", ids)
		}
		f.verdict(row(1), "y", ledger.Done)
		if b := f.batch(); b.Canceled != 3 || !b.Ended() || b.Paused {
			t.Errorf("%+v", b)
		}
	})
}

// holding returns a ledger that holds unknown outcomes for review.
func holding(f fixture) *ledger.Ledger {
	return ledger.New(f.rdb, ledger.Options{Hold: true, Retention: time.Hour})
}

// fail makes a snapshot fail at its first attempt.
func (f fixture) fail(p tasks.SnapshotPayload, code string) {
	f.Helper()
	f.outcome(p, f.begin(p, "fail").Attempt, ledger.Outcome{
		State: ledger.Failed, Costs: true, Code: code, Message: "m", RequestID: "r",
	})
}

func TestRetry(t *testing.T) {
	t.Run("of a failed snapshot opens its batch again", func(t *testing.T) {
		f := open(t, 2)
		f.feed(2)
		f.fail(row(1), "InvalidParameter")
		f.fail(row(2), "InvalidParameter")
		if !f.batch().Ended() {
			t.Fatal("the batch has not ended")
		}
		if !f.retry(row(2)) || f.retry(row(2)) {
			t.Error("it was not retried once")
		}
		f.counts(ledger.Batch{Total: 2, Queued: 1, Failed: 1})
		if b := f.batch(); b.Ended() || f.rdb.TTL(t.Context(), keys.Default.Batch("b")).Val() >= 0 ||
			f.rdb.TTL(t.Context(), keys.Default.Snapshot("b.2")).Val() >= 0 {
			t.Errorf("it still expires: %+v", b)
		}
		if stuck, _ := f.Stuck(t.Context(), 0, 10); len(stuck) != 0 {
			t.Errorf("the sweeper would put it past its batch's turn: %+v", stuck)
		}
		if ids := f.feed(5); !slices.Equal(ids, []string{"b.2"}) {
			t.Errorf("fed: %v", ids)
		}
		if in := f.begin(row(2), "y"); in.Verdict != ledger.Send || in.Attempt != 2 || in.Failures != 0 {
			t.Errorf("%+v", in)
		}
	})

	t.Run("is watched over by the sweeper from its first attempt on, also if that finds sending stopped",
		func(t *testing.T) {
			f := open(t, 1)
			f.feed(1)
			f.fail(row(1), "InvalidParameter")
			f.retry(row(1))
			f.feed(1)
			f.stop()
			f.verdict(row(1), "y", ledger.Stopped)
			if n := f.rdb.ZCard(t.Context(), keys.Default.Open()).Val(); n != 1 {
				t.Errorf("%d open, want 1", n)
			}
		})

	t.Run("does not wait for the end of a pause that ended with its batch", func(t *testing.T) {
		f := open(t, 1)
		f.feed(1)
		pause := func() {
			t.Helper()
			if err := backlog.New(f.rdb, keys.Default).Pause(t.Context(), "b"); err != nil {
				t.Fatal(err)
			}
		}
		pause()
		if b := f.batch(); b.State != "paused" {
			t.Errorf("%+v", b)
		}
		f.fail(row(1), "InvalidParameter")
		pause() // no effect after the end
		if b := f.batch(); b.State != "ended" || b.Paused {
			t.Errorf("%+v", b)
		}
		f.retry(row(1))
		if ids := f.feed(5); !slices.Equal(ids, []string{"b.1"}) {
			t.Errorf("fed: %v", ids)
		}
	})

	t.Run("of one snapshot of a canceled batch leaves the others canceled", func(t *testing.T) {
		f := open(t, 5)
		f.feed(2)
		f.cancelBatch()
		f.verdict(row(1), "x", ledger.Done)
		for _, p := range []tasks.SnapshotPayload{row(1), row(4)} { // one with a record, one without
			if !f.retry(p) || f.retry(p) {
				t.Errorf("%s was not retried once", p.ID)
			}
		}
		f.verdict(row(2), "x", ledger.Done)
		if ids := f.feed(5); !slices.Equal(ids, []string{"b.1", "b.4"}) {
			t.Errorf("fed: %v", ids)
		}
		f.verdict(row(1), "y", ledger.Send)
		if s := f.record(row(4)); s.State != ledger.Queued || s.Room.RoomId != 4 {
			t.Errorf("%+v", s)
		}
		f.counts(ledger.Batch{Total: 5, Queued: 1, Sending: 1, Canceled: 3})

		if n := f.cancelBatch(); n != 0 { // the second cancel also covers the retried ones
			t.Errorf("%d canceled at once", n)
		}
		f.verdict(row(4), "y", ledger.Done)
		f.outcome(row(1), 1, unknown)
		f.verdict(row(1), "z", ledger.Done)
		if b := f.batch(); b.Canceled != 5 || !b.Ended() || !b.CanceledUnfed(3) || b.CanceledUnfed(2) {
			t.Errorf("%+v", b)
		}
	})

	t.Run("of a held snapshot sends it, also where the queues are paused at first", func(t *testing.T) {
		f := open(t, 1)
		f.Ledger = holding(f)
		single := tasks.SnapshotPayload{ID: "s-1", Room: tasks.Room{SdkAppId: 1, RoomId: 7}}
		f.feed(1)
		for _, p := range []tasks.SnapshotPayload{row(1), single} {
			f.begin(p, "x")
			f.outcome(p, 1, unknown)
			f.verdict(p, "y", ledger.Done)
			f.verdict(p, "y", ledger.Done)
			if s := f.record(p); !s.Held || s.State != ledger.Unknown {
				t.Errorf("%+v", s)
			}
			var held []string
			for s, err := range f.Held(t.Context(), p.Batch) {
				held = append(held, fmt.Sprint(s.ID, err))
			}
			if diff := cmp.Diff([]string{p.ID + "<nil>"}, held); diff != "" {
				t.Error(diff)
			}
			if !f.retry(p) || f.retry(p) {
				t.Errorf("%s was not retried once", p.ID)
			}
			if s := f.record(p); s.Held {
				t.Errorf("%+v", s)
			}
		}
		if ids := f.feed(5); !slices.Equal(ids, []string{"b.1"}) {
			t.Errorf("fed: %v", ids)
		}
		f.stop()
		f.verdict(row(1), "z", ledger.Stopped)
		f.start()
		f.verdict(row(1), "z", ledger.Send)
		f.outcome(row(1), 2, unknown)
		f.verdict(row(1), "a", ledger.Done) // held again: each retry allows one request
		if s := f.record(row(1)); !s.Held {
			t.Errorf("%+v", s)
		}
	})

	t.Run("of a held snapshot that was canceled queues it", func(t *testing.T) {
		f := open(t, 1)
		f.Ledger = holding(f)
		f.feed(1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.begin(row(1), "y")
		if state := f.cancel(row(1)); state != ledger.Canceled {
			t.Errorf("it is %s", state)
		}
		f.retry(row(1))
		f.verdict(row(1), "z", ledger.Send)
	})

	t.Run("is refused while it is in progress, and after success", func(t *testing.T) {
		f := open(t, 2)
		f.begin(row(1), "x")
		f.begin(row(2), "x")
		f.outcome(row(2), 1, accepted("t2"))
		if f.retry(row(1)) || f.retry(row(2)) {
			t.Error("retried")
		}
	})
}

// asynq keeps at most 10,000 failed tasks; the ledger keeps them all.
func TestManyFailures(t *testing.T) {
	needs.Time(t)
	const total = 10_500
	f := open(t, total)
	var g errgroup.Group
	g.SetLimit(8)
	for n := 1; n <= total; n++ {
		g.Go(func() error {
			p := row(n)
			in, err := f.Begin(t.Context(), p, "x", "")
			if err != nil {
				return err
			}
			failed := ledger.Outcome{State: ledger.Failed, Code: "InvalidParameter"}
			return f.Outcome(t.Context(), p.ID, in.Attempt, failed)
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}

	seen, retried, again := make(map[string]bool), 0, 0
	var last time.Time
	for s, err := range f.Failures(t.Context(), "b") {
		if err != nil {
			t.Fatal(err)
		}
		if s.Code != "InvalidParameter" || !last.IsZero() && s.EndedAt.After(last) {
			t.Fatalf("after one of %s: %+v", last, s)
		}
		last = s.EndedAt
		if seen[s.ID] {
			t.Fatalf("%s came twice", s.ID)
		}
		seen[s.ID] = true
		if len(seen)%4 != 0 {
			continue
		}
		ok, err := f.Retry(t.Context(), s.ID, s.Room)
		if err != nil || !ok {
			t.Fatalf("%s: %v, %v", s.ID, ok, err)
		}
		if retried++; retried%3 == 0 { // and fails again at once
			f.fail(tasks.SnapshotPayload{ID: s.ID, Batch: "b", Room: s.Room}, "Again")
			again++
		}
	}
	if len(seen) != total {
		t.Errorf("%d of %d failures were found", len(seen), total)
	}
	f.counts(ledger.Batch{Total: total, Queued: retried - again, Failed: total - retried + again})
}

package ledger_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

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
			t.Fatalf("Failures() returned %+v after a failure of %s, want the newest first", s, last)
		}
		last = s.EndedAt
		if seen[s.ID] {
			t.Fatalf("Failures() returned %s twice", s.ID)
		}
		seen[s.ID] = true
		if len(seen)%4 != 0 {
			continue
		}
		ok, err := f.Retry(t.Context(), s.ID, s.Room)
		if err != nil || !ok {
			t.Fatalf("Retry(%s) = %v, %v", s.ID, ok, err)
		}
		if retried++; retried%3 == 0 { // some fail again at once
			f.fail(tasks.SnapshotPayload{ID: s.ID, Batch: "b", Room: s.Room}, "Again")
			again++
		}
	}
	if len(seen) != total {
		t.Errorf("Failures() returned %d failures, want %d", len(seen), total)
	}
	f.wantCounts(ledger.Batch{Total: total, Queued: retried - again, Failed: total - retried + again})
}

func TestFailures(t *testing.T) {
	needs.Time(t)
	failures := func(f fixture, batch string) (ids []string) {
		for s, err := range f.Failures(f.Context(), batch) {
			if err != nil {
				f.Fatal(err)
			}
			ids = append(ids, s.ID)
		}
		return ids
	}

	t.Run("are listed newest first, without expired ones", func(t *testing.T) {
		f := setup(t, 1)
		for n := 1; n <= 4; n++ {
			f.fail(single(n), "InvalidParameter")
			f.waitMilli()
		}
		f.rdb.Del(t.Context(), keys.Default.Snapshot(single(3).ID))
		if diff := cmp.Diff([]string{"s-4", "s-2", "s-1"}, failures(f, "")); diff != "" {
			t.Errorf("Failures() (-want +got):\n%s", diff)
		}
	})

	t.Run("of single rooms leave the list with their records", func(t *testing.T) {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{Retention: 50 * time.Millisecond})
		f.fail(single(1), "InvalidParameter")
		for f.rdb.Exists(t.Context(), keys.Default.Snapshot(single(1).ID)).Val() == 1 {
		}
		f.fail(single(2), "InvalidParameter")
		if n := f.rdb.ZCard(t.Context(), keys.Default.Failed("")).Val(); n != 1 {
			t.Errorf("%d ids in the list, want 1", n)
		}
		if left := f.rdb.PTTL(t.Context(), keys.Default.Failed("")).Val(); left == -1 {
			t.Error("the list does not expire")
		}
	})

	t.Run("leave the list after a retry", func(t *testing.T) {
		f := setup(t, 2)
		f.fail(row(1), "InvalidParameter")
		f.fail(row(2), "InvalidParameter")
		f.retry(row(1))
		if diff := cmp.Diff([]string{"b.2"}, failures(f, "b")); diff != "" {
			t.Errorf("Failures() (-want +got):\n%s", diff)
		}
	})
}

package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
)

func TestSettle(t *testing.T) {
	t.Run("rejects another task and a second call", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "a")
		f.outcome(row(1), 1, accepted("t1"))
		r := ledger.Result{State: ledger.Succeeded, Images: []string{"u"}}
		if err := f.Settle(t.Context(), row(1).ID, "t0", r); !errors.Is(err, ledger.ErrLate) {
			t.Errorf("Settle() of another task: error = %v, want ErrLate", err)
		}
		if err := f.Settle(t.Context(), row(1).ID, "t1", r); err != nil {
			t.Errorf("Settle(): %v", err)
		}
		if err := f.Settle(t.Context(), row(1).ID, "t1", r); !errors.Is(err, ledger.ErrLate) {
			t.Errorf("second Settle(): error = %v, want ErrLate", err)
		}
		if b := f.batch(); b.Succeeded != 1 || b.Images != 1 || b.Accepted != 0 {
			t.Errorf("batch = %+v", b)
		}
	})

	t.Run("of many returns the error of each", func(t *testing.T) {
		f := setup(t, 4)
		var all []ledger.Settlement
		for n := 1; n <= 3; n++ {
			f.begin(row(n), "a")
			f.outcome(row(n), 1, accepted("t"))
			all = append(all, ledger.Settlement{
				ID: row(n).ID, TaskID: "t", Result: ledger.Result{State: ledger.Succeeded, Images: []string{"u"}},
			})
		}
		all[1].TaskID = "another"
		all[2].State, all[2].Code = ledger.Failed, "InternalErr"
		for i, err := range f.SettleAll(t.Context(), all) {
			if want := i == 1; errors.Is(err, ledger.ErrLate) != want || err != nil && !want {
				t.Errorf("SettleAll(): error of %s = %v, want ErrLate: %t", all[i].ID, err, want)
			}
		}
		if b := f.batch(); b.Succeeded != 1 || b.Failed != 1 || b.Accepted != 1 || b.Images != 2 {
			t.Errorf("batch = %+v", b)
		}
	})

	t.Run("can be postponed", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "a")
		f.outcome(row(1), 1, accepted("t1"))
		later := []ledger.Postponement{{ID: row(1).ID, Wait: time.Hour}}
		if err := f.PostponeAll(t.Context(), later)[0]; err != nil {
			t.Fatal(err)
		}
		if due := f.due(); len(due) != 0 {
			t.Errorf("due = %v after PostponeAll(), want none", due)
		}
		if ms := f.rdb.ZScore(t.Context(), keys.Default.Confirm(),
			row(1).ID).Val(); time.Until(time.UnixMilli(int64(ms))) < 50*time.Minute {
			t.Errorf("the next poll is at %s, want in an hour", time.UnixMilli(int64(ms)))
		}
	})
}

func TestImageCounts(t *testing.T) {
	f := setup(t, 4)
	f.accept(4)
	settle := func(n int, r ledger.Result) ledger.Snapshot {
		t.Helper()
		if err := f.Settle(t.Context(), row(n).ID, "t"+row(n).ID, r); err != nil {
			t.Fatal(err)
		}
		return f.record(row(n))
	}
	if s := settle(1, ledger.Result{State: ledger.Succeeded, Code: "c", Total: new(0)}); len(s.Images) != 0 ||
		s.Total != nil || s.Code != "c" {
		t.Errorf("record without images = %+v", s)
	}
	if s := settle(2,
		ledger.Result{State: ledger.Succeeded, Images: []string{"u", "v"}, Total: new(5)}); len(s.Images) != 2 ||
		s.Total == nil || *s.Total != 5 {
		t.Errorf("record with fewer images than Tencent counts = %+v", s)
	}
	if s := settle(3,
		ledger.Result{State: ledger.Failed, Code: "InternalErr", Images: []string{"w"},
			Total: new(1)}); len(s.Images) != 1 || s.Total != nil {
		t.Errorf("failed record with images = %+v", s)
	}
	b := f.batch()
	if b.Succeeded != 2 || b.NoImage != 1 || b.Images != 3 || b.MissingImages != 3 || b.Failed != 1 {
		t.Errorf("batch = %+v", b)
	}
	totals := f.rdb.HGetAll(t.Context(), keys.Default.Totals()).Val()
	if totals["no_image"] != "1" || totals["missing_images"] != "3" || totals["images"] != "3" {
		t.Errorf("totals = %v", totals)
	}

	// After a retry the images of the failure stay until there are new ones.
	for i, step := range []struct {
		result ledger.Result
		images []string
	}{
		{ledger.Result{State: ledger.Failed, Code: "InternalErr"}, []string{"w"}},
		{ledger.Result{State: ledger.Succeeded, Images: []string{"x", "y"}}, []string{"x", "y"}},
	} {
		f.retry(row(3))
		in := f.begin(row(3), "again")
		task := row(3).ID + string(rune('a'+i))
		f.outcome(row(3), in.Attempt, accepted(task))
		if err := f.Settle(t.Context(), row(3).ID, task, step.result); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.images, f.record(row(3)).Images); diff != "" {
			t.Errorf("images after a retry (-want +got):\n%s", diff)
		}
		if n := f.batch().Images; n != 2+len(step.images) {
			t.Errorf("batch has %d images, want %d", n, 2+len(step.images))
		}
	}
}

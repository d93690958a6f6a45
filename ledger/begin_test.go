package ledger_test

import (
	"testing"
	"time"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
)

func TestBegin(t *testing.T) {
	t.Run("is idempotent for a token", func(t *testing.T) {
		f := setup(t, 1)
		first, second := f.begin(row(1), "x"), f.begin(row(1), "x")
		if first != second {
			t.Errorf("first Begin() = %+v, second = %+v", first, second)
		}
		if b := f.batch(); b.Sending != 1 {
			t.Errorf("batch = %+v, want one sending", b)
		}
	})

	t.Run("waits for a request in flight", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		if in := f.begin(row(1), "y"); in.Verdict != ledger.Wait || in.Wait <= 0 || in.Wait > 10*time.Second {
			t.Errorf("Begin() = %+v", in)
		}
	})

	t.Run("retries the request of a dead worker, and counts a possible duplicate after acceptance",
		func(t *testing.T) {
			f := setup(t, 1)
			f.begin(row(1), "x")
			f.backdate(row(1))
			in := f.begin(row(1), "y")
			if in.Verdict != ledger.Send || in.Attempt != 2 {
				t.Fatalf("Begin() = %+v", in)
			}
			f.outcome(row(1), 2, accepted("t2"))
			if s := f.record(row(1)); s.PossibleDuplicates != 1 {
				t.Errorf("record = %+v", s)
			}
			if b := f.batch(); b.PossibleDuplicates != 1 || b.Accepted != 1 || b.Sending != 0 {
				t.Errorf("batch = %+v", b)
			}
		})

	t.Run("sends nothing while sending is stopped, and loses nothing", func(t *testing.T) {
		f := setup(t, 2)
		f.begin(row(2), "x")
		f.backdate(row(2))
		f.stop()
		for n := 1; n <= 2; n++ {
			if in := f.begin(row(n), "y"); in.Verdict != ledger.Stopped {
				t.Errorf("Begin() of row %d = %+v, want %s", n, in, ledger.Stopped)
			}
		}
		if b := f.batch(); b.Queued != 1 || b.Unknown != 1 || b.Sending != 0 {
			t.Errorf("batch = %+v", b)
		}
		f.start()
		for n := 1; n <= 2; n++ {
			if in := f.begin(row(n), "z"); in.Verdict != ledger.Send || in.Attempt != n {
				t.Errorf("Begin() of row %d after the start = %+v", n, in)
			}
		}
		if n := f.rdb.ZCard(t.Context(), keys.Default.Open()).Val(); n != 2 { // the sweeper checks them
			t.Errorf("%d snapshots in the open set, want 2", n)
		}
	})
}

func TestPass(t *testing.T) {
	begin := func(f fixture, pass string) ledger.Verdict {
		t.Helper()
		in, err := f.Begin(t.Context(), row(1), "x", pass)
		if err != nil {
			t.Fatal(err)
		}
		return in.Verdict
	}
	f := setup(t, 1)
	if v := begin(f, gate.NoPass); v != ledger.Stopped {
		t.Errorf("Begin() without a permit = %s, want %s", v, ledger.Stopped)
	}
	f.stop()
	valid := f.rdb.HGet(t.Context(), keys.Default.Breaker(), "pass").Val()
	for _, pass := range []string{"", "0", gate.NoPass} {
		if v := begin(f, pass); v != ledger.Stopped {
			t.Errorf("Begin() with pass %q = %s, want %s", pass, v, ledger.Stopped)
		}
	}
	if v := begin(f, valid); v != ledger.Send || valid == "" {
		t.Errorf("Begin() with the valid pass %q = %s, want %s", valid, v, ledger.Send)
	}
}

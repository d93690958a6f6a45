package gate_test

import (
	"testing"
	"time"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ratelimit"
)

func TestAccount(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	probe := func(f fixture) (*gate.Permit, string, uint64) {
		f.Helper()
		f.makeTrialDue()
		f.Invalidate()
		p, task, a, err := f.Probe(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		return p, task, a
	}

	t.Run("is probed by a Describe of the newest task, then by one Create", func(t *testing.T) {
		f := setup(t)
		f.call("a", nil)
		if v := f.call("b", arrears); v != gate.Everybody {
			t.Errorf("verdict = %s, want %s", v, gate.Everybody)
		}
		f.wantNextTrial(2)
		for _, seconds := range []float64{4, 8, 16, 32, 60, 60} {
			p, task, a := probe(f)
			if p == nil || task != "task" || a != app {
				t.Fatalf("Probe() = %v, %q, %d", p, task, a)
			}
			f.wantStopped() // Create is not the probe
			p.Done(t.Context(), "", arrears)
			f.wantNextTrial(seconds)
		}
		for _, answer := range []error{nil, internalError, invalid, wrongApp, throttled} {
			f.rdb.HSet(t.Context(), keys.Default.Breaker(), "probe", "describe")
			p, _, _ := probe(f)
			p.Done(t.Context(), "", answer)
			c := f.create("c")
			f.wantStopped()
			c.Release()
		}
		f.call("c", nil)
		f.wantCause("")
	})

	t.Run("is probed by a Create if there is no task yet", func(t *testing.T) {
		f := setup(t)
		f.call("b", arrears)
		if p, _, _ := probe(f); p != nil {
			t.Error("Probe() returned a permit without a task")
		}
		f.call("c", arrears)
		f.makeTrialDue()
		f.call("d", nil)
		f.wantCause("")
	})

	t.Run("is probed by a Create after ten minutes without an answer", func(t *testing.T) {
		f := setup(t)
		f.call("a", nil)
		f.call("b", arrears)
		for range 2 {
			p, _, _ := probe(f)
			p.Done(t.Context(), "", unreached)
			f.wantStopped()
		}
		f.rdb.HSet(t.Context(), keys.Default.Breaker(), "doubt_since", time.Now().Add(-11*time.Minute).UnixMilli())
		p, _, _ := probe(f)
		p.Done(t.Context(), "", badGateway)
		f.makeTrialDue()
		f.call("c", nil)
		f.wantCause("")
	})

	t.Run("is probed by a Create if only Create is refused, and polls continue", func(t *testing.T) {
		f := setup(t)
		f.call("a", nil)
		f.call("b", noPermission)
		p, _, _ := probe(f)
		p.Done(t.Context(), "", nil)
		for range 3 {
			f.makeTrialDue()
			f.call("c", noPermission)
			f.wantStopped()
			if p, _, _ := probe(f); p != nil {
				t.Fatal("Probe() returned a permit after Describe succeeded")
			}
			f.Invalidate()
			if in := f.DescribeDelay(t.Context()); in != 0 {
				t.Errorf("DescribeDelay() = %s, want 0", in)
			}
		}
	})

	t.Run("is not stopped by a room that is refused while others are not", func(t *testing.T) {
		f := setup(t)
		f.call("a", nil)
		f.call("bad", noPermission)
		p, _, _ := probe(f)
		p.Done(t.Context(), "", nil)
		f.rdb.HSet(t.Context(), keys.Default.Breaker(), "next_trial_at", time.Now().UnixMilli())
		f.Invalidate()
		if _, err := f.Create(t.Context(), "bad", app, ratelimit.Bulk); err == nil {
			t.Error("the refused room is the next trial, before other rooms")
		}
		f.call("good", nil)
		if v := f.call("bad", noPermission); v != gate.RoomAlone {
			t.Errorf("verdict = %s, want %s", v, gate.RoomAlone)
		}
		f.wantCause("")
	})

	t.Run("in arrears fails no room, however often it is refused", func(t *testing.T) {
		f := setup(t)
		for range 5 {
			if v := f.call("a", arrears); v != gate.Everybody {
				t.Errorf("verdict = %s, want %s", v, gate.Everybody)
			}
			f.makeTrialDue()
		}
	})

	t.Run("waits minutes if a quota is exhausted", func(t *testing.T) {
		f := setup(t)
		f.call("a", nil)
		f.call("b", quota)
		for _, seconds := range []float64{60, 120, 240, 300, 300} {
			if s := f.stop(); s.Cause != gate.Account || s.Code != quota.Code {
				t.Errorf("stop = %+v", s)
			}
			f.wantNextTrial(seconds)
			f.makeTrialDue()
			f.call("b", quota)
		}
		f.makeTrialDue()
		f.call("b", nil)
		f.wantCause("")
	})
}

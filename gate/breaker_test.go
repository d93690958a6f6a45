package gate_test

import (
	"fmt"
	"testing"
	"time"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
)

func TestConnection(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("opens after five consecutive calls without a connection", func(t *testing.T) {
		f := setup(t)
		f.calls(4, unreached)
		f.call("x", badGateway) // the API was reached
		f.calls(4, unreached)
		f.wantCause("")
		if v := f.call("y", unreached); v != gate.Everybody {
			t.Errorf("verdict = %s, want %s", v, gate.Everybody)
		}
		if s := f.stop(); s.Cause != gate.Connection || s.Phase != "open" || s.Message != "connection refused" {
			t.Errorf("stop = %+v", s)
		}
		f.wantStopped()
	})

	t.Run("has one trial at a time, after 1, 2, 4, 8 s, and every 30 s after ten minutes", func(t *testing.T) {
		f := setup(t)
		f.calls(5, unreached)
		for _, seconds := range []float64{1, 2, 4, 8, 8, 8} {
			f.wantNextTrial(seconds)
			f.makeTrialDue()
			p := f.create("x")
			f.wantStopped()
			if s := f.stop(); s.Phase != "half-open" {
				t.Errorf("stop = %+v", s)
			}
			f.end(p, unreached)
			f.wantStopped()
		}
		f.setStopAge(11 * time.Minute)
		f.makeTrialDue()
		f.call("x", unreached)
		f.wantNextTrial(30)
	})

	for name, answer := range map[string]error{
		"accepted": nil, "InvalidParameter": invalid, "throttled": throttled,
		"InternalError": internalError, "502": badGateway,
	} {
		t.Run("closes after any answer: "+name, func(t *testing.T) {
			f := setup(t)
			f.calls(5, unreached)
			f.makeTrialDue()
			f.call("x", answer)
			f.wantCause("")
		})
	}

	t.Run("accepts a Describe as the trial", func(t *testing.T) {
		f := setup(t)
		f.calls(5, unreached)
		f.Invalidate()
		if in := f.DescribeDelay(t.Context()); in <= 0 {
			t.Error("a Describe is allowed while sending is stopped")
		}
		f.makeTrialDue()
		f.Invalidate()
		p, err := f.Describe(t.Context(), ratelimit.Bulk)
		if err != nil {
			t.Fatal(err)
		}
		p.Done(t.Context(), "", invalid)
		f.wantCause("")
	})

	t.Run("gives a released trial to another call", func(t *testing.T) {
		f := setup(t)
		f.calls(5, unreached)
		f.makeTrialDue()
		f.create("x").Release()
		f.call("y", nil)
		f.wantCause("")
	})

	t.Run("ends the trial of a dead process after a while", func(t *testing.T) {
		f := setup(t)
		f.calls(5, unreached)
		f.makeTrialDue()
		late := f.create("x")
		f.wantStopped()
		f.rdb.HSet(t.Context(), keys.Default.Breaker(), "trial_until", time.Now().UnixMilli()-1)
		p := f.create("y")
		f.end(late, nil) // too late to count
		f.wantCause(gate.Connection)
		f.end(p, nil)
		f.wantCause("")
	})
}

func TestStorm(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("opens after ten consecutive failures", func(t *testing.T) {
		f := setup(t)
		f.calls(9, internalError)
		f.call("x", nil)
		if v := f.calls(9, badGateway); v != gate.Room {
			t.Errorf("verdict of a failure among successes = %s, want %s", v, gate.Room)
		}
		f.wantCause("")
		if v := f.call("y", internalError); v != gate.Everybody {
			t.Errorf("verdict of the tenth failure = %s, want %s", v, gate.Everybody)
		}
		if s := f.stop(); s.Cause != gate.Storm || s.Code != "InternalError" {
			t.Errorf("stop = %+v", s)
		}
		f.wantStopped()
		f.Invalidate()
		if in := f.DescribeDelay(t.Context()); in != 0 {
			t.Errorf("DescribeDelay() = %s, want 0", in)
		}
	})

	t.Run("does not open for one room, however often it fails", func(t *testing.T) {
		f := setup(t)
		for range 50 {
			if v := f.call("alone", internalError); v != gate.Room {
				t.Fatalf("verdict = %s, want %s", v, gate.Room)
			}
		}
		f.wantCause("")
		f.calls(8, internalError) // they and the first room are nine
		f.wantCause("")
		f.call("tenth", internalError)
		f.wantCause(gate.Storm)
	})

	t.Run("opens if more than half of the last 40 calls fail", func(t *testing.T) {
		f := setup(t)
		for i := range 20 {
			f.call(fmt.Sprint("good-", i), nil)
			f.call(fmt.Sprint("bad-", i), internalError)
		}
		f.wantCause("")
		f.call("x", internalError)
		f.wantCause(gate.Storm)
	})

	t.Run("does not open for a few rooms, however often they fail", func(t *testing.T) {
		f := setup(t)
		for i := range 60 {
			f.call(fmt.Sprint("bad-", i%3), internalError)
			if i%2 == 0 {
				f.call(fmt.Sprint("good-", i), nil)
			}
		}
		f.wantCause("")
		for i := range 40 { // there are no other rooms
			f.call(fmt.Sprint("bad-", i%3), internalError)
		}
		f.wantCause("")
	})

	t.Run("charges failed trials to no room, for a day", func(t *testing.T) {
		f := setup(t)
		f.calls(10, internalError)
		for _, seconds := range []float64{1, 2, 4, 8, 15, 15} {
			f.wantNextTrial(seconds)
			f.makeTrialDue()
			if v := f.call("x", internalError); v != gate.Everybody {
				t.Errorf("verdict of a failed trial = %s, want %s", v, gate.Everybody)
			}
		}
		for age, seconds := range map[time.Duration]float64{11 * time.Minute: 30, 2 * time.Hour: 60, 23 * time.Hour: 690} {
			f.setStopAge(age)
			f.rdb.HSet(t.Context(), keys.Default.Breaker(), "trials", 12)
			f.makeTrialDue()
			f.call("x", internalError)
			f.wantNextTrial(seconds)
		}
		f.setStopAge(25 * time.Hour)
		f.makeTrialDue()
		if v := f.call("x", internalError); v != gate.Room {
			t.Errorf("verdict of a failed trial after a day = %s, want %s", v, gate.Room)
		}
	})

	t.Run("allows 1 call a second after a success, then 5, then all", func(t *testing.T) {
		f := setup(t)
		f.calls(10, internalError)
		f.makeTrialDue()
		f.call("x", nil)
		began := time.Now()
		for i := range 9 {
			if s := f.stop(); s.Cause != gate.Storm || s.Phase != "half-open" {
				t.Fatalf("stop after %d successes = %+v", i+1, s)
			}
			f.call("x", nil)
		}
		f.wantCause("")
		if d := time.Since(began); d < 3*time.Second || d > 6*time.Second { // 2 at 1/s, then 7 at 5/s
			t.Errorf("the breaker closed after %s, want 3 to 6 s", d)
		}
	})

	for _, refusal := range []*tiw.Error{invalid, wrongApp} {
		name := "stays open after a refused request, and makes another trial at once: " + refusal.Code
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			f.calls(10, internalError)
			f.makeTrialDue()
			f.Invalidate()
			p, err := f.Create(t.Context(), "x", app+1, ratelimit.Bulk)
			if err != nil {
				t.Fatal(err)
			}
			f.end(p, refusal)
			if s := f.stop(); s.Cause != gate.Storm || s.Trials != 0 {
				t.Errorf("stop = %+v", s)
			}
			f.call("y", nil) // due at once
			f.call("z", nil)
			if n := f.rdb.HGet(t.Context(), keys.Default.Breaker(), "ramp_good").Val(); n != "2" {
				t.Errorf("ramp_good = %s, want 2", n)
			}
		})
	}

	t.Run("opens again if calls fail after a success", func(t *testing.T) {
		f := setup(t)
		f.calls(10, internalError)
		f.makeTrialDue()
		f.call("x", nil)
		for range 3 {
			f.rdb.HSet(t.Context(), keys.Default.Breaker(), "ramp_at", 0)
			f.call("x", internalError)
		}
		if s := f.stop(); s.Cause != gate.Storm || s.Phase != "open" {
			t.Errorf("stop = %+v", s)
		}
		f.wantStopped()
	})
}

func TestStrongestCauseWins(t *testing.T) {
	needs.Time(t)
	f := setup(t)
	late := make([]*gate.Permit, 40)
	for i := range late {
		late[i] = f.create(fmt.Sprint("late-", i))
	}
	end := func(n int, err error, want gate.Cause) {
		t.Helper()
		for range n {
			f.end(late[0], err)
			late = late[1:]
		}
		if s := f.stop(); s.Cause != want {
			t.Fatalf("cause of the stop = %q, want %q", s.Cause, want)
		}
	}
	end(10, internalError, gate.Storm)
	end(5, unreached, gate.Connection)
	end(10, internalError, gate.Connection)
	end(1, arrears, gate.Account)
	end(5, unreached, gate.Account)
	if _, err := f.Stop(t.Context(), "ada", "r"); err != nil {
		t.Fatal(err)
	}
	end(1, arrears, gate.Person)
	end(1, nil, gate.Person)
	f.makeTrialDue()
	f.wantStopped()
	f.Invalidate()
	if _, err := f.Describe(t.Context(), ratelimit.Bulk); err == nil {
		t.Error("a Describe is allowed while sending is stopped")
	}
	if before, err := f.Start(t.Context()); before != gate.Person || err != nil {
		t.Errorf("Start() = %q, %v, want %q", before, err, gate.Person)
	}
	f.call("x", nil)
}

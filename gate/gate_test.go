package gate_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(redistest.Both(m)) }

const app = 1400000001

// fixture is a gate with its own Redis. It uses the real clock: tests move the times in
// Redis instead of waiting.
type fixture struct {
	*testing.T
	*gate.Gate
	rdb *redis.Client
}

func setup(t *testing.T) fixture {
	t.Parallel()
	rdb := redistest.Client(t)
	g, err := gate.New(gate.Options{Redis: rdb, RateLimit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(context.Background()) })
	return fixture{t, g, rdb}
}

// The errors that calls end with.
var (
	internalError = &tiw.Error{Class: tiw.Unknown, Code: "InternalError", RequestID: "r"}
	badGateway    = &tiw.Error{Class: tiw.Unknown, Code: "ClientError.HttpStatusCodeError"}
	unreached     = &tiw.Error{Class: tiw.NotSent, Code: tiw.CodeConnect, Message: "connection refused"}
	invalid       = &tiw.Error{Class: tiw.Permanent, Code: "InvalidParameter", RequestID: "r"}
	throttled     = &tiw.Error{Class: tiw.Throttled, Code: "RequestLimitExceeded", RequestID: "r"}
	arrears       = &tiw.Error{Class: tiw.Account, Code: "ResourceUnavailable.ServiceExpired", RequestID: "r"}
	noPermission  = &tiw.Error{Class: tiw.Account, Code: "UnauthorizedOperation", RequestID: "r"}
	wrongApp      = &tiw.Error{Class: tiw.Account, Code: "UnauthorizedOperation.SdkAppId", Message: "m", RequestID: "r"}
	quota         = &tiw.Error{Class: tiw.Throttled, Code: "LimitExceeded.TaskConcurrency", RequestID: "r"}
)

// create gets a permit for a Create.
func (f fixture) create(snapshot string) *gate.Permit {
	f.Helper()
	f.Invalidate()
	p, err := f.Create(f.Context(), snapshot, app, ratelimit.Bulk)
	if err != nil {
		f.Fatalf("create %s: %v", snapshot, err)
	}
	return p
}

// call makes one call that ends with err. If err is nil, it is accepted.
func (f fixture) call(snapshot string, err error) gate.Verdict {
	f.Helper()
	return f.end(f.create(snapshot), err)
}

func (f fixture) end(p *gate.Permit, err error) gate.Verdict {
	f.Helper()
	if err != nil {
		return p.Done(f.Context(), "", err)
	}
	return p.Done(f.Context(), "task", nil)
}

// calls makes n calls, each for another room.
func (f fixture) calls(n int, err error) (last gate.Verdict) {
	f.Helper()
	for i := range n {
		last = f.call(fmt.Sprint("room-", i), err)
	}
	return last
}

// refused checks that a Create is refused.
func (f fixture) refused() *gate.Stopped {
	f.Helper()
	f.Invalidate()
	p, err := f.Create(f.Context(), "any", app, ratelimit.Bulk)
	var stopped *gate.Stopped
	if !errors.As(err, &stopped) {
		f.Fatalf("a Create may go: %+v, %v", p, err)
	}
	return stopped
}

// stop returns why all sending is stopped. Its cause is empty if sending is not stopped.
func (f fixture) stop() gate.Stop {
	f.Helper()
	all, err := f.Stops(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	if len(all) == 0 {
		return gate.Stop{}
	}
	return all[0]
}

// in checks that the next trial is in that many seconds.
func (f fixture) in(seconds float64) {
	f.Helper()
	if d := time.Until(f.stop().NextTrial).Seconds(); d > seconds+.1 || d < seconds-2 {
		f.Errorf("the next trial is in %.2f s, want %g", d, seconds)
	}
}

// due makes the next trial due.
func (f fixture) due() {
	f.rdb.HSet(f.Context(), keys.Default.Breaker(), "next_trial_at", time.Now().Add(-10*time.Second).UnixMilli())
}

// lasts sets how long the stop has lasted.
func (f fixture) lasts(d time.Duration) {
	f.rdb.HSet(f.Context(), keys.Default.Breaker(), "since", time.Now().Add(-d).UnixMilli())
}

func TestConnection(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("five calls in a row that find none, of all processes", func(t *testing.T) {
		f := setup(t)
		f.calls(4, unreached)
		f.call("x", badGateway) // the API was reached
		f.calls(4, unreached)
		if s := f.stop(); s.Cause != "" {
			t.Fatalf("%+v", s)
		}
		if v := f.call("y", unreached); v != gate.Everybody {
			t.Errorf("it concerns %s", v)
		}
		if s := f.stop(); s.Cause != gate.Connection || s.Phase != "open" || s.Message != "connection refused" {
			t.Errorf("%+v", s)
		}
		f.refused()
	})

	t.Run("trials after 1, 2, 4, 8 s, each 30 s after ten minutes, one at a time", func(t *testing.T) {
		f := setup(t)
		f.calls(5, unreached)
		for _, seconds := range []float64{1, 2, 4, 8, 8, 8} {
			f.in(seconds)
			f.due()
			p := f.create("x")
			f.refused()
			if s := f.stop(); s.Phase != "half-open" {
				t.Errorf("%+v", s)
			}
			f.end(p, unreached)
			f.refused()
		}
		f.lasts(11 * time.Minute)
		f.due()
		f.call("x", unreached)
		f.in(30)
	})

	for name, answer := range map[string]error{
		"accepted": nil, "InvalidParameter": invalid, "throttled": throttled,
		"InternalError": internalError, "502": badGateway,
	} {
		t.Run("any answer is its end: "+name, func(t *testing.T) {
			f := setup(t)
			f.calls(5, unreached)
			f.due()
			f.call("x", answer)
			if s := f.stop(); s.Cause != "" {
				t.Errorf("%+v", s)
			}
		})
	}

	t.Run("a Describe is as good a trial", func(t *testing.T) {
		f := setup(t)
		f.calls(5, unreached)
		f.Invalidate()
		if in := f.DescribeDelay(t.Context()); in <= 0 {
			t.Error("a Describe may go")
		}
		f.due()
		f.Invalidate()
		p, err := f.Describe(t.Context(), ratelimit.Bulk)
		if err != nil {
			t.Fatal(err)
		}
		p.Done(t.Context(), "", invalid)
		if s := f.stop(); s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})

	t.Run("a trial that was not made is another's", func(t *testing.T) {
		f := setup(t)
		f.calls(5, unreached)
		f.due()
		f.create("x").Release()
		f.call("y", nil)
		if s := f.stop(); s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})

	t.Run("a trial of a process that has died is over after a while", func(t *testing.T) {
		f := setup(t)
		f.calls(5, unreached)
		f.due()
		late := f.create("x")
		f.refused()
		f.rdb.HSet(t.Context(), keys.Default.Breaker(), "trial_until", time.Now().UnixMilli()-1)
		p := f.create("y")
		f.end(late, nil) // it comes too late to count
		if s := f.stop(); s.Cause != gate.Connection {
			t.Errorf("%+v", s)
		}
		f.end(p, nil)
		if s := f.stop(); s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})
}

func TestStorm(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("ten failures in a row", func(t *testing.T) {
		f := setup(t)
		f.calls(9, internalError)
		f.call("x", nil)
		if v := f.calls(9, badGateway); v != gate.Room {
			t.Errorf("a failure among successes concerns %s", v)
		}
		if s := f.stop(); s.Cause != "" {
			t.Fatalf("%+v", s)
		}
		if v := f.call("y", internalError); v != gate.Everybody {
			t.Errorf("the tenth concerns %s", v)
		}
		if s := f.stop(); s.Cause != gate.Storm || s.Code != "InternalError" {
			t.Errorf("%+v", s)
		}
		f.refused()
		f.Invalidate()
		if in := f.DescribeDelay(t.Context()); in != 0 {
			t.Error("results are not asked for")
		}
	})

	t.Run("not by one room, however often it fails", func(t *testing.T) {
		f := setup(t)
		for range 50 {
			if v := f.call("alone", internalError); v != gate.Room {
				t.Fatalf("it concerns %s", v)
			}
		}
		if s := f.stop(); s.Cause != "" {
			t.Fatalf("%+v", s)
		}
		f.calls(8, internalError) // among others it counts as one room
		if s := f.stop(); s.Cause != "" {
			t.Fatalf("nine rooms: %+v", s)
		}
		f.call("tenth", internalError)
		if s := f.stop(); s.Cause != gate.Storm {
			t.Errorf("ten rooms: %+v", s)
		}
	})

	t.Run("more than half of the last 40", func(t *testing.T) {
		f := setup(t)
		for i := range 20 {
			f.call(fmt.Sprint("good-", i), nil)
			f.call(fmt.Sprint("bad-", i), internalError)
		}
		if s := f.stop(); s.Cause != "" {
			t.Fatalf("half of them: %+v", s)
		}
		f.call("x", internalError)
		if s := f.stop(); s.Cause != gate.Storm {
			t.Errorf("%+v", s)
		}
	})

	t.Run("not by a few rooms among others, however often they fail", func(t *testing.T) {
		f := setup(t)
		for i := range 60 {
			f.call(fmt.Sprint("bad-", i%3), internalError)
			if i%2 == 0 {
				f.call(fmt.Sprint("good-", i), nil)
			}
		}
		if s := f.stop(); s.Cause != "" {
			t.Fatalf("by three of many: %+v", s)
		}
		for i := range 40 { // there are no other rooms
			f.call(fmt.Sprint("bad-", i%3), internalError)
		}
		if s := f.stop(); s.Cause != "" {
			t.Fatalf("by three: %+v", s)
		}
	})

	t.Run("trials that fail concern everybody, for a day", func(t *testing.T) {
		f := setup(t)
		f.calls(10, internalError)
		for _, seconds := range []float64{1, 2, 4, 8, 15, 15} {
			f.in(seconds)
			f.due()
			if v := f.call("x", internalError); v != gate.Everybody {
				t.Errorf("a trial concerns %s", v)
			}
		}
		for age, seconds := range map[time.Duration]float64{11 * time.Minute: 30, 2 * time.Hour: 60, 23 * time.Hour: 690} {
			f.lasts(age)
			f.rdb.HSet(t.Context(), keys.Default.Breaker(), "trials", 12)
			f.due()
			f.call("x", internalError)
			f.in(seconds)
		}
		f.lasts(25 * time.Hour)
		f.due()
		if v := f.call("x", internalError); v != gate.Room {
			t.Errorf("after a day a trial concerns %s", v)
		}
	})

	t.Run("after a success 1 a second, then 5, then all", func(t *testing.T) {
		f := setup(t)
		f.calls(10, internalError)
		f.due()
		f.call("x", nil)
		began := time.Now()
		for i := range 9 {
			if s := f.stop(); s.Cause != gate.Storm || s.Phase != "half-open" {
				t.Fatalf("after %d: %+v", i, s)
			}
			f.call("x", nil)
		}
		if s := f.stop(); s.Cause != "" {
			t.Errorf("%+v", s)
		}
		if d := time.Since(began); d < 3*time.Second || d > 6*time.Second { // 2 at 1/s, then 7 at 5/s
			t.Errorf("it took %s", d)
		}
	})

	for _, refusal := range []*tiw.Error{invalid, wrongApp} {
		name := "a request that is refused does not end it, and another one is tried at once: " + refusal.Code
		t.Run(name, func(t *testing.T) {
			f := setup(t)
			f.calls(10, internalError)
			f.due()
			f.Invalidate()
			p, err := f.Create(t.Context(), "x", app+1, ratelimit.Bulk)
			if err != nil {
				t.Fatal(err)
			}
			f.end(p, refusal)
			if s := f.stop(); s.Cause != gate.Storm || s.Trials != 0 {
				t.Errorf("%+v", s)
			}
			f.call("y", nil) // due at once
			f.call("z", nil)
			if n := f.rdb.HGet(t.Context(), keys.Default.Breaker(), "ramp_good").Val(); n != "2" {
				t.Errorf("after two successes %s are counted", n)
			}
		})
	}

	t.Run("opens again where the success was luck", func(t *testing.T) {
		f := setup(t)
		f.calls(10, internalError)
		f.due()
		f.call("x", nil)
		for range 3 {
			f.rdb.HSet(t.Context(), keys.Default.Breaker(), "ramp_at", 0)
			f.call("x", internalError)
		}
		if s := f.stop(); s.Cause != gate.Storm || s.Phase != "open" {
			t.Errorf("%+v", s)
		}
		f.refused()
	})
}

func TestAccount(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	probe := func(f fixture) (*gate.Permit, string, uint64) {
		f.Helper()
		f.due()
		f.Invalidate()
		p, task, a, err := f.Probe(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		return p, task, a
	}

	t.Run("is probed by Describe of the newest task, then by one Create", func(t *testing.T) {
		f := setup(t)
		f.call("a", nil)
		if v := f.call("b", arrears); v != gate.Everybody {
			t.Errorf("it concerns %s", v)
		}
		f.in(2)
		for _, seconds := range []float64{4, 8, 16, 32, 60, 60} {
			p, task, a := probe(f)
			if p == nil || task != "task" || a != app {
				t.Fatalf("%v %q %d", p, task, a)
			}
			f.refused() // Create is not the probe
			p.Done(t.Context(), "", arrears)
			f.in(seconds)
		}
		for _, answer := range []error{nil, internalError, invalid, wrongApp, throttled} {
			f.rdb.HSet(t.Context(), keys.Default.Breaker(), "probe", "describe")
			p, _, _ := probe(f)
			p.Done(t.Context(), "", answer)
			c := f.create("c")
			f.refused()
			c.Release()
		}
		f.call("c", nil)
		if s := f.stop(); s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})

	t.Run("is probed by Create where there is no task yet", func(t *testing.T) {
		f := setup(t)
		f.call("b", arrears)
		if p, _, _ := probe(f); p != nil {
			t.Error("it is probed by Describe")
		}
		f.call("c", arrears)
		f.due()
		f.call("d", nil)
		if s := f.stop(); s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})

	t.Run("is probed by Create after ten minutes without an answer", func(t *testing.T) {
		f := setup(t)
		f.call("a", nil)
		f.call("b", arrears)
		for range 2 {
			p, _, _ := probe(f)
			p.Done(t.Context(), "", unreached)
			f.refused()
		}
		f.rdb.HSet(t.Context(), keys.Default.Breaker(), "doubt_since", time.Now().Add(-11*time.Minute).UnixMilli())
		p, _, _ := probe(f)
		p.Done(t.Context(), "", badGateway)
		f.due()
		f.call("c", nil)
		if s := f.stop(); s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})

	t.Run("is probed by Create where Create alone is refused, and results are asked for", func(t *testing.T) {
		f := setup(t)
		f.call("a", nil)
		f.call("b", noPermission)
		p, _, _ := probe(f)
		p.Done(t.Context(), "", nil)
		for range 3 {
			f.due()
			f.call("c", noPermission)
			f.refused()
			if p, _, _ := probe(f); p != nil {
				t.Fatal("it is probed by Describe again")
			}
			f.Invalidate()
			if in := f.DescribeDelay(t.Context()); in != 0 {
				t.Error("results are not asked for")
			}
		}
	})

	t.Run("a room that is refused while others are not fails alone", func(t *testing.T) {
		f := setup(t)
		f.call("a", nil)
		f.call("bad", noPermission)
		p, _, _ := probe(f)
		p.Done(t.Context(), "", nil)
		f.rdb.HSet(t.Context(), keys.Default.Breaker(), "next_trial_at", time.Now().UnixMilli())
		f.Invalidate()
		if _, err := f.Create(t.Context(), "bad", app, ratelimit.Bulk); err == nil {
			t.Error("it is the trial itself, before any other")
		}
		f.call("good", nil)
		if v := f.call("bad", noPermission); v != gate.RoomAlone {
			t.Errorf("it concerns %s", v)
		}
		if s := f.stop(); s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})

	t.Run("an account in arrears fails no room, however often it is refused", func(t *testing.T) {
		f := setup(t)
		for range 5 {
			if v := f.call("a", arrears); v != gate.Everybody {
				t.Errorf("it concerns %s", v)
			}
			f.due()
		}
	})

	t.Run("a quota that is used up waits minutes", func(t *testing.T) {
		f := setup(t)
		f.call("a", nil)
		f.call("b", quota)
		for _, seconds := range []float64{60, 120, 240, 300, 300} {
			if s := f.stop(); s.Cause != gate.Account || s.Code != quota.Code {
				t.Errorf("%+v", s)
			}
			f.in(seconds)
			f.due()
			f.call("b", quota)
		}
		f.due()
		f.call("b", nil)
		if s := f.stop(); s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})
}

func TestStrongestCauseWins(t *testing.T) {
	needs.Time(t)
	f := setup(t)
	late := make([]*gate.Permit, 40)
	for i := range late {
		late[i] = f.create(fmt.Sprint("late-", i))
	}
	next := func(n int, err error, want gate.Cause) {
		t.Helper()
		for range n {
			f.end(late[0], err)
			late = late[1:]
		}
		if s := f.stop(); s.Cause != want {
			t.Fatalf("%s, want %s", s.Cause, want)
		}
	}
	next(10, internalError, gate.Storm)
	next(5, unreached, gate.Connection)
	next(10, internalError, gate.Connection)
	next(1, arrears, gate.Account)
	next(5, unreached, gate.Account)
	if _, err := f.Stop(t.Context(), "ada", "r"); err != nil {
		t.Fatal(err)
	}
	next(1, arrears, gate.Person)
	next(1, nil, gate.Person)
	f.due()
	f.refused()
	f.Invalidate()
	if _, err := f.Describe(t.Context(), ratelimit.Bulk); err == nil {
		t.Error("a Describe may go")
	}
	if before, err := f.Start(t.Context()); before != gate.Person || err != nil {
		t.Error(before, err)
	}
	f.call("x", nil)
}

// suspension returns why an application is suspended, or an empty Stop.
func (f fixture) suspension(app uint64) gate.Stop {
	f.Helper()
	all, err := f.Stops(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range all {
		if s.App == app {
			return s
		}
	}
	return gate.Stop{}
}

// appDue makes the next trial of an application due.
func (f fixture) appDue(app uint64) {
	f.rdb.ZAddXX(f.Context(), keys.Default.Suspended(), redis.Z{Score: 1, Member: app})
	f.rdb.HDel(f.Context(), keys.Default.Gate(), "app_trial_at")
}

// ask takes the next step, which must be a trial. It returns the application and the snapshot.
func (f fixture) ask() (app uint64, snapshot string) {
	f.Helper()
	step, ok, err := f.NextStep(f.Context())
	if err != nil || !ok || step.Trial == "" {
		f.Fatalf("%+v, %t, %v", step, ok, err)
	}
	return step.App, step.Trial
}

// waits makes a snapshot wait for a suspended application, as the ledger does.
func (f fixture) waits(app uint64, id string) {
	f.rdb.HSet(f.Context(), keys.Default.Snapshot(id), "state", "queued")
	f.rdb.RPush(f.Context(), keys.Default.SuspendedRooms(app), id)
}

func TestApplication(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	// next runs the next trial of the application, which ends with err.
	next := func(f fixture, err error) {
		f.Helper()
		f.appDue(app)
		_, id := f.ask()
		p := f.create(id)
		var suspended *gate.Suspended
		if _, err := f.Create(f.Context(), "another", app, ratelimit.Bulk); !errors.As(err, &suspended) {
			f.Errorf("another one may go, too: %v", err)
		}
		f.end(p, err)
	}
	in := func(f fixture, seconds float64) {
		f.Helper()
		if d := time.Until(f.suspension(app).NextTrial).Seconds(); d > seconds || d < seconds-2 {
			f.Errorf("it is asked for in %.1f s, want %g", d, seconds)
		}
	}

	t.Run("that has never worked is asked for after 15 s, 1 and 3 minutes; then its rooms fail", func(t *testing.T) {
		f := setup(t)
		if v := f.call("s-1", wrongApp); v != gate.Everybody {
			t.Errorf("it concerns %s", v)
		}
		for _, seconds := range []float64{15, 60, 180} {
			if s := f.suspension(app); s.Cause != gate.Application || s.Code != wrongApp.Code || s.Message != "m" {
				t.Errorf("%+v", s)
			}
			in(f, seconds)
			f.waits(app, "s-1")
			next(f, wrongApp)
		}
		if s := f.suspension(app); s.Cause != "" {
			t.Errorf("%+v", s)
		}
		failedAt, err := strconv.ParseInt(f.rdb.HGet(t.Context(), keys.Default.Suspension(app), "failed_at").Val(), 10, 64)
		if err != nil || time.Since(time.UnixMilli(failedAt)) > 10*time.Second {
			t.Errorf("its rooms fail since %d, %v", failedAt, err)
		}
		f.waits(app, "s-2")
		step, ok, err := f.NextStep(t.Context())
		if err != nil || !ok || !step.Release {
			t.Errorf("%+v, %t, %v", step, ok, err)
		}
		if ids, err := f.Release(t.Context(), app); err != nil || len(ids) != 1 || ids[0] != "s-2" {
			t.Error(ids, err)
		}
		if s := f.stop(); s.Cause != "" {
			t.Errorf("one application stops all: %+v", s)
		}
	})

	t.Run("that has worked is asked for until a day is over", func(t *testing.T) {
		f := setup(t)
		f.call("s-1", nil)
		f.call("s-2", wrongApp)
		for _, seconds := range []float64{15, 60, 180, 300, 300, 300} {
			in(f, seconds)
			f.waits(app, "s-2")
			next(f, wrongApp)
		}
		f.rdb.HSet(t.Context(), keys.Default.Suspension(app), "since", time.Now().Add(-25*time.Hour).UnixMilli())
		f.waits(app, "s-2")
		next(f, wrongApp)
		if n := f.rdb.HExists(t.Context(), keys.Default.Suspension(app), "failed_at").Val(); !n {
			t.Error("its rooms do not fail")
		}
	})

	for name, answer := range map[string]error{"accepted": nil, "InvalidParameter": invalid} {
		t.Run("goes on when it is "+name, func(t *testing.T) {
			f := setup(t)
			f.call("s-1", wrongApp)
			f.waits(app, "s-1")
			next(f, answer)
			if s := f.suspension(app); s.Cause != "" {
				t.Errorf("%+v", s)
			}
			f.call("s-2", nil)
		})
	}

	t.Run("is asked for again where the trial tells nothing", func(t *testing.T) {
		for _, answer := range []error{internalError, badGateway, unreached, throttled, context.Canceled} {
			f := fixture{t, nil, nil}
			t.Run(answer.Error(), func(t *testing.T) {
				f = setup(t)
				f.call("s-1", wrongApp)
				f.waits(app, "s-1")
				next(f, answer)
				if s := f.suspension(app); s.Trials != 0 || s.Phase != "open" {
					t.Errorf("%+v", s)
				}
				in(f, 15)
			})
		}
	})

	t.Run("is not suspended any more where all that waited has ended", func(t *testing.T) {
		f := setup(t)
		f.call("s-1", wrongApp)
		for i := range 1200 { // more than one step checks
			id := fmt.Sprint("s-", i)
			f.rdb.RPush(t.Context(), keys.Default.SuspendedRooms(app), id)
		}
		f.appDue(app)
		if step, ok, err := f.NextStep(t.Context()); err != nil || !ok || step.Trial != "" || step.Release {
			t.Errorf("%+v, %t, %v", step, ok, err)
		}
		if s := f.suspension(app); s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})

	t.Run("of which one room is refused, while others are accepted, goes on without it", func(t *testing.T) {
		f := setup(t)
		f.call("good", nil)
		f.call("bad", wrongApp)
		f.waits(app, "good")
		next(f, nil)
		if v := f.call("bad", wrongApp); v != gate.RoomAlone {
			t.Errorf("it concerns %s", v)
		}
		if s := f.suspension(app); s.Cause != "" {
			t.Errorf("%+v", s)
		}
	})
}

// One application a second gets a trial, however many are suspended.
func TestManyApplications(t *testing.T) {
	f := setup(t)
	for a := range uint64(900) {
		f.rdb.HSet(t.Context(), keys.Default.Suspension(a+1), "since", 1, "trials", 0)
		f.rdb.ZAdd(t.Context(), keys.Default.Suspended(), redis.Z{Score: 1, Member: a + 1})
		f.waits(a+1, fmt.Sprint("s-", a))
	}
	f.ask()
	for range 10 {
		if step, ok, err := f.NextStep(t.Context()); ok || err != nil {
			t.Fatalf("%+v, %v", step, err)
		}
	}
	f.rdb.HDel(t.Context(), keys.Default.Gate(), "app_trial_at") // a second later
	f.ask()
	if all, err := f.Stops(t.Context()); err != nil || len(all) != 900 {
		t.Errorf("%d are shown, %v", len(all), err)
	}
}

// A namespace remembers the endpoint that has accepted requests, until a person says
// that it has moved. An endpoint that has never worked was a typo and is replaced.
func TestEndpoint(t *testing.T) {
	needs.Time(t)
	f := setup(t)
	const typo, first, second = "https://tiw.example.con", "https://tiw.example.com", "http://127.0.0.1:9000"
	is := func(what string, err error, known string) {
		t.Helper()
		var other *gate.EndpointError
		if errors.As(err, &other) != (known != "") || known == "" && err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if known != "" && (other.Known != known || !strings.Contains(other.Fix(), "worker --moved")) {
			t.Errorf("%s: %v; %s", what, err, other.Fix())
		}
	}
	is("nothing is known yet", f.CheckEndpoint(t.Context(), first), "")
	is("a typo", f.UseEndpoint(t.Context(), typo, false), "")
	is("mended", f.UseEndpoint(t.Context(), first, false), "")

	p := f.create("a")
	p.Done(t.Context(), "task", nil)
	is("the same", f.UseEndpoint(t.Context(), strings.ToUpper(first), false), "")
	is("a look from elsewhere", f.CheckEndpoint(t.Context(), second), first)
	is("a worker from elsewhere", f.UseEndpoint(t.Context(), second, false), first)
	is("in another namespace", gate.NewBreaker(f.rdb, "laptop").UseEndpoint(t.Context(), second, false), "")
	is("moved", f.UseEndpoint(t.Context(), second, true), "")
	is("a worker that was left behind", f.UseEndpoint(t.Context(), first, false), second)
}

// A report in the caller's pipeline counts once, even if Redis does not have the script yet.
func TestReportInAPipeline(t *testing.T) {
	needs.Time(t)
	f := setup(t)
	for want := range 3 {
		permit := f.create(fmt.Sprint("room-", want))
		pipe := f.rdb.Pipeline()
		permit.Report(t.Context(), pipe, "task")
		_, err := pipe.Exec(t.Context())
		if first := redis.HasErrorPrefix(err, "NOSCRIPT"); first != (want == 0) {
			t.Fatalf("call %d: %v", want, err)
		}
		if verdict := f.end(permit, nil); verdict != gate.Room {
			t.Errorf("call %d: %s", want, verdict)
		}
		if n, err := f.rdb.HGet(t.Context(), keys.Default.Gate(), "accepted").Int(); n != want+1 || err != nil {
			t.Errorf("call %d: %d are accepted, %v", want, n, err)
		}
	}
}

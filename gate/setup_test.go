package gate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(redistest.Both(m)) }

const app = 1400000001

// fixture is a gate with its own Redis and the real clock. Tests move the times in Redis instead of waiting.
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

// Errors of calls.
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
		f.Fatalf("Create(%s): %v", snapshot, err)
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

// wantStopped checks that Create returns Stopped.
func (f fixture) wantStopped() *gate.Stopped {
	f.Helper()
	f.Invalidate()
	p, err := f.Create(f.Context(), "any", app, ratelimit.Bulk)
	var stopped *gate.Stopped
	if !errors.As(err, &stopped) {
		f.Fatalf("Create() = %+v, %v, want *gate.Stopped", p, err)
	}
	return stopped
}

// stop returns the first stop, or an empty one.
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

// wantCause checks the cause of the first stop. "" means that there is no stop.
func (f fixture) wantCause(want gate.Cause) {
	f.Helper()
	if s := f.stop(); s.Cause != want {
		f.Errorf("cause of the stop = %q, want %q: %+v", s.Cause, want, s)
	}
}

// wantNextTrial checks that the next trial is in that many seconds.
func (f fixture) wantNextTrial(seconds float64) {
	f.Helper()
	if d := time.Until(f.stop().NextTrial).Seconds(); d > seconds+.1 || d < seconds-2 {
		f.Errorf("the next trial is in %.2f s, want %g", d, seconds)
	}
}

// makeTrialDue makes the next trial due.
func (f fixture) makeTrialDue() {
	f.rdb.HSet(f.Context(), keys.Default.Breaker(), "next_trial_at", time.Now().Add(-10*time.Second).UnixMilli())
}

// setStopAge sets how long the stop has lasted.
func (f fixture) setStopAge(d time.Duration) {
	f.rdb.HSet(f.Context(), keys.Default.Breaker(), "since", time.Now().Add(-d).UnixMilli())
}

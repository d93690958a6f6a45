package gate_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ratelimit"
)

// suspension returns the stop of an application, or an empty one.
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

// makeAppTrialDue makes the next trial of an application due.
func (f fixture) makeAppTrialDue(app uint64) {
	f.rdb.ZAddXX(f.Context(), keys.Default.Suspended(), redis.Z{Score: 1, Member: app})
	f.rdb.HDel(f.Context(), keys.Default.Gate(), "app_trial_at")
}

// nextTrial takes the next step, which must be a trial. It returns the application and the snapshot.
func (f fixture) nextTrial() (app uint64, snapshot string) {
	f.Helper()
	step, ok, err := f.NextStep(f.Context())
	if err != nil || !ok || step.Trial == "" {
		f.Fatalf("NextStep() = %+v, %t, %v, want a trial", step, ok, err)
	}
	return step.App, step.Trial
}

// addWaiting makes a snapshot wait for a suspended application, as the ledger does.
func (f fixture) addWaiting(app uint64, id string) {
	f.rdb.HSet(f.Context(), keys.Default.Snapshot(id), "state", "queued")
	f.rdb.RPush(f.Context(), keys.Default.SuspendedRooms(app), id)
}

func TestApplication(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	// runTrial runs the next trial of the application, which ends with err.
	runTrial := func(f fixture, err error) {
		f.Helper()
		f.makeAppTrialDue(app)
		_, id := f.nextTrial()
		p := f.create(id)
		var suspended *gate.Suspended
		if _, err := f.Create(f.Context(), "another", app, ratelimit.Bulk); !errors.As(err, &suspended) {
			f.Errorf("Create() during a trial: error = %v, want *gate.Suspended", err)
		}
		f.end(p, err)
	}
	wantAppTrial := func(f fixture, seconds float64) {
		f.Helper()
		if d := time.Until(f.suspension(app).NextTrial).Seconds(); d > seconds || d < seconds-2 {
			f.Errorf("the next trial of the application is in %.1f s, want %g", d, seconds)
		}
	}

	t.Run("that has never worked has trials after 15 s, 1 and 3 min, then its rooms fail", func(t *testing.T) {
		f := setup(t)
		if v := f.call("s-1", wrongApp); v != gate.Everybody {
			t.Errorf("verdict = %s, want %s", v, gate.Everybody)
		}
		for _, seconds := range []float64{15, 60, 180} {
			if s := f.suspension(app); s.Cause != gate.Application || s.Code != wrongApp.Code || s.Message != "m" {
				t.Errorf("stop = %+v", s)
			}
			wantAppTrial(f, seconds)
			f.addWaiting(app, "s-1")
			runTrial(f, wrongApp)
		}
		if s := f.suspension(app); s.Cause != "" {
			t.Errorf("stop = %+v", s)
		}
		failedAt, err := strconv.ParseInt(f.rdb.HGet(t.Context(), keys.Default.Suspension(app), "failed_at").Val(), 10, 64)
		if err != nil || time.Since(time.UnixMilli(failedAt)) > 10*time.Second {
			t.Errorf("failed_at = %d, %v, want now", failedAt, err)
		}
		f.addWaiting(app, "s-2")
		step, ok, err := f.NextStep(t.Context())
		if err != nil || !ok || !step.Release {
			t.Errorf("NextStep() = %+v, %t, %v", step, ok, err)
		}
		if ids, err := f.Release(t.Context(), app); err != nil || len(ids) != 1 || ids[0] != "s-2" {
			t.Errorf("Release() = %v, %v, want s-2", ids, err)
		}
		f.wantCause("")
	})

	t.Run("that has worked has trials for a day", func(t *testing.T) {
		f := setup(t)
		f.call("s-1", nil)
		f.call("s-2", wrongApp)
		for _, seconds := range []float64{15, 60, 180, 300, 300, 300} {
			wantAppTrial(f, seconds)
			f.addWaiting(app, "s-2")
			runTrial(f, wrongApp)
		}
		f.rdb.HSet(t.Context(), keys.Default.Suspension(app), "since", time.Now().Add(-25*time.Hour).UnixMilli())
		f.addWaiting(app, "s-2")
		runTrial(f, wrongApp)
		if n := f.rdb.HExists(t.Context(), keys.Default.Suspension(app), "failed_at").Val(); !n {
			t.Error("failed_at is not set after a day")
		}
	})

	for name, answer := range map[string]error{"was accepted": nil, "got InvalidParameter": invalid} {
		t.Run("is resumed after the trial "+name, func(t *testing.T) {
			f := setup(t)
			f.call("s-1", wrongApp)
			f.addWaiting(app, "s-1")
			runTrial(f, answer)
			if s := f.suspension(app); s.Cause != "" {
				t.Errorf("stop = %+v", s)
			}
			f.call("s-2", nil)
		})
	}

	t.Run("gets another trial after an inconclusive one", func(t *testing.T) {
		for _, answer := range []error{internalError, badGateway, unreached, throttled, context.Canceled} {
			f := fixture{t, nil, nil}
			t.Run(answer.Error(), func(t *testing.T) {
				f = setup(t)
				f.call("s-1", wrongApp)
				f.addWaiting(app, "s-1")
				runTrial(f, answer)
				if s := f.suspension(app); s.Trials != 0 || s.Phase != "open" {
					t.Errorf("stop = %+v", s)
				}
				wantAppTrial(f, 15)
			})
		}
	})

	t.Run("is resumed after all waiting snapshots have ended", func(t *testing.T) {
		f := setup(t)
		f.call("s-1", wrongApp)
		for i := range 1200 { // more than one step checks
			id := fmt.Sprint("s-", i)
			f.rdb.RPush(t.Context(), keys.Default.SuspendedRooms(app), id)
		}
		f.makeAppTrialDue(app)
		if step, ok, err := f.NextStep(t.Context()); err != nil || !ok || step.Trial != "" || step.Release {
			t.Errorf("NextStep() = %+v, %t, %v", step, ok, err)
		}
		if s := f.suspension(app); s.Cause != "" {
			t.Errorf("stop = %+v", s)
		}
	})

	t.Run("is resumed without a room that alone is refused", func(t *testing.T) {
		f := setup(t)
		f.call("good", nil)
		f.call("bad", wrongApp)
		f.addWaiting(app, "good")
		runTrial(f, nil)
		if v := f.call("bad", wrongApp); v != gate.RoomAlone {
			t.Errorf("verdict = %s, want %s", v, gate.RoomAlone)
		}
		if s := f.suspension(app); s.Cause != "" {
			t.Errorf("stop = %+v", s)
		}
	})
}

// One application a second gets a trial, however many are suspended.
func TestManyApplications(t *testing.T) {
	f := setup(t)
	for a := range uint64(900) {
		f.rdb.HSet(t.Context(), keys.Default.Suspension(a+1), "since", 1, "trials", 0)
		f.rdb.ZAdd(t.Context(), keys.Default.Suspended(), redis.Z{Score: 1, Member: a + 1})
		f.addWaiting(a+1, fmt.Sprint("s-", a))
	}
	f.nextTrial()
	for range 10 {
		if step, ok, err := f.NextStep(t.Context()); ok || err != nil {
			t.Fatalf("NextStep() = %+v, %v, want none within a second", step, err)
		}
	}
	f.rdb.HDel(t.Context(), keys.Default.Gate(), "app_trial_at") // a second later
	f.nextTrial()
	if all, err := f.Stops(t.Context()); err != nil || len(all) != 900 {
		t.Errorf("Stops() returned %d stops, %v, want 900", len(all), err)
	}
}

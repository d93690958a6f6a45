package worker_test

import (
	"strings"
	"testing"
	"time"

	"tiwsnap/gate"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tiw/tiwtest"
)

// While sending is stopped for the account, the probe is a poll of the newest task. Any answer except an error of the
// account ends the stop. If polls get no answer, the probe is a Create.
func TestAccountProbe(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	describes := []string{tiwtest.ActionDescribe}
	for name, faults := range map[string]tiwtest.Faults{
		"the result":          {},
		"InternalError":       {InternalError: 1, Actions: describes},
		"ResourceUnavailable": {Code: 1, CodeName: "ResourceUnavailable", Actions: describes},
		"no answer":           {Cut: 1, Actions: describes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, redistest.Client(t), tiwtest.Options{SdkAppIds: []uint64{app}})
			w.second = 10 * time.Millisecond
			w.work()
			w.enqueue("a", 3)
			w.waitForEnd("a")
			w.setFaults(tiwtest.Faults{Arrears: tiwtest.Period{For: tiwtest.Duration(time.Hour)}})
			w.enqueue("b", 30)
			w.waitForStop(gate.Account)
			w.eventually("some probes were refused", func() bool { return w.firstStop().Trials >= 2 })
			if n := w.sim.State().Actions[tiwtest.ActionCreate].Received.Requests; n > 40 {
				t.Errorf("%d requests during the arrears, want at most 40", n)
			}
			faults.Arrears = tiwtest.Period{} // the bill is paid
			w.setFaults(faults)
			w.eventually("sending resumes", func() bool { return w.firstStop().Cause == "" })
			w.setFaults(tiwtest.Faults{})
			if b := w.waitForEnd("b"); b.Succeeded != 30 {
				t.Errorf("batch = %+v", b)
			}
		})
	}
}

// If only Create is refused, Create is the probe, and polls still bring results.
func TestOnlyCreateIsRefused(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{TaskDuration: 3 * time.Second})
	w.second = 20 * time.Millisecond
	w.work()
	w.enqueue("a", 3)
	w.waitForBatch("a", "is accepted", func(b ledger.Batch) bool { return b.Accepted == 3 })
	w.setFaults(tiwtest.Faults{Code: 1, CodeName: "UnauthorizedOperation"})
	w.enqueue("b", 30)
	w.waitForStop(gate.Account)
	w.eventually("trials have failed", func() bool { return w.firstStop().Trials >= 5 })
	if n := w.createRequests(); n > 3+25 {
		t.Errorf("%d requests while Create is refused, want at most 28", n)
	}
	if b := w.waitForEnd("a"); b.Succeeded != 3 {
		t.Errorf("batch = %+v", b)
	}
	w.setFaults(tiwtest.Faults{})
	if b := w.waitForEnd("b"); b.Succeeded != 30 {
		t.Errorf("batch = %+v", b)
	}
}

// A room that is always refused with a code of the account fails with that code, and stops the others only briefly.
func TestOneRoomIsRefused(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	for _, code := range []string{"UnauthorizedOperation", "UnauthorizedOperation.SdkAppId"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{
				RoomCodes: map[uint64]string{40: code},
			}})
			w.work()
			began := time.Now()
			w.enqueue("a", 100)
			b := w.waitForEnd("a")
			if b.Succeeded != 99 || b.Failed != 1 {
				t.Errorf("batch = %+v", b)
			}
			if took := time.Since(began); took > 45*time.Second { // 5 s without that room
				t.Errorf("the batch took %s", took)
			}
			if s, err := w.ledger.Snapshot(t.Context(), "a.40"); err != nil || s.State != ledger.Failed || s.Code != code {
				t.Errorf("record = %+v, %v", s, err)
			}
			w.eventually("nothing is stopped any more", func() bool {
				return w.firstStop().Cause == "" && w.suspension(app).Cause == ""
			})
			if n := w.createRequests(); n > 115 {
				t.Errorf("%d requests for a batch with a refused room, want at most 115", n)
			}
		})
	}
}

// An exhausted quota of the account stops all sending for minutes. The stop names this reason, and no attempt is lost.
func TestExhaustedQuota(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	exhausted := tiwtest.Faults{Code: 1, CodeName: "LimitExceeded.TaskConcurrency"}
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: exhausted})
	w.second, w.attempts = 20*time.Millisecond, 1
	w.work()
	w.enqueue("a", 40)
	s := w.waitForStop(gate.Account)
	if d := s.NextTrial.Sub(s.Since); d < 50*w.second { // the wait is a minute, that is 60 of these seconds
		t.Errorf("the next trial is after %s, want a minute of the gate", d)
	}
	if !strings.Contains(s.Why, "the account has reached its limit of concurrent tasks") {
		t.Errorf("stop = %+v", s)
	}
	w.eventually("two trials have failed", func() bool { return w.firstStop().Trials >= 2 })
	if n := w.createRequests(); n > 40/5+3 {
		t.Errorf("%d requests while the quota is exhausted, want at most 11", n)
	}
	w.setFaults(tiwtest.Faults{})
	if b := w.waitForEnd("a"); b.Succeeded != 40 || b.PossibleDuplicates != 0 {
		t.Errorf("batch = %+v", b)
	}
}

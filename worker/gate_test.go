package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// creates returns the number of Create requests that have arrived.
func (w world) creates() int {
	return int(w.sim.State().Actions[tiwtest.ActionCreate].Received.Requests)
}

func (w world) faults(f tiwtest.Faults) {
	w.Helper()
	if err := w.sim.SetFaults(f); err != nil {
		w.Fatal(err)
	}
}

func (w world) stoppedFor(c gate.Cause) gate.Stop {
	w.Helper()
	var s gate.Stop
	w.eventually("sending is stopped: "+string(c), func() bool { s = w.stop(); return s.Cause == c })
	return s
}

// An unreachable endpoint costs no attempts, and sending resumes soon after it is back.
func TestOutage(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.work()
	w.enqueue("a", 120)
	w.until("a", "is under way", func(b ledger.Batch) bool { return b.Accepted+b.Succeeded >= 20 })
	addr := strings.TrimPrefix(w.sim.URL, "http://")
	w.sim.Close()
	before := w.creates()
	s := w.stoppedFor(gate.Connection)
	if s.Code != "ClientError.ConnectError" ||
		s.Fix == "" || s.WaitsFor == "" || s.Since.IsZero() || s.NextTrial.IsZero() {
		t.Errorf("%+v", s)
	}
	w.eventually("some trials have failed", func() bool { return w.stop().Trials >= 6 })
	if b := w.until("a", "is there", func(ledger.Batch) bool { return true }); b.Failed != 0 {
		t.Errorf("%+v", b)
	}

	again := tiwtest.New(tiwtest.Options{Window: tiwtest.Sliding, TaskDuration: 100 * time.Millisecond})
	t.Cleanup(again.Close)
	if err := again.Listen(addr); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	if err := again.WaitRequests(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(back); d > 15*time.Second {
		t.Errorf("back after %s", d)
	}
	// The second simulator does not know the tasks of the first, so their results do not count here.
	b := w.until("a", "is sent", func(b ledger.Batch) bool { return b.Queued+b.Sending+b.Unknown == 0 })
	sent := before + int(again.State().Actions[tiwtest.ActionCreate].Received.Requests)
	cut := sent - 120 // requests in flight when the first simulator died
	if cut > 5 {
		t.Errorf("%d requests for 120 rooms", sent)
	}
	// A request that was cut before the simulator counted it has an unknown outcome.
	if b.PossibleDuplicates > 5 || b.Canceled > 0 {
		t.Errorf("%d requests for 120 rooms: %+v", sent, b)
	}
	for n := 1; n <= 120; n++ {
		s, err := w.ledger.Snapshot(t.Context(), tasks.RowID("a", n))
		if err != nil || s.Attempts > 2 {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

// A storm of errors costs few requests, and no room fails.
func TestStorm(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	for name, faults := range map[string]tiwtest.Faults{
		"no task is made": {InternalError: 1},
		"tasks are made":  {InternalErrorCreated: 1},
		"HTML":            {HTML: 1},
		"most calls fail": {InternalError: 0.8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: faults})
			w.attempts = 4
			w.work()
			w.enqueue("a", 100)
			s := w.stoppedFor(gate.Storm)
			if s.Code == "" || s.Fix == "" || s.WaitsFor == "" {
				t.Errorf("%+v", s)
			}
			if name != "most calls fail" {
				w.eventually("some trials have failed", func() bool { return w.stop().Trials >= 8 })
				if n := w.creates(); n > 40 {
					t.Errorf("%d requests while nothing works, for 100 rooms", n)
				}
			}
			w.faults(tiwtest.Faults{})
			back := time.Now()
			w.eventually("all is sent again", func() bool { return w.stop().Cause == "" })
			if d := time.Since(back); d > 30*time.Second {
				t.Errorf("back after %s", d)
			}
			if b := w.ended("a"); b.Succeeded != 100 {
				t.Errorf("%+v", b)
			}
			// The breaker counts a room once. Its retries come on top until the breaker opens.
			if n := w.creates(); n > 160 {
				t.Errorf("%d requests for 100 rooms", n)
			}
			w.cap()
		})
	}
}

// While sending is stopped for the account, the probe is a poll of the newest task. Any answer except an error of the
// account ends the stop. If polls get no answer, the probe is a Create.
func TestAccountProbe(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	describes := []string{tiwtest.ActionDescribe}
	for name, faults := range map[string]tiwtest.Faults{
		"the task":            {},
		"InternalError":       {InternalError: 1, Actions: describes},
		"ResourceUnavailable": {Code: 1, CodeName: "ResourceUnavailable", Actions: describes},
		"nothing":             {Cut: 1, Actions: describes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, redistest.Client(t), tiwtest.Options{SdkAppIds: []uint64{app}})
			w.second = 10 * time.Millisecond
			w.work()
			w.enqueue("a", 3)
			w.ended("a")
			w.faults(tiwtest.Faults{Arrears: tiwtest.Period{For: tiwtest.Duration(time.Hour)}})
			w.enqueue("b", 30)
			w.stoppedFor(gate.Account)
			w.eventually("some probes were refused", func() bool { return w.stop().Trials >= 2 })
			if n := w.sim.State().Actions[tiwtest.ActionCreate].Received.Requests; n > 40 {
				t.Errorf("%d requests were sent into the arrears", n)
			}
			faults.Arrears = tiwtest.Period{} // the bill is paid
			w.faults(faults)
			w.eventually("sending goes on", func() bool { return w.stop().Cause == "" })
			w.faults(tiwtest.Faults{})
			if b := w.ended("b"); b.Succeeded != 30 {
				t.Errorf("%+v", b)
			}
		})
	}
}

// If only Create is refused, Create is the probe, and polls still bring results.
func TestCreateAloneIsRefused(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{TaskDuration: 3 * time.Second})
	w.second = 20 * time.Millisecond
	w.work()
	w.enqueue("a", 3)
	w.until("a", "is accepted", func(b ledger.Batch) bool { return b.Accepted == 3 })
	w.faults(tiwtest.Faults{Code: 1, CodeName: "UnauthorizedOperation"})
	w.enqueue("b", 30)
	w.stoppedFor(gate.Account)
	w.eventually("trials have failed", func() bool { return w.stop().Trials >= 5 })
	if n := w.creates(); n > 3+25 {
		t.Errorf("%d requests", n)
	}
	if b := w.ended("a"); b.Succeeded != 3 {
		t.Errorf("%+v", b)
	}
	w.faults(tiwtest.Faults{})
	if b := w.ended("b"); b.Succeeded != 30 {
		t.Errorf("%+v", b)
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
			b := w.ended("a")
			if b.Succeeded != 99 || b.Failed != 1 {
				t.Errorf("%+v", b)
			}
			if took := time.Since(began); took > 45*time.Second { // it is 5 s without that room
				t.Errorf("took %s", took)
			}
			if s, err := w.ledger.Snapshot(t.Context(), "a.40"); err != nil || s.State != ledger.Failed || s.Code != code {
				t.Errorf("%+v, %v", s, err)
			}
			w.eventually("all is well", func() bool { return w.stop().Cause == "" && w.suspended(app).Cause == "" })
			if n := w.creates(); n > 115 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// mixed enqueues rooms of several applications in turn.
func (w world) mixed(id string, n int, apps ...uint64) {
	w.Helper()
	all := func(yield func(tasks.Room, error) bool) {
		for i := range n {
			if !yield(tasks.Room{SdkAppId: apps[i%len(apps)], RoomId: uint64(i + 1)}, nil) {
				return
			}
		}
	}
	if _, err := w.queue.Batch(w.Context(), all, enqueue.BatchOptions{ID: id}); err != nil {
		w.Fatal(err)
	}
}

// The rooms of an application that has never worked fail within five minutes. Rooms of other applications are sent
// meanwhile, and failed rooms can be retried.
func TestUnknownApplication(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{SdkAppIds: []uint64{app}})
	w.second = 20 * time.Millisecond
	stop := w.work()
	began := time.Now()
	w.mixed("mixed", 40, app, app+1)
	w.eventually("it is suspended", func() bool { return w.suspended(app+1).Cause == gate.Application })
	s := w.suspended(app + 1)
	if s.Code != "UnauthorizedOperation.SdkAppId" || !strings.Contains(s.What, fmt.Sprint(app+1)) ||
		!strings.Contains(s.Fix, "--failed --code") {
		t.Errorf("%+v", s)
	}
	b := w.ended("mixed")
	if b.Succeeded != 20 || b.Failed != 20 {
		t.Errorf("%+v", b)
	}
	// The trials take 15 + 60 + 180 of the gate's seconds; the queues add some real ones.
	if took := time.Since(began); took < 255*w.second || took > 255*w.second+40*time.Second {
		t.Errorf("took %s", took)
	}
	if s, _ := w.ledger.Snapshot(t.Context(), "mixed.2"); s.Code != "UnauthorizedOperation.SdkAppId" || s.Message == "" {
		t.Errorf("%+v", s)
	}
	// At most 20 were in flight at first, and three trials follow.
	if n := w.sim.State().Codes["UnauthorizedOperation.SdkAppId"]; n > 24 {
		t.Errorf("%d requests for an application that is refused", n)
	}
	w.eventually("nothing is suspended any more", func() bool { return w.suspended(app+1).Cause == "" })

	// The account gets the application: another simulator accepts it.
	stop()
	again := newWorld(t, w.rdb, tiwtest.Options{})
	again.work()
	if n, err := w.queue.RetryBatch(t.Context(), "mixed", false, "UnauthorizedOperation.SdkAppId"); n != 20 || err != nil {
		t.Fatal(n, err)
	}
	if b := again.until("mixed", "is done", func(b ledger.Batch) bool { return b.Done() == 40 }); b.Succeeded != 40 {
		t.Errorf("%+v", b)
	}
}

// An application that has worked before stays suspended for up to SuspendFor. If Tencent accepts it in that time, its
// rooms are sent. Otherwise they fail.
func TestKnownApplication(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	refused := tiwtest.Faults{AppCodes: map[uint64]string{app + 1: "UnauthorizedOperation.SdkAppId"}}
	setup := func(t *testing.T, suspendFor time.Duration) world {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		w.second, w.suspendFor = 10*time.Millisecond, suspendFor
		w.work()
		w.mixed("before", 4, app, app+1)
		w.ended("before")
		w.faults(refused)
		w.mixed("mixed", 40, app, app+1)
		w.until("mixed", "has its good half done", func(b ledger.Batch) bool { return b.Succeeded == 20 })
		return w
	}

	t.Run("goes on", func(t *testing.T) {
		w := setup(t, time.Hour)
		w.eventually("it was asked for more often than an unknown one", func() bool { return w.suspended(app+1).Trials >= 5 })
		if b := w.until("mixed", "is there", func(ledger.Batch) bool { return true }); b.Failed != 0 {
			t.Errorf("%+v", b)
		}
		w.faults(tiwtest.Faults{})
		if b := w.ended("mixed"); b.Succeeded != 40 {
			t.Errorf("%+v", b)
		}
	})

	t.Run("ends", func(t *testing.T) {
		w := setup(t, 10*time.Second)
		if b := w.ended("mixed"); b.Succeeded != 20 || b.Failed != 20 {
			t.Errorf("%+v", b)
		}
	})
}

// Rooms that wait for a suspended application can be canceled. The suspension ends with the last of them.
func TestCancelSuspended(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{SdkAppIds: []uint64{app}})
	w.work()
	w.mixed("a", 5, app+1)
	w.eventually("it is suspended", func() bool { return w.suspended(app+1).Waiting >= 4 })
	if _, err := w.ledger.CancelBatch(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if b := w.ended("a"); b.Canceled != 5 {
		t.Errorf("%+v", b)
	}
	w.eventually("it is not suspended any more", func() bool { return w.suspended(app+1).Cause == "" })
}

// A person stops all sending at once, and starts it again whatever the reason of the stop.
func TestPersonStops(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.work()
	b := gate.NewBreaker(w.rdb, keys.Default)
	if before, err := b.Stop(t.Context(), "ada", "maintenance"); before != "" || err != nil {
		t.Fatal(before, err)
	}
	w.enqueue("a", 40)
	room := tasks.Room{SdkAppId: app, RoomId: 1000}
	if _, err := w.queue.Room(t.Context(), room, enqueue.RoomOptions{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	single := tasks.KeyID(app, 1000, "k")
	w.eventually("a single room has come and waits", func() bool {
		s, err := w.ledger.Snapshot(t.Context(), single)
		return err == nil && s.State == ledger.Queued
	})
	if s := w.stop(); s.Cause != gate.Person || s.By != "ada" || !strings.Contains(s.Why, "maintenance") ||
		w.creates() != 0 {
		t.Errorf("%+v, %d requests", s, w.creates())
	}
	// A room can be canceled while sending is stopped.
	if state, err := w.ledger.Cancel(t.Context(), single, tasks.Room{}); state != ledger.Canceled || err != nil {
		t.Error(state, err)
	}
	if before, err := b.Start(t.Context()); before != gate.Person || err != nil {
		t.Fatal(before, err)
	}
	if b := w.ended("a"); b.Succeeded != 40 {
		t.Errorf("%+v", b)
	}

	// Start also closes a breaker that would stay open for long.
	w.faults(tiwtest.Faults{Code: 1, CodeName: "LimitExceeded.TaskConcurrency"})
	w.enqueue("b", 5)
	w.stoppedFor(gate.Account)
	w.faults(tiwtest.Faults{})
	if before, err := b.Start(t.Context()); before != gate.Account || err != nil {
		t.Error(before, err)
	}
	if b := w.ended("b"); b.Succeeded != 5 {
		t.Errorf("%+v", b)
	}
}

// An exhausted quota of the account stops all sending for minutes. The stop names this reason, and no attempt is lost.
func TestQuotaIsUsedUp(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	used := tiwtest.Faults{Code: 1, CodeName: "LimitExceeded.TaskConcurrency"}
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: used})
	w.second, w.attempts = 20*time.Millisecond, 1
	w.work()
	w.enqueue("a", 40)
	s := w.stoppedFor(gate.Account)
	if d := s.NextTrial.Sub(s.Since); d < 50*w.second { // the wait is a minute, which is 60 of them
		t.Errorf("asked again after %s", d)
	}
	if !strings.Contains(s.Why, "the account has reached its limit of concurrent tasks") {
		t.Errorf("%+v", s)
	}
	w.eventually("it was asked again", func() bool { return w.stop().Trials >= 2 })
	if n := w.creates(); n > 40/5+3 {
		t.Errorf("%d requests", n)
	}
	w.faults(tiwtest.Faults{})
	if b := w.ended("a"); b.Succeeded != 40 || b.PossibleDuplicates != 0 {
		t.Errorf("%+v", b)
	}
}

// A room that fails while others succeed is retried with backoff, and fails in the end.
func TestRoomFailsAlone(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{
		RoomCodes: map[uint64]string{7: "InternalError"},
	}})
	w.second, w.attempts = time.Millisecond, 5
	w.work()
	w.enqueue("a", 60)
	if b := w.ended("a"); b.Succeeded != 59 || b.Failed != 1 {
		t.Errorf("%+v", b)
	}
	if s, err := w.ledger.Snapshot(t.Context(), "a.7"); err != nil || s.Attempts != 5 || s.Code != "InternalError" {
		t.Errorf("%+v, %v", s, err)
	}
	if s := w.stop(); s.Cause != "" {
		t.Errorf("%+v", s)
	}
}

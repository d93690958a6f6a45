package worker_test

import (
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

// An unreachable endpoint costs no attempts, and sending resumes soon after it is back.
func TestOutage(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.work()
	w.enqueue("a", 120)
	w.waitForBatch("a", "is in progress", func(b ledger.Batch) bool { return b.Accepted+b.Succeeded >= 20 })
	addr := strings.TrimPrefix(w.sim.URL, "http://")
	w.sim.Close()
	before := w.createRequests()
	s := w.waitForStop(gate.Connection)
	if s.Code != "ClientError.ConnectError" ||
		s.Fix == "" || s.WaitsFor == "" || s.Since.IsZero() || s.NextTrial.IsZero() {
		t.Errorf("stop = %+v", s)
	}
	w.eventually("some trials have failed", func() bool { return w.firstStop().Trials >= 6 })
	if b := w.waitForBatch("a", "exists", func(ledger.Batch) bool { return true }); b.Failed != 0 {
		t.Errorf("batch = %+v", b)
	}

	again := tiwtest.New(tiwtest.Options{Window: tiwtest.Sliding, TaskDuration: 100 * time.Millisecond})
	t.Cleanup(again.Close)
	if err := again.Listen(addr); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := again.WaitRequests(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 15*time.Second {
		t.Errorf("sending resumed after %s", d)
	}
	// The second simulator does not know the tasks of the first, so their results do not count here.
	b := w.waitForBatch("a", "is sent", func(b ledger.Batch) bool { return b.Queued+b.Sending+b.Unknown == 0 })
	sent := before + int(again.State().Actions[tiwtest.ActionCreate].Received.Requests)
	cut := sent - 120 // requests in flight when the first simulator died
	if cut > 5 {
		t.Errorf("%d requests for 120 rooms, want at most 125", sent)
	}
	// A request that was cut before the simulator counted it has an unknown outcome.
	if b.PossibleDuplicates > 5 || b.Canceled > 0 {
		t.Errorf("batch = %+v after %d requests for 120 rooms", b, sent)
	}
	for n := 1; n <= 120; n++ {
		s, err := w.ledger.Snapshot(t.Context(), tasks.RowID("a", n))
		if err != nil || s.Attempts > 2 {
			t.Errorf("record = %+v, %v", s, err)
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
			s := w.waitForStop(gate.Storm)
			if s.Code == "" || s.Fix == "" || s.WaitsFor == "" {
				t.Errorf("stop = %+v", s)
			}
			if name != "most calls fail" {
				w.eventually("some trials have failed", func() bool { return w.firstStop().Trials >= 8 })
				if n := w.createRequests(); n > 40 {
					t.Errorf("%d requests for 100 rooms while every call fails, want at most 40", n)
				}
			}
			w.setFaults(tiwtest.Faults{})
			start := time.Now()
			w.eventually("sending is not stopped any more", func() bool { return w.firstStop().Cause == "" })
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("sending resumed after %s", d)
			}
			if b := w.waitForEnd("a"); b.Succeeded != 100 {
				t.Errorf("batch = %+v", b)
			}
			// The breaker counts a room once. Its retries come on top until the breaker opens.
			if n := w.createRequests(); n > 160 {
				t.Errorf("%d requests for 100 rooms, want at most 160", n)
			}
			w.wantWithinLimit()
		})
	}
}

// A person stops all sending at once, and starts it again whatever the reason of the stop.
func TestStopByAPerson(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.work()
	b := gate.NewBreaker(w.rdb, keys.Default)
	if before, err := b.Stop(t.Context(), "ada", "maintenance"); before != "" || err != nil {
		t.Fatalf("cause before the call = %q, %v", before, err)
	}
	w.enqueue("a", 40)
	room := tasks.Room{SdkAppId: app, RoomId: 1000}
	if _, err := w.queue.Room(t.Context(), room, enqueue.RoomOptions{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	single := tasks.KeyID(app, 1000, "k")
	w.eventually("the single room is queued", func() bool {
		s, err := w.ledger.Snapshot(t.Context(), single)
		return err == nil && s.State == ledger.Queued
	})
	if s := w.firstStop(); s.Cause != gate.Person || s.By != "ada" || !strings.Contains(s.Why, "maintenance") ||
		w.createRequests() != 0 {
		t.Errorf("stop = %+v, %d requests, want none", s, w.createRequests())
	}
	// A room can be canceled while sending is stopped.
	if state, err := w.ledger.Cancel(t.Context(), single, tasks.Room{}); state != ledger.Canceled || err != nil {
		t.Errorf("Cancel() = %s, %v", state, err)
	}
	if before, err := b.Start(t.Context()); before != gate.Person || err != nil {
		t.Fatalf("cause before the call = %q, %v", before, err)
	}
	if b := w.waitForEnd("a"); b.Succeeded != 40 {
		t.Errorf("batch = %+v", b)
	}

	// Start also closes a breaker that would stay open for long.
	w.setFaults(tiwtest.Faults{Code: 1, CodeName: "LimitExceeded.TaskConcurrency"})
	w.enqueue("b", 5)
	w.waitForStop(gate.Account)
	w.setFaults(tiwtest.Faults{})
	if before, err := b.Start(t.Context()); before != gate.Account || err != nil {
		t.Errorf("cause before the call = %q, %v", before, err)
	}
	if b := w.waitForEnd("b"); b.Succeeded != 5 {
		t.Errorf("batch = %+v", b)
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
	if b := w.waitForEnd("a"); b.Succeeded != 59 || b.Failed != 1 {
		t.Errorf("batch = %+v", b)
	}
	if s, err := w.ledger.Snapshot(t.Context(), "a.7"); err != nil || s.Attempts != 5 || s.Code != "InternalError" {
		t.Errorf("record = %+v, %v", s, err)
	}
	if s := w.firstStop(); s.Cause != "" {
		t.Errorf("stop = %+v", s)
	}
}

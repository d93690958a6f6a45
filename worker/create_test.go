package worker_test

import (
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/gate"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/worker"
	"tiwsnap/worker/workertest"
)

func TestFaults(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("InternalError and cut connections are retried and counted as possible duplicates", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{
			Faults: tiwtest.Faults{InternalError: 0.05, InternalErrorCreated: 0.05, Cut: 0.1},
		})
		w.second = 10 * time.Millisecond // because a room may fail five times
		w.work()
		w.enqueue("a", 60)
		b := w.waitForEnd("a")
		if b.Succeeded != 60 {
			t.Errorf("batch = %+v", b)
		}
		twice := 0
		for _, n := range w.tasksByRoom() {
			twice += n - 1
		}
		if twice > b.PossibleDuplicates {
			t.Errorf("%d duplicate tasks, but only %d possible duplicates", twice, b.PossibleDuplicates)
		}
		if st := w.sim.State(); b.PossibleDuplicates == 0 || st.Faults["cut"] == 0 {
			t.Errorf("no fault had an effect: faults %v, batch %+v", st.Faults, b)
		}
		w.wantWithinLimit()
	})

	t.Run("attempts are bounded, and the code is kept", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{InternalError: 1}})
		workertest.Run(t, worker.Options{
			Redis: w.rdb, TIW: workertest.API(t, w.sim, tiw.Options{}), Attempts: 3, Second: 50 * time.Millisecond,
		})
		w.enqueue("a", 2)
		if b := w.waitForEnd("a"); b.Failed != 2 {
			t.Errorf("batch = %+v", b)
		}
		s, err := w.ledger.Snapshot(t.Context(), "a.1")
		if err != nil || s.State != ledger.Failed || s.Code != "InternalError" || s.Attempts != 3 ||
			s.PossibleDuplicates != 2 {
			t.Errorf("record = %+v, %v", s, err)
		}
	})

	t.Run("a permanent error fails the snapshot at once with Tencent's message", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
		w.work()
		w.enqueue("a", 2)
		if b := w.waitForEnd("a"); b.Failed != 2 {
			t.Errorf("batch = %+v", b)
		}
		s, err := w.ledger.Snapshot(t.Context(), "a.2")
		if err != nil || s.Code != "InvalidParameter" || s.Message == "" || s.RequestID == "" || s.Attempts != 1 {
			t.Errorf("record = %+v, %v", s, err)
		}
		inspector := asynq.NewInspectorFromRedisClient(w.rdb)
		w.eventually("asynq counts two failures", func() bool {
			info, err := inspector.GetQueueInfo(tasks.QueueBulk(""))
			return err == nil && info.FailedTotal == 2 && info.ProcessedTotal >= 2
		})
	})

	t.Run("a failed render fails the snapshot", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{TaskFailure: 1})
		w.work()
		w.enqueue("a", 2)
		if b := w.waitForEnd("a"); b.Failed != 2 {
			t.Errorf("batch = %+v", b)
		}
		if s, _ := w.ledger.Snapshot(t.Context(), "a.1"); s.Code != "InternalErr" || s.TaskID == "" {
			t.Errorf("record = %+v", s)
		}
		inspector := asynq.NewInspectorFromRedisClient(w.rdb)
		w.eventually("asynq counts two failures", func() bool {
			info, err := inspector.GetQueueInfo(tasks.QueueBulk(""))
			return err == nil && info.FailedTotal == 2 && info.ProcessedTotal >= 2
		})
	})

	t.Run("another client of the account costs no attempt", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{ForeignLoad: 17}})
		w.work()
		w.enqueue("a", 15)
		b := w.waitForEnd("a")
		if b.Succeeded != 15 || b.PossibleDuplicates != 0 {
			t.Errorf("batch = %+v", b)
		}
		if n := w.sim.State().Actions[tiwtest.ActionCreate].Rejected; n == 0 {
			t.Error("the simulator rejected no request, so the test shows nothing")
		}
		w.wantOneTaskEach(15)
	})

	t.Run("arrears stop all sending, cost no attempt, and are reported", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{
			SdkAppIds: []uint64{app}, // the probe must send one of them
			Faults:    tiwtest.Faults{Arrears: tiwtest.Period{For: tiwtest.Duration(time.Hour)}},
		})
		w.work()
		w.enqueue("a", 500)
		if err := w.sim.WaitRequests(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		w.waitForBatch("a", "has no request in flight", func(b ledger.Batch) bool {
			s := w.firstStop()
			return s.Cause == gate.Account && s.Code == "ResourceUnavailable.ServiceExpired" && b.Queued == 500
		})
		if err := w.sim.SetFaults(tiwtest.Faults{}); err != nil { // the bill is paid
			t.Fatal(err)
		}
		w.waitForBatch("a", "makes progress", func(b ledger.Batch) bool { return b.Succeeded > 20 && b.Failed == 0 })
		if n := w.sim.State().Codes["ResourceUnavailable.ServiceExpired"]; n > 60 {
			t.Errorf("%d requests during the arrears, want at most 60", n)
		}
	})
}

func TestHoldUnknown(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Cut: 1}})
	w.hold = true
	w.work()
	w.enqueue("a", 2)
	held := func() int {
		n := 0
		for _, id := range []string{"a.1", "a.2"} {
			if s, err := w.ledger.Snapshot(t.Context(), id); err == nil && s.Held && s.State == ledger.Unknown {
				n++
			}
		}
		return n
	}
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	w.eventually("both are held, and asynq has no task left", func() bool {
		info, err := inspector.GetQueueInfo(tasks.QueueBulk(""))
		return held() == 2 && err == nil && info.Size == 0
	})
	if n := w.sim.State().Actions[tiwtest.ActionCreate].Received.Requests; n != 2 {
		t.Errorf("%d requests, want one for each room", n)
	}
	if err := w.sim.SetFaults(tiwtest.Faults{}); err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"a.1", "a.2"} {
		if ok, err := w.ledger.Retry(t.Context(), id, tasks.Room{SdkAppId: app, RoomId: uint64(i + 1)}); !ok || err != nil {
			t.Errorf("Retry(%s) = %t, %v, want true", id, ok, err)
		}
	}
	if b := w.waitForEnd("a"); b.Succeeded != 2 || b.PossibleDuplicates != 2 {
		t.Errorf("batch = %+v", b)
	}
}

// The outcome of the last allowed attempt is held for review, too.
func TestHoldLastAttempt(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Cut: 1}})
	w.hold, w.attempts = true, 1
	w.work()
	w.enqueue("a", 1)
	w.eventually("the snapshot is held", func() bool {
		s, err := w.ledger.Snapshot(t.Context(), "a.1")
		if err == nil && s.State.Ended() {
			t.Fatalf("the snapshot has ended: %+v", s)
		}
		return err == nil && s.Held
	})
	if state, err := w.ledger.Cancel(t.Context(), "a.1", tasks.Room{}); state != ledger.Canceled || err != nil {
		t.Errorf("Cancel() = %s, %v, want %s", state, err, ledger.Canceled)
	}
	if b := w.waitForEnd("a"); b.Canceled != 1 {
		t.Errorf("batch = %+v", b)
	}
}

func TestClockSkew(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t),
		tiwtest.Options{Clock: func() time.Time { return time.Now().Add(10 * time.Minute) }})
	w.work()
	w.enqueue("a", 30)
	if b := w.waitForEnd("a"); b.Succeeded != 30 || b.PossibleDuplicates != 0 {
		t.Errorf("batch = %+v", b)
	}
	w.wantOneTaskEach(30)
}

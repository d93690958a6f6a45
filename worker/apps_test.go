package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// enqueueMixed enqueues rooms of several applications in turn.
func (w world) enqueueMixed(id string, n int, apps ...uint64) {
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
	w.enqueueMixed("mixed", 40, app, app+1)
	w.eventually("the application is suspended", func() bool { return w.suspension(app+1).Cause == gate.Application })
	s := w.suspension(app + 1)
	if s.Code != "UnauthorizedOperation.SdkAppId" || !strings.Contains(s.What, fmt.Sprint(app+1)) ||
		!strings.Contains(s.Fix, "--failed --code") {
		t.Errorf("stop = %+v", s)
	}
	b := w.waitForEnd("mixed")
	if b.Succeeded != 20 || b.Failed != 20 {
		t.Errorf("batch = %+v", b)
	}
	// The trials take 15 + 60 + 180 of the gate's seconds; the queues add some real ones.
	if took := time.Since(began); took < 255*w.second || took > 255*w.second+40*time.Second {
		t.Errorf("the batch took %s", took)
	}
	if s, _ := w.ledger.Snapshot(t.Context(), "mixed.2"); s.Code != "UnauthorizedOperation.SdkAppId" || s.Message == "" {
		t.Errorf("stop = %+v", s)
	}
	// At most 20 were in flight at first, and three trials follow.
	if n := w.sim.State().Codes["UnauthorizedOperation.SdkAppId"]; n > 24 {
		t.Errorf("%d requests for a refused application, want at most 24", n)
	}
	w.eventually("the application is not suspended any more", func() bool { return w.suspension(app+1).Cause == "" })

	// The account gets the application: another simulator accepts it.
	stop()
	again := newWorld(t, w.rdb, tiwtest.Options{})
	again.work()
	if n, err := w.queue.RetryBatch(t.Context(), "mixed", false, "UnauthorizedOperation.SdkAppId"); n != 20 || err != nil {
		t.Fatalf("RetryBatch() = %d, %v, want 20", n, err)
	}
	b = again.waitForBatch("mixed", "has ended", func(b ledger.Batch) bool { return b.Done() == 40 })
	if b.Succeeded != 40 {
		t.Errorf("batch = %+v", b)
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
		w.enqueueMixed("before", 4, app, app+1)
		w.waitForEnd("before")
		w.setFaults(refused)
		w.enqueueMixed("mixed", 40, app, app+1)
		w.waitForBatch("mixed", "has half of its rooms done", func(b ledger.Batch) bool { return b.Succeeded == 20 })
		return w
	}

	t.Run("is accepted again", func(t *testing.T) {
		w := setup(t, time.Hour)
		w.eventually("the application had more trials than an unknown one", func() bool {
			return w.suspension(app+1).Trials >= 5
		})
		if b := w.waitForBatch("mixed", "exists", func(ledger.Batch) bool { return true }); b.Failed != 0 {
			t.Errorf("batch = %+v", b)
		}
		w.setFaults(tiwtest.Faults{})
		if b := w.waitForEnd("mixed"); b.Succeeded != 40 {
			t.Errorf("batch = %+v", b)
		}
	})

	t.Run("stays refused", func(t *testing.T) {
		w := setup(t, 10*time.Second)
		if b := w.waitForEnd("mixed"); b.Succeeded != 20 || b.Failed != 20 {
			t.Errorf("batch = %+v", b)
		}
	})
}

// Rooms that wait for a suspended application can be canceled. The suspension ends with the last of them.
func TestCancelSuspended(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{SdkAppIds: []uint64{app}})
	w.work()
	w.enqueueMixed("a", 5, app+1)
	w.eventually("the application is suspended", func() bool { return w.suspension(app+1).Waiting >= 4 })
	if _, err := w.ledger.CancelBatch(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if b := w.waitForEnd("a"); b.Canceled != 5 {
		t.Errorf("batch = %+v", b)
	}
	w.eventually("the application is not suspended any more", func() bool { return w.suspension(app+1).Cause == "" })
}

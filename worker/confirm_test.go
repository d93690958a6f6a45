package worker_test

import (
	"testing"
	"time"

	"tiwsnap/keys"
	"tiwsnap/ledger"
	"tiwsnap/redistest"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
)

func TestCallbacks(t *testing.T) {
	t.Parallel()
	t.Run("name the task of a request whose answer was lost: nothing is made twice", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{
			Cut: 0.2, InternalErrorCreated: 0.2, Silent: 0.1, CallbackDouble: 0.5, CallbackEarly: 0.3,
		}})
		w.callbacks()
		w.work()
		w.enqueue("a", 60)
		b := w.ended("a")
		if b.Succeeded != 60 || b.PossibleDuplicates != 0 {
			t.Errorf("%+v", b)
		}
		w.onceEach(60)
		w.cap()
		st := w.sim.State()
		if st.Faults["cut"] == 0 || st.Faults["internalErrorCreated"] == 0 || st.Faults["silent"] == 0 {
			t.Errorf("the simulator broke too little: %v", st.Faults)
		}
	})

	t.Run("that are lost leave a retry after the grace, counted as a possible duplicate", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Cut: 0.3, CallbackLost: 1}})
		w.callbacks()
		w.work()
		w.enqueue("a", 30)
		b := w.ended("a")
		twice := 0
		for _, n := range w.tasksByRoom() {
			twice += n - 1
		}
		if b.Succeeded != 30 || twice == 0 || b.PossibleDuplicates != twice {
			t.Errorf("%d tasks too many, %+v", twice, b)
		}
	})

	t.Run("wake the confirmation", func(t *testing.T) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		w.callbacks()
		w.slow = true
		w.work()
		w.enqueue("a", 5)
		if b := w.ended("a"); b.Succeeded != 5 || b.EndedAt.Sub(b.CreatedAt) > 20*time.Second {
			t.Errorf("%+v", b)
		}
	})
}

func TestResultThatNeverComes(t *testing.T) {
	w := newWorld(t, redistest.Client(t), tiwtest.Options{TaskDuration: time.Hour})
	w.work()
	w.enqueue("a", 1)
	w.until("a", "is accepted", func(b ledger.Batch) bool { return b.Accepted == 1 })
	w.rdb.HSet(t.Context(), keys.Snapshot("a.1"), "accepted_at", time.Now().Add(-72*time.Hour).UnixMilli())
	if b := w.ended("a"); b.Failed != 1 {
		t.Errorf("%+v", b)
	}
	if s, err := w.ledger.Snapshot(t.Context(), "a.1"); err != nil || s.Code != tiw.CodeResultTimeout || s.Message == "" {
		t.Errorf("%+v, %v", s, err)
	}
}

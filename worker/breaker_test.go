package worker_test

import (
	"testing"

	"tiwsnap/enqueue"
	"tiwsnap/ledger"
	"tiwsnap/redistest"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

func TestHeldApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{SdkAppIds: []uint64{app}})
	stop := w.work()
	mixed := func(yield func(tasks.Room, error) bool) {
		for i := range uint64(40) {
			if !yield(tasks.Room{SdkAppId: app + i%2, RoomId: i + 1}, nil) {
				return
			}
		}
	}
	if _, err := w.queue.Batch(t.Context(), mixed, enqueue.BatchOptions{ID: "mixed"}); err != nil {
		t.Fatal(err)
	}
	w.enqueue("good", 20)
	if b := w.ended("good"); b.Succeeded != 20 {
		t.Errorf("%+v", b)
	}
	w.until("mixed", "has its good half done", func(b ledger.Batch) bool { return b.Succeeded == 20 && b.Queued == 20 })
	held, err := w.ledger.HeldApps(t.Context())
	if err != nil || len(held) != 1 || held[app+1].Code != "UnauthorizedOperation.SdkAppId" {
		t.Errorf("held: %+v, %v", held, err)
	}
	if _, tripped, _ := w.ledger.Tripped(t.Context()); tripped {
		t.Error("the fault of one SdkAppId stopped all sending")
	}
	if n := w.sim.State().Codes["UnauthorizedOperation.SdkAppId"]; n > 40 {
		t.Errorf("%d calls for an SdkAppId that is held", n)
	}

	// What waits for an app that nobody owns is canceled: it is not held for ever.
	if _, err := w.queue.Room(t.Context(), tasks.Room{SdkAppId: app + 2, RoomId: 1}, enqueue.RoomOptions{Key: "k"}); err != nil {
		t.Fatal(err)
	}
	is := func(want bool) func() bool {
		return func() bool {
			held, err := w.ledger.HeldApps(t.Context())
			_, ok := held[app+2]
			return err == nil && ok == want
		}
	}
	w.eventually("the other app is held", is(true))
	wrong := tasks.KeyID(app+2, 1, "k")
	w.eventually("its snapshot is queued and can be canceled", func() bool {
		state, err := w.ledger.Cancel(t.Context(), wrong, tasks.Room{SdkAppId: app + 2, RoomId: 1})
		return err == nil && state == ledger.Canceled
	})
	w.eventually("the other app is no longer held", is(false))

	// The app is given to the account: another simulator in the same place.
	stop()
	again := newWorld(t, w.rdb, tiwtest.Options{})
	again.work()
	if b := again.ended("mixed"); b.Succeeded != 40 || b.Failed != 0 {
		t.Errorf("%+v", b)
	}
}

package backlog_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func TestPause(t *testing.T) {
	b := backlog.New(redistest.Client(t), keys.Default)
	enqueue(t, b, "a", 3, tasks.Room{SdkAppId: 1})
	enqueue(t, b, "b", 3, tasks.Room{SdkAppId: 1})
	if err := b.Pause(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"b.1", "b.2"}, take(t, b, "me", 2)); d != "" {
		t.Errorf("Take() (-want +got):\n%s", d)
	}
	for range 2 { // the second call changes nothing
		if err := b.Resume(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"b.3", "a.1", "a.2", "a.3"}, take(t, b, "me", 9)); d != "" {
		t.Errorf("Take() (-want +got):\n%s", d)
	}
	if err := b.Resume(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if ids := take(t, b, "me", 20); len(ids) != 0 {
		t.Errorf("Take() = %v of a batch that has been fed, want none", ids)
	}
	if err := b.Pause(t.Context(), "c"); !errors.Is(err, backlog.ErrNotFound) {
		t.Errorf("Pause() of an unknown batch: error = %v, want ErrNotFound", err)
	}
}

func TestWaiting(t *testing.T) {
	needs.Time(t)
	rdb := redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	wantWaiting := func(inTurn, paused int) {
		t.Helper()
		if n, p, err := b.Waiting(t.Context()); n != inTurn || p != paused || err != nil {
			t.Errorf("Waiting() = %d, %d, %v, want %d, %d", n, p, err, inTurn, paused)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	wantWaiting(0, 0)
	enqueue(t, b, "a", 30, tasks.Room{SdkAppId: 1})
	enqueue(t, b, "b", 5, tasks.Room{SdkAppId: 1})
	wantWaiting(35, 0)
	must(b.Pause(t.Context(), "b"))
	wantWaiting(30, 5)
	must(b.Resume(t.Context(), "b"))
	wantWaiting(35, 0)
	taken := take(t, b, "me", 20)
	wantWaiting(15, 0)
	begin(t, rdb, taken)
	take(t, b, "me", 20)
	wantWaiting(0, 0)
	must(b.Pause(t.Context(), "a"))
	wantWaiting(0, 0)

	// A row that was canceled by itself does not wait any more and is not fed, also if more rows were canceled than
	// one call processes.
	l := ledger.New(rdb, ledger.Options{})
	enqueue(t, b, "large", 2500, tasks.Room{SdkAppId: 1})
	enqueue(t, b, "paused", 10, tasks.Room{SdkAppId: 1})
	must(b.Pause(t.Context(), "paused"))
	must(b.Pause(t.Context(), "paused"))
	wantWaiting(2500, 10)
	for row := 1; row <= 2300; row++ {
		if _, err := l.Cancel(t.Context(), tasks.RowID("large", row),
			tasks.Room{SdkAppId: 1, RoomId: uint64(row)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Cancel(t.Context(), "paused.3", tasks.Room{SdkAppId: 1, RoomId: 3}); err != nil {
		t.Fatal(err)
	}
	wantWaiting(200, 9)
	begin(t, rdb, rdb.ZRange(t.Context(), keys.Default.InFlight(), 0, -1).Val())
	taken = take(t, b, "me", 3)
	if want := []string{"large.2301", "large.2302", "large.2303"}; !slices.Equal(taken, want) {
		t.Errorf("Take() = %v, want %v", taken, want)
	}
	wantWaiting(197, 9)
	if n, err := l.CancelBatch(t.Context(), "paused"); n != 9 || err != nil {
		t.Errorf("CancelBatch(paused) = %d, %v, want 9", n, err)
	}
	wantWaiting(197, 0)
	if n, err := l.CancelBatch(t.Context(), "large"); n != 197 || err != nil {
		t.Errorf("CancelBatch(large) = %d, %v, want 197", n, err)
	}
	wantWaiting(0, 0)
}

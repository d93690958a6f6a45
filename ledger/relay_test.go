package ledger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// If Tencent calls tiwsnap, tiwsnap calls the CallbackURL of a room.
func TestRelay(t *testing.T) {
	setupRelay := func(t *testing.T) (f fixture, p tasks.SnapshotPayload) {
		f = setup(t, 2)
		f.Ledger = ledger.New(f.rdb, ledger.Options{
			Busy: 10 * time.Second, Retention: time.Hour, ConfirmAfter: time.Nanosecond, Relay: true,
		})
		p = row(1)
		p.Room.CallbackURL = "https://example.com/cb"
		return f, p
	}
	t.Run("adds a notice for each end of a room with a CallbackURL, except a cancel", func(t *testing.T) {
		for name, test := range map[string]struct {
			end  func(f fixture, p tasks.SnapshotPayload)
			want int
		}{
			"succeeded": {func(f fixture, p tasks.SnapshotPayload) {
				f.begin(p, "x")
				f.outcome(p, 1, accepted("t1"))
				f.settle(p, "t1", ledger.Succeeded)
			}, 1},
			"refused": {func(f fixture, p tasks.SnapshotPayload) { f.fail(p, "InvalidParameter") }, 1},
			"canceled": {func(f fixture, p tasks.SnapshotPayload) {
				f.begin(p, "x")
				f.cancel(p)
				f.outcome(p, 1, throttled)
			}, 0},
		} {
			f, p := setupRelay(t)
			test.end(f, p)
			test.end(f, row(2))
			want := map[string]int{}
			if test.want > 0 {
				want["callback b.1"] = 1
			}
			if diff := cmp.Diff(want, countNotices(f.notices())); diff != "" {
				t.Errorf("%s: notices (-want +got):\n%s", name, diff)
			}
		}
	})

	t.Run("adds a notice if a ledger without Relay writes the end", func(t *testing.T) {
		f, p := setupRelay(t)
		f.begin(p, "x")
		f.Ledger = ledger.New(f.rdb, ledger.Options{})
		f.outcome(p, 1, accepted("t1"))
		f.settle(p, "t1", ledger.Failed)
		if n := countNotices(f.notices())["callback b.1"]; n != 1 {
			t.Errorf("%d notices, want 1", n)
		}
	})

	t.Run("adds no notice if Tencent got the CallbackURL", func(t *testing.T) {
		f, p := setupRelay(t)
		f.Ledger = ledger.New(f.rdb, ledger.Options{})
		f.fail(p, "InvalidParameter")
		if notices := f.notices(); len(notices) > 0 {
			t.Errorf("notices = %+v, want none", notices)
		}
	})

	t.Run("keeps the whole body of the callback of the task", func(t *testing.T) {
		f, p := setupRelay(t)
		body := `{"TaskID":"t2","Pad":"` + strings.Repeat("x", 20<<10) + `"}`
		f.begin(p, "x")
		f.outcome(p, 1, throttled)
		f.begin(p, "y")
		f.outcome(p, 2, accepted("t2"))
		for attempt, body := range map[int]string{1: "{}", 2: body} {
			if err := f.Callback(t.Context(), p.ID, attempt, "", []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.record(p).Callback; got != body {
			t.Errorf("the stored body has %d bytes, want %d", len(got), len(body))
		}
	})
}

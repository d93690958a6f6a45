package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// Rooms that were enqueued one by one are listed in every state.
func TestStatusListsSingleRooms(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	list := func(args ...string) (states map[uint64]string, more bool) {
		t.Helper()
		var all struct {
			Snapshots []struct {
				ID    string
				State string
				Room  struct{ RoomId uint64 }
			}
			More bool
		}
		if err := json.Unmarshal(
			[]byte(s.ok(append([]string{"status", "--rooms", "-o", "json"}, args...)...)),
			&all,
		); err != nil {
			t.Fatal(err)
		}
		states = map[uint64]string{}
		for _, x := range all.Snapshots {
			if states[x.Room.RoomId] != "" {
				t.Errorf("room %d is listed twice", x.Room.RoomId)
			}
			states[x.Room.RoomId] = x.State
		}
		return states, all.More
	}
	s.says(exitOK, "no single rooms\n", "status", "--rooms")
	s.batch("b", 3)
	enqueue := func(room int) string {
		return strings.TrimSpace(s.ok("enqueue", "room", "--app", "1400123480", "--room", fmt.Sprint(room), "--key", "k"))
	}
	one, two := enqueue(101), enqueue(102)
	want := func(when string, want string, args ...string) {
		t.Helper()
		if got, more := list(args...); fmt.Sprint(got) != want || more != (len(args) > 0) {
			t.Errorf("%s: %v, more %t, want %s", when, got, more, want)
		}
	}
	want("before any worker", "map[101:queued 102:queued]")
	s.ok("cancel", two)
	stop := s.worker()
	s.ok("wait", one, "b")
	if err := s.sim.SetFaults(tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}); err != nil {
		t.Fatal(err)
	}
	three := enqueue(103)
	s.says(exitFailed, "InvalidParameter", "wait", three)
	stop()
	enqueue(104)
	want("after", "map[101:succeeded 102:canceled 103:failed 104:queued]")
	want("with a limit", "map[104:queued]", "--limit", "1")
	s.says(exitOK, "only 1 listed", "status", "--rooms", "--limit", "1")
	s.says(exitOK, three, "status", "--rooms")
	if header, rows := table(
		t,
		s.ok("status", "--rooms", "-o", "csv"),
	); len(rows) != 4 ||
		rows[0][header["RoomId"]] != "104" {
		t.Errorf("%v", rows)
	}
	if out := s.ok("status", "--rooms", "-o", "jsonl"); strings.Count(out, "\n") != 4 {
		t.Errorf("%s", out)
	}
	s.says(exitOK, three, "failures", "--list")
	s.says(exitUsage, "leave out b", "status", "b", "--rooms")
	s.says(exitUsage, "--rooms works only with", "status", "--rooms", "--state", "ended")
}

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
			[]byte(s.mustRun(append([]string{"status", "--rooms", "-o", "json"}, args...)...)),
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
	s.checkRun(exitOK, "no single rooms\n", "status", "--rooms")
	s.enqueueBatch("b", 3)
	enqueue := func(room int) string {
		id := s.mustRun("enqueue", "room", "--app", "1400123480", "--room", fmt.Sprint(room), "--key", "k")
		return strings.TrimSpace(id)
	}
	one, two := enqueue(101), enqueue(102)
	checkList := func(when string, want string, args ...string) {
		t.Helper()
		if got, more := list(args...); fmt.Sprint(got) != want || more != (len(args) > 0) {
			t.Errorf("%s: %v, more %t, want %s", when, got, more, want)
		}
	}
	checkList("before any worker", "map[101:queued 102:queued]")
	s.mustRun("cancel", two)
	stop := s.startWorker()
	s.mustRun("wait", one, "b")
	if err := s.sim.SetFaults(tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}); err != nil {
		t.Fatal(err)
	}
	three := enqueue(103)
	s.checkRun(exitFailed, "InvalidParameter", "wait", three)
	stop()
	enqueue(104)
	checkList("after", "map[101:succeeded 102:canceled 103:failed 104:queued]")
	checkList("with a limit", "map[104:queued]", "--limit", "1")
	s.checkRun(exitOK, "only 1 listed", "status", "--rooms", "--limit", "1")
	s.checkRun(exitOK, three, "status", "--rooms")
	if header, rows := parseCSV(
		t,
		s.mustRun("status", "--rooms", "-o", "csv"),
	); len(rows) != 4 ||
		rows[0][header["RoomId"]] != "104" {
		t.Errorf("CSV: %v, want 4 rows with the newest first", rows)
	}
	if out := s.mustRun("status", "--rooms", "-o", "jsonl"); strings.Count(out, "\n") != 4 {
		t.Errorf("JSON lines:\n%s\nwant 4 lines", out)
	}
	s.checkRun(exitOK, three, "failures", "--list")
	s.checkRun(exitUsage, "leave out b", "status", "b", "--rooms")
	s.checkRun(exitUsage, "--rooms works only with", "status", "--rooms", "--state", "ended")
}

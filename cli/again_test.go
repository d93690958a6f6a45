package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// again enqueues all rooms of a batch with their labels and parameters, whether they failed or not.
func TestAgain(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.startWorker()
	const list = `{"RoomId":1,"Label":{"Class":"3B"}}` + "\n" + `{"RoomId":2,"SnapshotMode":"LatestMarksOnly"}` + "\n"
	if code, _, stderr := s.run(list, "enqueue", "batch", "-", "--app", "1400123480", "--name", "monday",
		"--wait"); code != exitOK {
		t.Fatal(stderr)
	}
	code, stdout, stderr := s.run("", "again", "monday", "--name", "tuesday", "--wait", "-o", "jsonl")
	if code != exitOK || !strings.Contains(stderr, "batch tuesday: 2 rooms of monday enqueued\n") {
		t.Fatalf("again: exit code %d, %q, %q", code, stdout, stderr)
	}
	for _, want := range []string{`"Label":{"Class":"3B"}`, `"SnapshotMode":"LatestMarksOnly"`, "tuesday.2"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("result list lacks %s:\n%s", want, stdout)
		}
	}
	if n := s.sim.State().Tasks.Created; n != 4 {
		t.Errorf("%d tasks created, want 4", n)
	}
	if code, stdout, stderr := s.run("", "again", "monday", "--name", "tuesday"); code != exitUsage || stdout != "" ||
		stderr != "tiwsnap: nothing was enqueued: batch tuesday exists already; choose another --name\n" {
		t.Errorf("existing name: exit code %d, %q, %q", code, stdout, stderr)
	}
	var named struct {
		ID    string
		Rooms int
	}
	_, stdout, stderr = s.run("", "again", "monday", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &named); err != nil || !strings.HasPrefix(named.ID, "monday-20") ||
		named.Rooms != 2 {
		t.Errorf("again without --name printed %q, %q: %v", stdout, stderr, err)
	}
	if code, stdout, _ := s.run("", "audit", "-o", "json"); code != exitOK ||
		!strings.Contains(stdout, "tuesday: 2 rooms") {
		t.Errorf("the audit log lacks the batch: %s", stdout)
	}
}

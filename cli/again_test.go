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
	s.worker()
	const list = `{"RoomId":1,"Label":{"Class":"3B"}}` + "\n" + `{"RoomId":2,"SnapshotMode":"LatestMarksOnly"}` + "\n"
	if code, _, stderr := s.run(list, "enqueue", "batch", "-", "--app", "1400123480", "--name", "monday",
		"--wait"); code != exitOK {
		t.Fatal(stderr)
	}
	code, stdout, stderr := s.run("", "again", "monday", "--name", "tuesday", "--wait", "-o", "jsonl")
	if code != exitOK || !strings.Contains(stderr, "batch tuesday: 2 rooms of monday enqueued\n") {
		t.Fatalf("exit %d, %q, %q", code, stdout, stderr)
	}
	for _, want := range []string{`"Label":{"Class":"3B"}`, `"SnapshotMode":"LatestMarksOnly"`, "tuesday.2"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%s lacks %s", stdout, want)
		}
	}
	if n := s.sim.State().Tasks.Created; n != 4 {
		t.Errorf("%d tasks made, want 4", n)
	}
	if code, stdout, stderr := s.run("", "again", "monday", "--name", "tuesday"); code != exitUsage || stdout != "" ||
		stderr != "tiwsnap: nothing was enqueued: batch tuesday exists already; choose another --name\n" {
		t.Errorf("a name that exists: exit %d, %q, %q", code, stdout, stderr)
	}
	var named struct {
		ID    string
		Rooms int
	}
	_, stdout, stderr = s.run("", "again", "monday", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &named); err != nil || !strings.HasPrefix(named.ID, "monday-20") ||
		named.Rooms != 2 {
		t.Errorf("%v: %q, %q", err, stdout, stderr)
	}
	if code, stdout, _ := s.run("", "audit", "-o", "json"); code != exitOK ||
		!strings.Contains(stdout, "tuesday: 2 rooms") {
		t.Errorf("the audit log has %s", stdout)
	}
}

// enqueue batch --check needs no Redis and reports the bad rows.
func TestEnqueueBatchChecks(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := site{T: t, environ: map[string]string{"TIWSNAP_REDIS_URL": "redis://127.0.0.1:1"}}
	code, stdout, stderr := s.run("RoomId\n1\nx\n2\n1\n", "enqueue", "batch", "-", "--app", "7", "--check")
	if code != exitFailed || stdout != "2 rooms valid, 2 bad rows; nothing was enqueued\n" ||
		!strings.Contains(stderr, "line 3") || !strings.Contains(stderr, "line 5") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	if code, stdout, _ := s.run("RoomId\n1\n", "enqueue", "batch", "-", "--app", "7",
		"--check", "-o", "jsonl"); code != exitOK ||
		stdout != `{"bad_rows":0,"rooms":1}`+"\n" {
		t.Errorf("exit %d, %q", code, stdout)
	}
	for name, args := range map[string][]string{
		"strict":  {"--check", "--strict", "--app", "7"},
		"no app":  {"--check"},
		"to wait": {"--check", "--wait", "--app", "7"},
	} {
		code, stdout, stderr := s.run("RoomId\n1\nx\n", append([]string{"enqueue", "batch", "-"}, args...)...)
		if code != exitUsage || stdout != "" || stderr == "" {
			t.Errorf("%s: exit %d, %q, %q", name, code, stdout, stderr)
		}
	}
}

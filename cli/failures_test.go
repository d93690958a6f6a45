package cli

import (
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

func TestStatusExplainsFailure(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
	s.startWorker()
	code, stdout, _ := s.run("RoomId\n5\n", "enqueue", "batch", "-", "--app", "1400123480", "--name", "bad", "--wait")
	if code != exitFailed || !strings.Contains(stdout, "failed") {
		t.Errorf("enqueue batch --wait: exit code %d: %s", code, stdout)
	}
	out := s.mustRun("status", "bad.1")
	for _, want := range []string{"failed", "InvalidParameter", "a parameter is wrong", "correct the room's parameters"} {
		if !strings.Contains(out, want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
}

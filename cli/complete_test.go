package cli

import (
	"slices"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

func TestCompletion(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatches(3)
	s.mustRun("pause", "b-2")
	checkCompletion := func(want string, args ...string) {
		t.Helper()
		var got []string
		for line := range strings.Lines(s.mustRun(append([]string{"__complete"}, args...)...)) {
			if name, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(name, ":") {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%v offers %q, want %q", args, strings.Join(got, " "), want)
		}
	}
	for _, command := range []string{"status", "wait", "cancel"} {
		checkCompletion("b-1 b-2 b-3", command, "b")
		checkCompletion("", command, "c")
	}
	checkCompletion("b-1 b-3", "pause", "")
	checkCompletion("b-2", "resume", "")
	checkCompletion("", "retry", "")
	s.mustRun("cancel", "b-1")
	checkCompletion("b-2 b-3", "cancel", "")
	checkCompletion("", "failures", "--batch", "")
	checkCompletion("canceled ended paused running", "status", "--state", "")
	checkCompletion("csv json jsonl table xlsx", "status", "-o", "")
	s.environ["TIWSNAP_REDIS_URL"] = "redis://127.0.0.1:1"
	checkCompletion("", "status", "")
	s.environ["TIWSNAP_CONFIG"] = s.file(
		"tiwsnap.yml",
		`schedules: [{name: evening, cron: "0 1 * * *", rooms: {list: "RoomId\n1\n"}, defaults: {SdkAppId: 1}}]`,
	)
	checkCompletion("evening", "schedule", "run", "")
	checkCompletion("evening", "schedule", "next", "")
}

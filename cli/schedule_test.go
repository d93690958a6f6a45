package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tiwsnap/internal/redistest"
)

func TestScheduleCommands(t *testing.T) {
	t.Parallel()
	redisURL := redistest.URL(t)
	file := filepath.Join(t.TempDir(), "tiwsnap.yml")
	text := `
redis: {url: "` + redisURL + `"}
schedules:
  - name: evening
    cron: "30 17 * * *"
    timezone: Asia/Shanghai
    rooms: {list: "RoomId\n1\n2\n"}
    defaults: {SdkAppId: 1400123480}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tiwsnap := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs strings.Builder
		e := env{strings.NewReader(""), &out, &errs, func() []string { return nil }}
		if code := run(t.Context(), append(args, "--config", file), e); code != want {
			t.Fatalf("%v: exit code %d, want %d\n%s", args, code, want, errs.String())
		}
		return out.String(), errs.String()
	}
	out, _ := tiwsnap(exitOK, "schedule", "list")
	if !regexp.MustCompile(`(?m)^evening +30 17 \* \* \* +list +\S+T17:30:00\+08:00 +-`).MatchString(out) {
		t.Errorf("schedule list printed\n%s", out)
	}
	out, _ = tiwsnap(exitOK, "schedule", "next", "evening", "-n", "3")
	if lines := strings.Fields(out); len(lines) != 12 || strings.Count(out, "17:30:00 +08:00") != 3 {
		t.Errorf("schedule next printed\n%s", out)
	}
	out, _ = tiwsnap(exitOK, "schedule", "run", "evening")
	if !regexp.MustCompile(`^evening-by-hand-\d{8}t\d{6}z\n$`).MatchString(out) {
		t.Errorf("schedule run printed %q", out)
	}
	if out, _ = tiwsnap(exitOK, "status", "-o", "json"); !strings.Contains(out, "evening-by-hand-") {
		t.Errorf("status lists\n%s", out)
	}
	if _, stderr := tiwsnap(exitUsage, "schedule", "run", "morning"); !strings.Contains(stderr,
		"the schedules are evening") {
		t.Errorf("unknown schedule: stderr %s", stderr)
	}
	tiwsnap(exitUsage, "schedule", "next", "evening", "-n", "0")

	if err := os.WriteFile(file, []byte("schedules: [{name: a, cron: '0 0 30 2 *', rooms: {file: missing.csv}}]\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr := tiwsnap(exitConfig, "config", "check"); !strings.Contains(stderr, "never matches") ||
		!strings.Contains(stderr, "missing.csv") {
		t.Errorf("config check: stderr %s", stderr)
	}
}

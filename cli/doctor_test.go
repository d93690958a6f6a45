package cli

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/redistest"
)

// measured matches the parts of the doctor's output that differ between runs.
var measured = regexp.MustCompile(`[0-9.]+(µs|ms| MB)|\b0s\b|7\.\d+\.\d+|127\.0\.0\.1:\d+`)

// runDoctor runs the doctor and returns its lines, with # in place of each measured value.
func runDoctor(t *testing.T, environ []string, args ...string) (lines []string, code int) {
	t.Helper()
	out, errs, code := tiwsnap(t, environ, append([]string{"doctor"}, args...)...)
	if errs != "" {
		t.Errorf("stderr: %s", errs)
	}
	return strings.Split(strings.TrimSuffix(measured.ReplaceAllString(out, "#"), "\n"), "\n"), code
}

func TestDoctorJSON(t *testing.T) {
	s := redistest.Real(t)
	out, errs, code := tiwsnap(t, nil, "doctor", "--skip-tiw", "-o", "json", "--redis-url", s.URL())
	if code != exitOK || errs != "" {
		t.Fatalf("doctor: exit code %d, %s", code, errs)
	}
	var findings []map[string]string
	if err := json.Unmarshal([]byte(out), &findings); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := map[string]string{
		"check": "redis persistence", "status": "warn",
		"detail": "AOF is off: accepted snapshots are lost if Redis crashes",
		"fix":    "CONFIG SET appendonly yes, and the same in redis.conf",
	}
	for _, f := range findings {
		if f["check"] == want["check"] {
			if diff := cmp.Diff(want, f); diff != "" {
				t.Errorf("finding (-want +got):\n%s", diff)
			}
			return
		}
	}
	t.Errorf("no finding for redis persistence:\n%s", out)
}

func TestDoctorRejectsUnknownFormat(t *testing.T) {
	if _, errs, code := tiwsnap(t, nil, "doctor", "-o", "xml"); code != exitUsage ||
		errs != "tiwsnap: --output \"xml\": it must be one of table, json\n" {
		t.Errorf("doctor: exit code %d, %q", code, errs)
	}
}

func TestDoctorRejectsBadConfiguration(t *testing.T) {
	if out, errs, code := tiwsnap(t, []string{"TIWSNAP_RATE_LIMIT=0"}, "doctor"); code != exitConfig || out != "" ||
		!strings.Contains(errs, "TIWSNAP_RATE_LIMIT") {
		t.Errorf("doctor: exit code %d, %q, %q", code, out, errs)
	}
}

package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

func TestStopAndStart(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	if code, out, stderr := s.run("", "start"); code != exitOK || out != "sending was not stopped\n" || stderr != "" {
		t.Errorf("start: exit code %d, %q, %q", code, out, stderr)
	}
	if code, out, _ := s.run("", "stop", "--reason", "exams until 6"); code != exitOK ||
		!strings.HasPrefix(out, "sending is stopped") {
		t.Errorf("stop: exit code %d, %q", code, out)
	}
	_, _, stderr := s.run("", "status")
	if !strings.HasPrefix(stderr, "Sending is stopped since ") ||
		!strings.Contains(stderr, ": exams until 6. It waits for tiwsnap start. Fix: tiwsnap start") {
		t.Errorf("status while stopped: %q", stderr)
	}
	if code, out, _ := s.run("", "start"); code != exitOK || out != "sending has started; it was stopped by a person\n" {
		t.Errorf("start: exit code %d, %q", code, out)
	}
	if _, _, stderr := s.run("", "status"); stderr != noWorker+"no batches\n" {
		t.Errorf("status after start: %q", stderr)
	}
	if code, _, stderr := s.run("", "stop", "--reason", strings.Repeat("x", 201)); code != exitUsage ||
		!strings.Contains(stderr, "201 bytes") {
		t.Errorf("stop with a long reason: exit code %d, %q", code, stderr)
	}
}

func TestStopsAreReportedFirst(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	c := s.client()
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	err := errors.Join(
		c.HSet(t.Context(), keys.Default.Breaker(), "cause", "account", "code", "ResourceUnavailable.ServiceExpired",
			"since", since.UnixMilli(), "pass", 1, "next_trial_at", since.AddDate(1000, 0, 0).UnixMilli()).Err(),
		c.HSet(t.Context(), keys.Default.Suspension(7), "code", "UnauthorizedOperation.SdkAppId", "since",
			since.UnixMilli()).Err(),
		c.ZAdd(t.Context(), keys.Default.Suspended(),
			redis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli()), Member: 7}).Err(),
	)
	if err != nil {
		t.Fatal(err)
	}
	code, out, _ := s.run("", "doctor")
	if code != exitUnavailable ||
		!strings.HasPrefix(out,
			"FAIL  sending: Sending is stopped since 2026-01-02T03:04:05Z: ResourceUnavailable.ServiceExpired") ||
		!strings.Contains(out, "FAIL  application 7: Application 7 is suspended since") {
		t.Errorf("doctor, exit code %d:\n%s", code, out)
	}
	if _, _, stderr := s.run("", "status"); !strings.HasPrefix(stderr,
		"Sending is stopped since 2026-01-02T03:04:05Z: ResourceUnavailable.ServiceExpired") ||
		!strings.Contains(stderr, "Application 7 is suspended") {
		t.Errorf("status: %s", stderr)
	}
}

package cli

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// noWorker is the first line of status if no worker is running.
const noWorker = "No worker is running: queued rooms wait. Fix: start one with tiwsnap worker\n"

// startCommand starts a command. waitForOutput waits until the command has written a text to stderr, and end waits for
// its exit.
func (s site) startCommand(args ...string) (waitForOutput func(text string), end func() (code int, stderr string)) {
	s.Helper()
	var mu sync.Mutex
	var text strings.Builder
	more := make(chan struct{}, 1)
	stderr := writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		select {
		case more <- struct{}{}:
		default:
		}
		return text.Write(p)
	})
	all := func() string { mu.Lock(); defer mu.Unlock(); return text.String() }
	ctx, cancel := context.WithTimeout(s.Context(), 2*time.Minute)
	ended := make(chan int, 1)
	go func() {
		defer cancel()
		ended <- run(ctx, args,
			env{strings.NewReader(""), writerFunc(func(p []byte) (int, error) { return len(p), nil }), stderr,
				variables(s.environ)})
	}()
	waitForOutput = func(want string) {
		s.Helper()
		for !strings.Contains(all(), want) {
			select {
			case <-more:
			case <-ctx.Done():
				s.Fatalf("tiwsnap %s: does not print %q:\n%s", strings.Join(args, " "), want, all())
			}
		}
	}
	return waitForOutput, func() (int, string) { return <-ended, all() }
}

// wait prints the reason for a stall, once for each change.
func TestWaitReportsStall(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatch("b", 40)
	s.mustRun("stop", "--reason", "exams")
	s.mustRun("pause", "b")
	c := s.client()
	past := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c.HSet(t.Context(), keys.Default.Suspension(7), "code", "UnauthorizedOperation.SdkAppId", "since", past.UnixMilli())
	c.ZAdd(
		t.Context(),
		keys.Default.Suspended(),
		redis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli()), Member: 7},
	)

	waitForOutput, end := s.startCommand("wait", "b")
	reasons := []string{
		"b: waiting: Sending is stopped since ", ": exams. It waits for tiwsnap start. Fix: tiwsnap start",
		"b: waiting: Application 7 is suspended since 2026-01-02T03:04:05Z: UnauthorizedOperation.SdkAppId",
		"b: waiting: " + noWorker,
		"b: waiting: the batch is paused. Fix: tiwsnap resume b\n",
	}
	for _, want := range reasons {
		waitForOutput(want)
	}
	c.Del(t.Context(), keys.Default.Suspension(7), keys.Default.Suspended())
	s.startWorker()
	s.mustRun("start")
	s.mustRun("resume", "b")
	waitForOutput("b: running again\n")
	code, text := end()
	if code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, want := range append(reasons, "b: running again\n") {
		if n := strings.Count(text, want); n != 1 {
			t.Errorf("%q is printed %d times, want once:\n%s", want, n, text)
		}
	}
}

// Every command that shows the state reports that no worker is running. It no longer does when one runs.
func TestMissingWorkerIsReported(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	commands := [][]string{{"status"}, {"status", "-o", "json"}, {"doctor"}, {"doctor", "-o", "json"}}
	for _, args := range commands {
		s.checkRun(exitOK, "No worker is running", args...)
		s.checkRun(exitOK, "start one with tiwsnap worker", args...)
	}
	waitForOutput, end := s.startCommand("enqueue", "room", "--app", "1400123480", "--room", "7", "--wait")
	waitForOutput("waiting: " + noWorker)
	stop := s.startWorker()
	if code, text := end(); code != exitOK || strings.Count(text, "No worker") != 1 {
		t.Errorf("exit code %d:\n%s", code, text)
	}
	for _, args := range commands {
		if code, stdout, stderr := s.run("", args...); code != exitOK || strings.Contains(stdout+stderr, "No worker") {
			t.Errorf("tiwsnap %v, with a running worker: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
	stop()
	if _, _, stderr := s.run("", "status"); !slices.Contains(strings.SplitAfter(stderr, "\n"), noWorker) {
		t.Errorf("status, after the worker has stopped: %q", stderr)
	}
}

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

// follow starts a command. prints waits until the command has written a text to stderr, and end waits for its exit.
func (s site) follow(args ...string) (prints func(text string), end func() (code int, stderr string)) {
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
	prints = func(want string) {
		s.Helper()
		for !strings.Contains(all(), want) {
			select {
			case <-more:
			case <-ctx.Done():
				s.Fatalf("tiwsnap %s: it does not print %q:\n%s", strings.Join(args, " "), want, all())
			}
		}
	}
	return prints, func() (int, string) { return <-ended, all() }
}

// wait prints the reason why nothing moves, once for each change.
func TestWaitSaysWhyNothingMoves(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.batch("b", 40)
	s.ok("stop", "--reason", "exams")
	s.ok("pause", "b")
	c := s.client()
	past := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c.HSet(t.Context(), keys.Default.Suspension(7), "code", "UnauthorizedOperation.SdkAppId", "since", past.UnixMilli())
	c.ZAdd(
		t.Context(),
		keys.Default.Suspended(),
		redis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli()), Member: 7},
	)

	prints, end := s.follow("wait", "b")
	reasons := []string{
		"b: waiting: Sending is stopped since ", ": exams. It waits for tiwsnap start. Fix: tiwsnap start",
		"b: waiting: Application 7 is suspended since 2026-01-02T03:04:05Z: UnauthorizedOperation.SdkAppId",
		"b: waiting: " + noWorker,
		"b: waiting: the batch is paused. Fix: tiwsnap resume b\n",
	}
	for _, want := range reasons {
		prints(want)
	}
	c.Del(t.Context(), keys.Default.Suspension(7), keys.Default.Suspended())
	s.worker()
	s.ok("start")
	s.ok("resume", "b")
	prints("b: running again\n")
	code, text := end()
	if code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, want := range append(reasons, "b: running again\n") {
		if n := strings.Count(text, want); n != 1 {
			t.Errorf("it says %d times %q:\n%s", n, want, text)
		}
	}
}

// Every command that shows the state reports that no worker is running. It no longer does when one runs.
func TestNoWorkerRuns(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	commands := [][]string{{"status"}, {"status", "-o", "json"}, {"doctor"}, {"doctor", "-o", "json"}}
	for _, args := range commands {
		s.says(exitOK, "No worker is running", args...)
		s.says(exitOK, "start one with tiwsnap worker", args...)
	}
	prints, end := s.follow("enqueue", "room", "--app", "1400123480", "--room", "7", "--wait")
	prints("waiting: " + noWorker)
	stop := s.worker()
	if code, text := end(); code != exitOK || strings.Count(text, "No worker") != 1 {
		t.Errorf("exit code %d:\n%s", code, text)
	}
	for _, args := range commands {
		if code, stdout, stderr := s.run("", args...); code != exitOK || strings.Contains(stdout+stderr, "No worker") {
			t.Errorf("tiwsnap %v, with a worker: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
	stop()
	if _, _, stderr := s.run("", "status"); !slices.Contains(strings.SplitAfter(stderr, "\n"), noWorker) {
		t.Errorf("status, after the worker has stopped: %q", stderr)
	}
}

package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// site is a Redis and a simulator, and runs commands against them.
type site struct {
	*testing.T
	redis   string // its URL
	sim     *tiwtest.Server
	environ map[string]string
}

func newSite(t *testing.T, o tiwtest.Options) site { return newSiteOn(t, redistest.URL(t), o) }

func newSiteOn(t *testing.T, redisURL string, o tiwtest.Options) site {
	o.Window = tiwtest.Sliding
	o.TaskDuration = 100 * time.Millisecond
	sim := tiwtest.Start(t, o)
	return site{t, redisURL, sim, map[string]string{
		"TIWSNAP_REDIS_URL":       redisURL,
		"TIWSNAP_TIW_ENDPOINT":    sim.URL,
		"TENCENTCLOUD_SECRET_ID":  tiwtest.DefaultSecret,
		"TENCENTCLOUD_SECRET_KEY": tiwtest.DefaultSecret,
		"TIWSNAP_CONFIRM_AFTER":   "200ms",
		"TIWSNAP_HTTP_ADDR":       "", // many sites share this machine
		// A Redis of another test may have had this address. What is stored about it must not be used here.
		"TIWSNAP_WORKER_SPOOL": t.TempDir(),
	}}
}

// client returns a client of the site's Redis.
func (s site) client() redis.UniversalClient {
	s.Helper()
	c, closeRedis, err := rdb.Open(s.redis)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { closeRedis() })
	return c
}

// within is the timeout of a command.
const within = 4 * time.Minute

// run runs a command to its end.
func (s site) run(stdin string, args ...string) (code int, stdout, stderr string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), within)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, args, env{strings.NewReader(stdin), &out, &errs, variables(s.environ)})
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.Fatalf("tiwsnap %s: not ended within %s\n%s", strings.Join(args, " "), within, errs.String())
	}
	return code, out.String(), errs.String()
}

// mustRun runs a command that must exit with 0 and returns its stdout.
func (s site) mustRun(args ...string) string {
	s.Helper()
	code, stdout, stderr := s.run("", args...)
	if code != exitOK {
		s.Fatalf("tiwsnap %v: exit code %d\n%s", args, code, stderr)
	}
	return stdout
}

// checkRun runs a command and checks its exit code. The words must be in its stdout or stderr.
func (s site) checkRun(code int, words string, args ...string) {
	s.Helper()
	got, stdout, stderr := s.run("", args...)
	if got != code || !strings.Contains(stdout+stderr, words) {
		s.Errorf("tiwsnap %s: exit code %d, want %d; want %q in the output:\n%s%s", strings.Join(args, " "), got, code,
			words, stdout, stderr)
	}
}

// startWorker runs the worker command until the test ends, or stop is called.
func (s site) startWorker(flags ...string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var out, errs bytes.Buffer
		if code := run(ctx, append([]string{"worker"}, flags...),
			env{strings.NewReader(""), &out, &errs, variables(s.environ)}); code != exitOK {
			s.Errorf("worker: exit code %d\n%s", code, errs.String())
		}
	}()
	stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(within):
			pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
			s.Errorf("the worker has not stopped within %s", within)
		}
	}
	s.Cleanup(stop)
	return stop
}

// file writes a file of the test and returns its path.
func (s site) file(name, text string) string {
	s.Helper()
	path := filepath.Join(s.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

// parseCSV returns the columns of a list by name, and its rows.
func parseCSV(t *testing.T, text string) (header map[string]int, rows [][]string) {
	t.Helper()
	all, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(all) == 0 {
		t.Fatalf("not CSV: %v\n%s", err, text)
	}
	header = make(map[string]int)
	for i, name := range all[0] {
		header[name] = i
	}
	return header, all[1:]
}

// tiwsnap runs a command line with environ as its whole environment.
func tiwsnap(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, env{strings.NewReader(""), &out, &errs, func() []string { return environ }})
	return out.String(), errs.String(), code
}

// variables returns an environment with only these variables.
func variables(m map[string]string) func() []string {
	return func() []string {
		var environ []string
		for name, value := range m {
			environ = append(environ, name+"="+value)
		}
		return environ
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// enqueueBatch enqueues rooms 1 to n.
func (s site) enqueueBatch(name string, n int) {
	s.Helper()
	list := "RoomId\n"
	for i := range n {
		list += fmt.Sprintln(i + 1)
	}
	if code, _, stderr := s.run(list, "enqueue", "batch", "-", "--app", "1400123480", "--name", name); code != exitOK {
		s.Fatalf("exit code %d: %s", code, stderr)
	}
}

// rowStates returns the states of a batch's rows from its result list.
func (s site) rowStates(batch string) (states []string) {
	s.Helper()
	header, rows := parseCSV(s.T, s.mustRun("status", batch, "-o", "csv"))
	for _, row := range rows {
		states = append(states, row[header["State"]])
	}
	return states
}

type batchJSON struct {
	State                                 string
	Queued, Accepted, Succeeded, Canceled int
}

func (s site) batchStatus(batch string) (b batchJSON) {
	s.Helper()
	if err := json.Unmarshal([]byte(s.mustRun("status", batch, "-o", "json")), &b); err != nil {
		s.Fatal(err)
	}
	return b
}

// waitForBatch polls the batch every 20 ms until ok returns true.
func (s site) waitForBatch(batch, what string, ok func(batchJSON) bool) {
	s.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		b := s.batchStatus(batch)
		if ok(b) {
			return
		}
		select {
		case <-deadline:
			s.Fatalf("batch %s: not %s within a minute; it is %+v", batch, what, b)
		case <-tick.C:
		}
	}
}

// withVariable returns the site with another value of a variable.
func (s site) withVariable(name, value string) site {
	s.environ = maps.Clone(s.environ)
	s.environ[name] = value
	return s
}

// runToEnd runs a command to its end and returns its output. With stop, it interrupts the command after its first
// output, and after two minutes in any case.
func (s site) runToEnd(stdin string, stop bool, args []string) (code int, text string) {
	ctx, cancel := context.WithTimeout(s.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	var b strings.Builder
	w := writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if stop && len(p) > 0 {
			cancel()
		}
		return b.Write(p)
	})
	code = run(ctx, args, env{strings.NewReader(stdin), w, w, variables(s.environ)})
	return code, b.String()
}

// waitUntil polls every 20 ms, for conditions without a notification.
func (s site) waitUntil(what string, ok func() bool) {
	s.Helper()
	redistest.Until(s, what, ok)
}

// rows returns the rows of a batch's result list, by column.
func (s site) rows(batch string) (all []map[string]string) {
	s.Helper()
	header, rows := parseCSV(s.T, s.mustRun("status", batch, "-o", "csv"))
	for _, cells := range rows {
		row := make(map[string]string)
		for name, i := range header {
			row[name] = cells[i]
		}
		all = append(all, row)
	}
	return all
}

// lines is a log that other goroutines write while a test waits for its lines.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

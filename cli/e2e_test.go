package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/needs"
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

// ok runs a command that must exit with 0 and returns its stdout.
func (s site) ok(args ...string) string {
	s.Helper()
	code, stdout, stderr := s.run("", args...)
	if code != exitOK {
		s.Fatalf("tiwsnap %v: exit code %d\n%s", args, code, stderr)
	}
	return stdout
}

// worker runs the worker command until the test ends, or stop is called.
func (s site) worker(flags ...string) (stop func()) {
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

func (s site) file(name, text string) string {
	s.Helper()
	path := filepath.Join(s.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

func table(t *testing.T, text string) (header map[string]int, rows [][]string) {
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

func TestBatchFromListToImages(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.worker()
	list := s.file("Class 3B.csv",
		"SdkAppId;RoomId;Label.Class;Label.Note\r\n1400123480;7;3B 数学;=SUM(A1)\r\n1400123480;8;3C;\"a, \"\"b\"\"\"\r\n")
	id := strings.Fields(s.ok("enqueue", "batch", list, "--wait", "-o", "json"))
	if len(id) == 0 {
		t.Fatal("nothing printed")
	}
	overview := s.ok("status", "-o", "csv")
	_, batches := table(t, overview)
	if len(batches) != 1 || !strings.HasPrefix(batches[0][0], "class-3b-") {
		t.Fatalf("overview: %s", overview)
	}
	batch := batches[0][0]

	header, rows := table(t, s.ok("status", batch, "-o", "csv"))
	if len(rows) != 2 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, want := range []map[string]string{
		{"Snapshot": batch + ".1", "SdkAppId": "1400123480", "RoomId": "7", "State": "succeeded", "Attempts": "1",
			"Label.Class": "3B 数学", "Label.Note": "'=SUM(A1)"},
		{"Snapshot": batch + ".2", "RoomId": "8", "State": "succeeded", "Label.Class": "3C", "Label.Note": `a, "b"`},
	} {
		for name, value := range want {
			if got := rows[i][header[name]]; got != value {
				t.Errorf("row %d, %s is %q, want %q", i+1, name, got, value)
			}
		}
		images := strings.Fields(rows[i][header["Snapshots"]])
		if len(images) == 0 {
			t.Errorf("row %d has no images", i+1)
		}
		for _, url := range images {
			resp, err := http.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "image/png" {
				t.Errorf("%s: %s, %s", url, resp.Status, resp.Header.Get("Content-Type"))
			}
		}
	}

	lines := strings.Split(strings.TrimSpace(s.ok("status", batch, "-o", "jsonl")), "\n")
	var line struct {
		ID, State string
		Room      struct{ RoomId uint64 }
		Images    []string
	}
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	if err := json.Unmarshal([]byte(lines[1]), &line); err != nil || line.ID != batch+".2" || line.Room.RoomId != 8 ||
		len(line.Images) == 0 {
		t.Errorf("%s: %v", lines[1], err)
	}
	if out := s.ok("status", batch+".1"); !strings.Contains(out, "succeeded") || !strings.Contains(out, "RequestId") ||
		!strings.Contains(out, ".png") {
		t.Errorf("status of a row: %s", out)
	}
	if out := s.ok("status", batch); !strings.Contains(out, "ended") {
		t.Errorf("status of the batch: %s", out)
	}

	code, stdout, stderr := s.run("", "enqueue", "batch", list)
	if code != exitOK || strings.TrimSpace(stdout) != batch ||
		!strings.Contains(stderr, "exists already with the same 2 rooms") {
		t.Errorf("the same list again: %d %q %q", code, stdout, stderr)
	}
	if n := s.sim.State().Tasks.Created; n != 2 {
		t.Errorf("%d tasks made for 2 rooms", n)
	}
	other := s.file("other.csv", "SdkAppId,RoomId\n1400123480,9\n")
	if code, _, stderr := s.run("", "enqueue", "batch", other, "--name", batch); code != exitUsage ||
		!strings.Contains(stderr, "with other rooms") {
		t.Errorf("other rooms under the same name: %q", stderr)
	}
}

func TestRoomFromEnqueueToImages(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	id := strings.TrimSpace(s.ok("enqueue", "room", "--app", "1400123480", "--room", "12345", "--width", "640",
		"--height", "0", "--label", "Class=3B"))
	if out := s.ok("status", id); !strings.Contains(out, "queued") || !strings.Contains(out, "12345") {
		t.Errorf("before any worker: %s", out)
	}
	s.worker()
	if out := s.ok("wait", id); !strings.Contains(out, "succeeded") {
		t.Errorf("after: %s", out)
	}
	var got struct {
		State string
		Room  struct {
			Whiteboard struct{ Width, Height *uint64 }
			Label      map[string]string
		}
	}
	out := s.ok("status", id, "-o", "json")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if w := got.Room.Whiteboard; got.State != "succeeded" || *w.Width != 640 || *w.Height != 0 ||
		got.Room.Label["Class"] != "3B" {
		t.Errorf("%s", out)
	}
	for _, args := range [][]string{
		{"enqueue", "room", "--room", "1"},
		{"enqueue", "room", "--app", "1", "--room", "18446744073709551616"},
		{"enqueue", "room", "--app", "1", "--room", "1", "--width", "2561"},
		{"enqueue", "room", "--app", "1", "--room", "1", "--mode", "All"},
		{"enqueue", "room", "--app", "1", "--room", "1", "--cos-region", "x"},
		{"enqueue", "room", "--app", "1", "--room", "x"},
		{"status", "s-nobody"}, {"wait", "s-nobody"}, {"status", id, "-o", "xml"}, {"wait"}, {"nonsense"},
	} {
		if code, _, stderr := s.run("", args...); code != exitUsage || !strings.HasPrefix(stderr, "tiwsnap: ") {
			t.Errorf("%v: exit code %d, %q", args, code, stderr)
		}
	}
}

func TestFailuresAreSaid(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
	s.worker()
	code, stdout, _ := s.run("RoomId\n5\n", "enqueue", "batch", "-", "--app", "1400123480", "--name", "bad", "--wait")
	if code != exitFailed || !strings.Contains(stdout, "failed") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	out := s.ok("status", "bad.1")
	for _, want := range []string{"failed", "InvalidParameter", "a parameter is wrong", "correct the room's parameters"} {
		if !strings.Contains(out, want) {
			t.Errorf("status does not say %q:\n%s", want, out)
		}
	}
}

func TestBadRows(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	text := "SdkAppId,RoomId\n1400123480,1\n1400123480,x\n1400123480,\n1400123480,1\n1400123480,2\n"
	code, stdout, stderr := s.run(text, "enqueue", "batch", "-", "--strict", "--name", "b")
	if code != exitUsage || stdout != "" ||
		!strings.Contains(stderr, "3 bad rows, but --strict allows none; nothing was enqueued") {
		t.Errorf("strict: exit code %d, %q, %q", code, stdout, stderr)
	}
	for _, line := range []string{"line 3", "line 4", "line 5", "already on line 2"} {
		if !strings.Contains(stderr, line) {
			t.Errorf("%s is not mentioned: %s", line, stderr)
		}
	}
	if out := s.ok("status", "-o", "jsonl"); out != "" {
		t.Errorf("something was enqueued: %s", out)
	}
	code, stdout, stderr = s.run(text, "enqueue", "batch", "-", "--name", "b", "-o", "jsonl")
	if code != exitFailed || !strings.Contains(stdout, `"rooms":2`) || !strings.Contains(stdout, `"bad_rows":3`) ||
		!strings.Contains(stderr, "3 bad rows left out") {
		t.Errorf("not strict: exit code %d, %q, %q", code, stdout, stderr)
	}
	for name, text := range map[string]string{
		"an empty file":     "",
		"a header only":     "SdkAppId,RoomId\n",
		"an unknown column": "SdkAppId,RoomId,Widht\n1,1,1\n",
		"only bad rows":     "SdkAppId,RoomId\n1,x\n",
	} {
		if code, stdout, stderr := s.run(text, "enqueue", "batch", "-"); code != exitUsage || stdout != "" ||
			!strings.Contains(stderr, "nothing was enqueued") {
			t.Errorf("%s: exit code %d, %q, %q", name, code, stdout, stderr)
		}
	}
	if code, _, stderr := s.run("", "enqueue", "batch", filepath.Join(t.TempDir(), "none.csv")); code != exitUsage ||
		!strings.Contains(stderr, "none.csv") {
		t.Errorf("no such file: exit code %d, %q", code, stderr)
	}
}

func TestRedisAway(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.environ["TIWSNAP_REDIS_URL"] = "redis://:s3cret@127.0.0.1:1/0"
	for _, args := range [][]string{{"worker"}, {"status"}, {"enqueue", "room", "--app", "1", "--room", "1"},
		{"enqueue", "batch", "../examples/class.csv"}} {
		code, _, stderr := s.run("", args...)
		if code != exitUnavailable || !strings.Contains(stderr, "127.0.0.1:1") || strings.Contains(stderr, "s3cret") {
			t.Errorf("%v: exit code %d, %q", args, code, stderr)
		}
	}
}

func TestWorkerNeedsSettings(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	delete(s.environ, "TENCENTCLOUD_SECRET_ID")
	s.environ["TIWSNAP_RATE_LIMIT"] = "0"
	s.environ["TIWSNAP_WORKER_CONCURENCY"] = "4"
	code, _, stderr := s.run("", "worker")
	if code != exitConfig {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"TENCENTCLOUD_SECRET_ID", "TIWSNAP_RATE_LIMIT", "TIWSNAP_WORKER_CONCURENCY"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%s is not mentioned: %s", want, stderr)
		}
	}
}

func TestDemo(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	var out, errs bytes.Buffer
	list := "SdkAppId,RoomId\n1400123480,1\n1400123480,2\n1400123480,3\n"
	path := filepath.Join(t.TempDir(), "rooms.csv")
	if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"demo", "--rooms", path},
		env{strings.NewReader(""), &out, &errs, variables(nil)}); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	if !strings.Contains(errs.String(), "nothing is durable") {
		t.Errorf("it does not warn: %s", errs.String())
	}
	words := strings.Fields(out.String())
	want := map[string]string{"rooms": "3", "succeeded": "3", "failed": "0", "rejected": "0"}
	for i, w := range words {
		if v, ok := want[w]; ok && i+1 < len(words) && words[i+1] == v {
			delete(want, w)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing in the table: %v\n%s", want, out.String())
	}
}

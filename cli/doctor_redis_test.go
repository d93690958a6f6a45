package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/schedule"
)

func TestDoctorChecksRedis(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	doctor := func(t *testing.T, url string) ([]string, int) {
		t.Helper()
		return runDoctor(t, nil, "--skip-tiw", "--redis-url", url)
	}

	t.Run("all ok", func(t *testing.T) {
		s := redistest.Real(t, "--appendonly", "yes", "--maxmemory", "100mb")
		lines, code := doctor(t, s.URL())
		want := []string{
			"ok    redis: redis://#/0 answers in #",
			"ok    redis clock: differs by # from the clock here",
			"ok    redis version: #",
			"ok    redis eviction: noeviction",
			"ok    redis persistence: AOF is on",
			"ok    redis memory: # of # used",
			"warn  worker: No worker is running: queued rooms wait; fix: start one with tiwsnap worker",
		}
		if diff := cmp.Diff(want, lines); diff != "" || code != exitOK {
			t.Errorf("doctor: exit code %d; output (-want +got):\n%s", code, diff)
		}
	})

	t.Run("evicts, no persistence, full", func(t *testing.T) {
		s := redistest.Real(t, "--maxmemory", "1kb", "--maxmemory-policy", "allkeys-lru")
		lines, code := doctor(t, s.URL())
		want := []string{
			"FAIL  redis eviction: maxmemory-policy is allkeys-lru: a full Redis would delete snapshots, so no " +
				"worker starts and nothing is enqueued; fix: CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
			"warn  redis persistence: AOF is off: accepted snapshots are lost if Redis crashes; fix: CONFIG SET " +
				"appendonly yes, and the same in redis.conf",
			"FAIL  redis memory: # of # used: Redis is about to refuse writes; fix: raise maxmemory, or cancel batches",
			"warn  worker: No worker is running: queued rooms wait; fix: start one with tiwsnap worker",
		}
		if diff := cmp.Diff(want, lines[min(3, len(lines)):]); diff != "" || code != exitUnavailable {
			t.Errorf("doctor: exit code %d; output (-want +got):\n%s", code, diff)
		}
	})

	t.Run("no permission for INFO and CONFIG", func(t *testing.T) {
		s := redistest.Real(t, "--user", "worker", "on", ">S3CR3T", "~*", "&*", "+@all", "-info", "-config")
		lines, code := doctor(t, "redis://worker:S3CR3T@"+s.Addr)
		want := []string{
			"ok    redis: redis://worker:***@# answers in #",
			"ok    redis clock: differs by # from the clock here",
			"warn  redis info: version, eviction, persistence and memory are unknown: NOPERM ",
			"warn  worker: No worker is running: ",
		}
		if len(lines) != len(want) || code != exitOK {
			t.Fatalf("doctor: exit code %d\n%s", code, strings.Join(lines, "\n"))
		}
		for i := range want {
			if !strings.HasPrefix(lines[i], want[i]) {
				t.Errorf("line %s\nwant prefix %s", lines[i], want[i])
			}
		}
	})

	t.Run("missing permissions", func(t *testing.T) {
		s := redistest.Real(t, "--user", "worker", "on", ">S3CR3T", "~*", "&*", "+@all", "-time", "-zadd")
		lines, code := doctor(t, "redis://worker:S3CR3T@"+s.Addr)
		if code != exitUnavailable ||
			!strings.Contains(lines[0], "FAIL  redis: redis at redis://worker:***@# refuses to serve: "+
				"NOPERM this user may not run TIME, ZADD on ") || !strings.Contains(lines[0], "docs/redis.md") {
			t.Errorf("doctor: exit code %d\n%s", code, strings.Join(lines, "\n"))
		}
	})

	t.Run("INFO without details, clock differs", func(t *testing.T) {
		m := redistest.Embedded(t)
		m.SetTime(time.Now().Add(-time.Hour))
		lines, code := doctor(t, m.URL())
		text := strings.Join(lines, "\n")
		for _, want := range []string{
			"warn  redis clock: differs by -1h0m",
			"warn  redis version: unknown: INFO does not report it; fix: check it in the console of the Redis provider",
			"warn  redis eviction: maxmemory-policy is unknown: INFO does not report it; it must be noeviction; fix: ",
			"warn  redis persistence: unknown: INFO does not report it; fix: ",
			"warn  redis memory: unknown: INFO does not report it; fix: ",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("output lacks %q:\n%s", want, text)
			}
		}
		if code != exitOK {
			t.Errorf("doctor: exit code %d, want %d", code, exitOK)
		}
	})

	t.Run("each master of a cluster", func(t *testing.T) {
		s := redistest.Real(t, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
		direct := redis.NewClient(&redis.Options{Addr: s.Addr})
		defer direct.Close()
		if err := direct.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
			t.Fatal(err)
		}
		deadline := time.After(10 * time.Second)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for !strings.Contains(direct.ClusterInfo(t.Context()).Val(), "cluster_state:ok") {
			select {
			case <-deadline:
				t.Fatal("the cluster is not up after 10 s")
			case <-tick.C:
			}
		}
		lines, code := doctor(t, "redis+cluster://"+s.Addr)
		if text := strings.Join(lines, "\n"); !strings.Contains(text, "\nok    redis # eviction: noeviction\n") ||
			code != exitOK {
			t.Errorf("doctor: exit code %d\n%s", code, text)
		}
	})

	t.Run("unavailable", func(t *testing.T) {
		s := redistest.Real(t)
		s.Kill()
		lines, code := doctor(t, s.URL())
		want := []string{"FAIL  redis: redis at redis://#/0 does not answer: dial tcp #: connect: connection " +
			"refused; fix: start Redis there, or set TIWSNAP_REDIS_URL or --redis-url"}
		if diff := cmp.Diff(want, lines); diff != "" || code != exitUnavailable {
			t.Errorf("doctor: exit code %d; output (-want +got):\n%s", code, diff)
		}
	})
}

// TestDoctorChecksRedisServer covers states that a test server cannot have.
func TestDoctorChecksRedisServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		in   rdb.Server
		want string
		code int
	}{
		{"too old", rdb.Server{Version: "5.0.14"},
			"FAIL  redis version: 5.0.14 is too old: 6.2 or later is needed; fix: upgrade Redis\n", exitUnavailable},
		{"old enough", rdb.Server{Version: "6.2.0"}, "ok    redis version: 6.2.0\n", exitOK},
		{"version with two digits", rdb.Server{Version: "10.0.1"}, "ok    redis version: 10.0.1\n", exitOK},
		{"evicts, without maxmemory", rdb.Server{Policy: "allkeys-lru", Memory: &rdb.Memory{}},
			"FAIL  redis eviction: maxmemory-policy is allkeys-lru: a full Redis would delete snapshots, so no " +
				"worker starts and nothing is enqueued; fix: ", exitUnavailable},
		{"failed AOF write", rdb.Server{AppendOnly: "yes", AOFBroken: true},
			"FAIL  redis persistence: the last write to the AOF failed; fix: ", exitUnavailable},
		{"memory above 80 %", rdb.Server{Memory: &rdb.Memory{Used: 85e6, Max: 100e6}},
			"warn  redis memory: 85.0 MB of 100.0 MB used: Redis is too full to enqueue more; fix: raise maxmemory\n", exitOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			d := doctor{report: &out}
			d.redisServer(test.in)
			if !strings.Contains(out.String(), test.want) || d.exitCode() != test.code {
				t.Errorf("doctor: exit code %d, want %d; output lacks %q:\n%s", d.exitCode(), test.code, test.want, out.String())
			}
		})
	}
}

func TestDoctorChecksSchedules(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t)
	client := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer client.Close()
	store := schedule.NewStore(client, keys.Default)
	first := func(month time.Month) time.Time { return time.Date(2020, month, 1, 0, 0, 0, 0, time.UTC) }
	var names []string
	settle := func(name string, o schedule.Outcome) schedule.Schedule {
		t.Helper()
		names = append(names, name)
		it := schedule.Schedule{Name: name, Cron: "0 0 1 1 *", Zone: "UTC"}
		if _, err := store.Settle(t.Context(), it, o); err != nil {
			t.Fatal(err)
		}
		return it
	}
	this := time.Date(time.Now().UTC().Year(), 1, 1, 0, 0, 0, 0, time.UTC) // the last tick that was due
	settle("fine", schedule.Outcome{Tick: this, Result: schedule.Enqueued, Rooms: 2})
	settle("odd", schedule.Outcome{
		Tick: this, Result: schedule.Enqueued, Rooms: 1,
		Report: schedule.Report{BadRows: 1, Reasons: []string{"line 3: \x1b[2J"}},
	})
	settle("down", schedule.Outcome{Tick: this, Result: schedule.Failed, Error: "rooms of list: gone"})
	settle("missed", schedule.Outcome{Tick: this.AddDate(-1, 0, 0), Result: schedule.Enqueued})
	for name, trying := range map[string]schedule.Trying{
		"trying": {Tick: this, RetryAt: first(time.March), Failures: 3, Error: "rooms of list: it answers 503"},
		"full":   {Tick: this, RetryAt: first(time.April), Failures: 9, Error: "Redis is full", Waits: true},
	} {
		if err := store.Try(t.Context(),
			settle(name, schedule.Outcome{Tick: this.AddDate(-1, 0, 0), Result: schedule.Enqueued}), trying); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(names)
	text := "schedules:\n"
	for _, name := range append(names, "new") {
		text += "- {name: " + name + ", cron: 0 0 1 1 *, rooms: {list: [1]}, defaults: {SdkAppId: 1}}\n"
	}
	file := filepath.Join(t.TempDir(), "tiwsnap.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, code := runDoctor(t, nil, "--skip-tiw", "--redis-url", s.URL(), "--config", file)
	next, due := formatTime(this.AddDate(1, 0, 0)), formatTime(this)
	want := []string{
		"warn  schedule down: the tick of " + due +
			" failed: rooms of list: gone; fix: correct the source, then run tiwsnap schedule run down",
		"ok    schedule fine: next tick at " + next,
		"warn  schedule full: the tick of " + due +
			" waits: Redis is full; fix: free memory in Redis: the tick is retried at 2020-04-01T00:00:00Z",
		"warn  schedule missed: no worker has started the tick of " + due +
			"; fix: run a worker with this configuration file",
		"warn  schedule odd: its last batch left out 1 bad row: line 3: \\u001b[2J; fix: correct the class list",
		"warn  schedule trying: the tick of " + due +
			" has failed 3 times: rooms of list: it answers 503; fix: correct the source: it is read again at " +
			"2020-03-01T00:00:00Z",
		"ok    schedule new: next tick at " + next,
	}
	if diff := cmp.Diff(want, lines[max(0, len(lines)-1-len(want)):len(lines)-1]); diff != "" || code != exitOK {
		t.Errorf("doctor: exit code %d; output (-want +got):\n%s", code, diff)
	}
}

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/config"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/schedule"
	"tiwsnap/tiw/tiwtest"
)

// measured matches the parts of the doctor's output that differ between runs.
var measured = regexp.MustCompile(`[0-9.]+(µs|ms| MB)|\b0s\b|7\.\d+\.\d+|127\.0\.0\.1:\d+`)

// doctorSays runs the doctor and returns its lines, with # in place of each measured value.
func doctorSays(t *testing.T, environ []string, args ...string) (lines []string, code int) {
	t.Helper()
	out, errs, code := tiwsnap(t, environ, append([]string{"doctor"}, args...)...)
	if errs != "" {
		t.Errorf("stderr: %s", errs)
	}
	return strings.Split(strings.TrimSuffix(measured.ReplaceAllString(out, "#"), "\n"), "\n"), code
}

func TestDoctorOnTheAPI(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	// Other tests check Redis. One line is enough here.
	const redisLine = "warn  redis: embedded in each process: nothing is shared or durable; " +
		"fix: set TIWSNAP_REDIS_URL or --redis-url to the URL of a Redis server"
	const endpointLine = "ok    endpoint: http://# answers in #"
	nobody := []string{"TIWSNAP_REDIS_URL=embedded"}
	key := func(id, key string) []string {
		return append(slices.Clone(nobody), "TENCENTCLOUD_SECRET_ID="+id, "TENCENTCLOUD_SECRET_KEY="+key)
	}
	good := key(tiwtest.DefaultSecret, tiwtest.DefaultSecret)
	refused := func(code string) tiwtest.Faults {
		return tiwtest.Faults{Code: 1, CodeName: code, Actions: []string{tiwtest.ActionDescribe}}
	}

	for _, test := range []struct {
		name    string
		faults  tiwtest.Faults
		environ []string
		code    int
		want    string
	}{
		{"a good key", tiwtest.Faults{}, good, exitOK,
			"ok    credentials: accepted (response to the probe: InvalidParameter.TaskNotFound)"},
		{"another account's application", refused("UnauthorizedOperation.SdkAppId"), good, exitOK,
			"ok    credentials: accepted (response to the probe: UnauthorizedOperation.SdkAppId)"},
		{"an unknown SecretId", tiwtest.Faults{}, key("nobody", "S3CR3T"), exitConfig,
			"FAIL  credentials: AuthFailure.SecretIdNotFound, the SecretId does not exist"},
		{"a wrong SecretKey", tiwtest.Faults{}, key(tiwtest.DefaultSecret, "S3CR3T"), exitConfig,
			"FAIL  credentials: AuthFailure.SignatureFailure, the signature is wrong"},
		{"no permission", refused("UnauthorizedOperation"), good, exitConfig,
			"FAIL  credentials: UnauthorizedOperation, "},
		{"arrears", tiwtest.Faults{Arrears: tiwtest.Period{For: tiwtest.Duration(time.Hour)}}, good, exitUnavailable,
			"FAIL  credentials: ResourceUnavailable.ServiceExpired, "},
		{"throttled", refused("RequestLimitExceeded"), good, exitOK,
			"warn  credentials: not checked: RequestLimitExceeded, "},
		{"an internal error", tiwtest.Faults{InternalError: 1, Actions: []string{tiwtest.ActionDescribe}}, good, exitOK,
			"warn  credentials: not checked: InternalError, "},
		{"an answer of something else", tiwtest.Faults{HTML: 1, Actions: []string{tiwtest.ActionDescribe}}, good,
			exitUnavailable, "FAIL  credentials: not checked: ClientError.HttpStatusCodeError, "},
		{"no key at all", tiwtest.Faults{}, nobody, exitConfig,
			"FAIL  credentials: not set; fix: set TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY, or their _FILE; " +
				"--skip-tiw skips this check"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			sim := tiwtest.Start(t, tiwtest.Options{Faults: test.faults})
			lines, code := doctorSays(t, test.environ, "--endpoint", sim.URL)
			if code != test.code {
				t.Errorf("exit %d, want %d", code, test.code)
			}
			if len(lines) != 3 || lines[0] != redisLine || lines[1] != endpointLine ||
				!strings.HasPrefix(lines[2], test.want) {
				t.Errorf("got\n%s\nwant last\n%s", strings.Join(lines, "\n"), test.want)
			}
			last := lines[len(lines)-1]
			if status := last[:4]; (status != "ok  ") != strings.Contains(last, "; fix: ") {
				t.Errorf("a fix belongs to what is not ok, and to nothing else:\n%s", last)
			}
			if strings.Contains(strings.Join(lines, "\n"), "S3CR3T") {
				t.Error("it shows a secret")
			}
		})
	}

	t.Run("a clock that is off", func(t *testing.T) {
		t.Parallel()
		sim := tiwtest.Start(t, tiwtest.Options{Clock: func() time.Time { return time.Now().Add(-time.Hour) }})
		lines, code := doctorSays(t, good, "--endpoint", sim.URL)
		text := regexp.MustCompile(`-(1h0m0s|1h0m1s)`).ReplaceAllString(strings.Join(lines, "\n"), "-#")
		want := strings.Join([]string{
			redisLine,
			endpointLine,
			"warn  endpoint clock: differs by -# from the clock here; fix: run an NTP client on this machine",
			"ok    credentials: accepted (response to the probe: InvalidParameter.TaskNotFound)",
		}, "\n")
		if diff := cmp.Diff(want, text); diff != "" || code != exitOK {
			t.Errorf("exit %d\n%s", code, diff)
		}
	})

	t.Run("an endpoint where nobody listens", func(t *testing.T) {
		t.Parallel()
		srv := httptest.NewServer(http.NotFoundHandler())
		srv.Close()
		lines, code := doctorSays(t, good, "--endpoint", srv.URL)
		want := []string{redisLine, "FAIL  endpoint: http://# does not answer: dial tcp #: connect: connection refused; " +
			"fix: check TIWSNAP_TIW_ENDPOINT, DNS, firewall, proxy and the machine's certificates"}
		if diff := cmp.Diff(want, lines); diff != "" || code != exitUnavailable {
			t.Errorf("exit %d\n%s", code, diff)
		}
	})

	t.Run("an endpoint whose certificate nobody vouches for", func(t *testing.T) {
		t.Parallel()
		srv := httptest.NewUnstartedServer(http.NotFoundHandler())
		srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it would log the failed handshake
		srv.StartTLS()
		defer srv.Close()
		lines, code := doctorSays(t, good, "--endpoint", srv.URL)
		if len(lines) != 2 || !strings.Contains(lines[1], "certificate") || code != exitUnavailable {
			t.Errorf("exit %d\n%s", code, strings.Join(lines, "\n"))
		}
	})

	t.Run("an endpoint that accepts and says nothing, at the timeout", func(t *testing.T) {
		t.Parallel()
		silent := make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-silent }))
		defer srv.Close()
		defer close(silent)
		lines, code := doctorSays(t, good, "--endpoint", srv.URL, "--tiw-timeout", "100ms")
		if len(lines) != 2 || !strings.HasPrefix(lines[1], "FAIL  endpoint: ") || code != exitUnavailable {
			t.Errorf("exit %d\n%s", code, strings.Join(lines, "\n"))
		}
	})

	t.Run("a region that does not go with the endpoint, by what is known", func(t *testing.T) {
		d := doctor{report: io.Discard}
		d.region(config.Config{TIW: config.TIW{Endpoint: config.IntlEndpoint, Region: "ap-guangzhou"}})
		d.region(config.Config{TIW: config.TIW{Endpoint: config.IntlEndpoint, Region: "ap-singapore"}})
		if len(d.findings) != 1 || d.findings[0].Status != statusWarn || d.exitCode() != exitOK ||
			!strings.Contains(d.findings[0].Fix, config.ChinaEndpoint) {
			t.Errorf("got %+v", d.findings)
		}
	})

	t.Run("a key that is refused may be one of the other site", func(t *testing.T) {
		for endpoint, want := range map[string]string{
			config.ChinaEndpoint: config.IntlEndpoint, config.IntlEndpoint: config.ChinaEndpoint, "http://127.0.0.1:1": "",
		} {
			if got := otherSite(endpoint); !strings.Contains(got, want) || (got == "") != (want == "") {
				t.Errorf("%s: got %q", endpoint, got)
			}
		}
	})

	t.Run("left out", func(t *testing.T) {
		lines, code := doctorSays(t, []string{"TIWSNAP_REDIS_URL=embedded"}, "--skip-tiw")
		if diff := cmp.Diff([]string{redisLine}, lines); diff != "" || code != exitOK {
			t.Errorf("exit %d\n%s", code, diff)
		}
	})
}

// Every request of the doctor counts against the rate limit.
func TestDoctorTakesAPermit(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	c := s.client()
	describes := func() int { return int(s.sim.State().Actions[tiwtest.ActionDescribe].Received.Requests) }
	if code, out, _ := s.run("", "doctor"); code != exitOK || describes() != 1 {
		t.Errorf("exit code %d, %d requests:\n%s", code, describes(), out)
	}
	if n := c.Exists(t.Context(), keys.Default.Limit("DescribeSnapshotTask")).Val(); n != 1 {
		t.Error("its permit is not in the bucket of all")
	}
	if code, out, _ := s.run("", "doctor", "--skip-redis"); code != exitOK || describes() != 1 ||
		!strings.Contains(out, "warn  credentials: not checked") {
		t.Errorf("exit code %d, %d requests:\n%s", code, describes(), out)
	}
	if _, err := gate.NewBreaker(c, keys.Default).Stop(t.Context(), "ada", "exams"); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := s.run("", "doctor"); code != exitUnavailable || describes() != 1 ||
		!strings.Contains(out, "stopped by ada: exams") {
		t.Errorf("exit code %d, %d requests:\n%s", code, describes(), out)
	}
}

func TestDoctorOnRedis(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	doctor := func(t *testing.T, url string) ([]string, int) {
		t.Helper()
		return doctorSays(t, nil, "--skip-tiw", "--redis-url", url)
	}

	t.Run("all is well", func(t *testing.T) {
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
			t.Errorf("exit %d\n%s", code, diff)
		}
	})

	t.Run("it evicts, persists nothing and is full", func(t *testing.T) {
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
			t.Errorf("exit %d\n%s", code, diff)
		}
	})

	t.Run("a managed one that forbids INFO and CONFIG", func(t *testing.T) {
		s := redistest.Real(t, "--user", "worker", "on", ">S3CR3T", "~*", "&*", "+@all", "-info", "-config")
		lines, code := doctor(t, "redis://worker:S3CR3T@"+s.Addr)
		want := []string{
			"ok    redis: redis://worker:***@# answers in #",
			"ok    redis clock: differs by # from the clock here",
			"warn  redis info: version, eviction, persistence and memory are unknown: NOPERM ",
			"warn  worker: No worker is running: ",
		}
		if len(lines) != len(want) || code != exitOK {
			t.Fatalf("exit %d\n%s", code, strings.Join(lines, "\n"))
		}
		for i := range want {
			if !strings.HasPrefix(lines[i], want[i]) {
				t.Errorf("got  %s\nwant %s…", lines[i], want[i])
			}
		}
	})

	t.Run("rights that are missing", func(t *testing.T) {
		s := redistest.Real(t, "--user", "worker", "on", ">S3CR3T", "~*", "&*", "+@all", "-time", "-zadd")
		lines, code := doctor(t, "redis://worker:S3CR3T@"+s.Addr)
		if code != exitUnavailable ||
			!strings.Contains(lines[0], "FAIL  redis: redis at redis://worker:***@# refuses to serve: "+
				"NOPERM this user may not run TIME, ZADD on ") || !strings.Contains(lines[0], "docs/redis.md") {
			t.Errorf("exit %d\n%s", code, strings.Join(lines, "\n"))
		}
	})

	t.Run("one that tells little and whose clock is wrong", func(t *testing.T) {
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
				t.Errorf("it lacks %q:\n%s", want, text)
			}
		}
		if code != exitOK {
			t.Errorf("exit %d", code)
		}
	})

	t.Run("a cluster, each master of it", func(t *testing.T) {
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
			t.Errorf("exit %d\n%s", code, text)
		}
	})

	t.Run("away", func(t *testing.T) {
		s := redistest.Real(t)
		s.Kill()
		lines, code := doctor(t, s.URL())
		want := []string{"FAIL  redis: redis at redis://#/0 does not answer: dial tcp #: connect: connection " +
			"refused; fix: start Redis there, or set TIWSNAP_REDIS_URL or --redis-url"}
		if diff := cmp.Diff(want, lines); diff != "" || code != exitUnavailable {
			t.Errorf("exit %d\n%s", code, diff)
		}
	})
}

// TestDoctorOnAnotherRedis tests states that no server of these tests can be put into.
func TestDoctorOnAnotherRedis(t *testing.T) {
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
		{"two digits", rdb.Server{Version: "10.0.1"}, "ok    redis version: 10.0.1\n", exitOK},
		{"evicts, without a limit yet", rdb.Server{Policy: "allkeys-lru", Memory: &rdb.Memory{}},
			"FAIL  redis eviction: maxmemory-policy is allkeys-lru: a full Redis would delete snapshots, so no " +
				"worker starts and nothing is enqueued; fix: ", exitUnavailable},
		{"a broken AOF", rdb.Server{AppendOnly: "yes", AOFBroken: true},
			"FAIL  redis persistence: the last write to the AOF failed; fix: ", exitUnavailable},
		{"filling up", rdb.Server{Memory: &rdb.Memory{Used: 85e6, Max: 100e6}},
			"warn  redis memory: 85.0 MB of 100.0 MB used: Redis is too full to enqueue more; fix: raise maxmemory\n", exitOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			d := doctor{report: &out}
			d.redisServer(test.in)
			if !strings.Contains(out.String(), test.want) || d.exitCode() != test.code {
				t.Errorf("exit %d, it lacks %q:\n%s", d.exitCode(), test.want, out.String())
			}
		})
	}
}

func TestDoctorInJSON(t *testing.T) {
	s := redistest.Real(t)
	out, errs, code := tiwsnap(t, nil, "doctor", "--skip-tiw", "-o", "json", "--redis-url", s.URL())
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, %s", code, errs)
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
				t.Error(diff)
			}
			return
		}
	}
	t.Errorf("it lacks the persistence:\n%s", out)
}

func TestDoctorRefusesAnotherForm(t *testing.T) {
	if _, errs, code := tiwsnap(t, nil, "doctor", "-o", "xml"); code != exitUsage ||
		errs != "tiwsnap: --output \"xml\": it must be one of table, json\n" {
		t.Errorf("exit %d, %q", code, errs)
	}
}

func TestDoctorStopsAtABadConfiguration(t *testing.T) {
	if out, errs, code := tiwsnap(t, []string{"TIWSNAP_RATE_LIMIT=0"}, "doctor"); code != exitConfig || out != "" ||
		!strings.Contains(errs, "TIWSNAP_RATE_LIMIT") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}

func TestTroubleComesFirst(t *testing.T) {
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

func TestDoctorOnSchedules(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t)
	client := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer client.Close()
	store := schedule.NewStore(client, keys.Default)
	at := func(month time.Month) time.Time { return time.Date(2020, month, 1, 0, 0, 0, 0, time.UTC) }
	var names []string
	settled := func(name string, o schedule.Outcome) schedule.Schedule {
		t.Helper()
		names = append(names, name)
		it := schedule.Schedule{Name: name, Cron: "0 0 1 1 *", Zone: "UTC"}
		if _, err := store.Settle(t.Context(), it, o); err != nil {
			t.Fatal(err)
		}
		return it
	}
	this := time.Date(time.Now().UTC().Year(), 1, 1, 0, 0, 0, 0, time.UTC) // the last tick that was due
	settled("fine", schedule.Outcome{Tick: this, Result: schedule.Enqueued, Rooms: 2})
	settled("odd", schedule.Outcome{
		Tick: this, Result: schedule.Enqueued, Rooms: 1,
		Report: schedule.Report{BadRows: 1, Reasons: []string{"line 3: \x1b[2J"}},
	})
	settled("down", schedule.Outcome{Tick: this, Result: schedule.Failed, Error: "rooms of list: gone"})
	settled("nobody", schedule.Outcome{Tick: this.AddDate(-1, 0, 0), Result: schedule.Enqueued})
	for name, trying := range map[string]schedule.Trying{
		"trying": {Tick: this, RetryAt: at(time.March), Failures: 3, Error: "rooms of list: it answers 503"},
		"full":   {Tick: this, RetryAt: at(time.April), Failures: 9, Error: "Redis is full", Waits: true},
	} {
		if err := store.Try(t.Context(),
			settled(name, schedule.Outcome{Tick: this.AddDate(-1, 0, 0), Result: schedule.Enqueued}), trying); err != nil {
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
	lines, code := doctorSays(t, nil, "--skip-tiw", "--redis-url", s.URL(), "--config", file)
	next, due := formatTime(this.AddDate(1, 0, 0)), formatTime(this)
	want := []string{
		"warn  schedule down: the tick of " + due +
			" failed: rooms of list: gone; fix: correct the source, then run tiwsnap schedule run down",
		"ok    schedule fine: next tick at " + next,
		"warn  schedule full: the tick of " + due +
			" waits: Redis is full; fix: free memory in Redis: the tick is retried at 2020-04-01T00:00:00Z",
		"warn  schedule nobody: no worker has started the tick of " + due +
			"; fix: run a worker with this configuration file",
		"warn  schedule odd: its last batch left out 1 bad row: line 3: \\u001b[2J; fix: correct the class list",
		"warn  schedule trying: the tick of " + due +
			" has failed 3 times: rooms of list: it answers 503; fix: correct the source: it is read again at " +
			"2020-03-01T00:00:00Z",
		"ok    schedule new: next tick at " + next,
	}
	if diff := cmp.Diff(want, lines[max(0, len(lines)-1-len(want)):len(lines)-1]); diff != "" || code != exitOK {
		t.Errorf("exit %d\n%s", code, diff)
	}
}

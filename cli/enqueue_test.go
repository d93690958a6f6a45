package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// asProgramEnv makes the test binary behave as tiwsnap, for tests that kill it.
const asProgramEnv = "TIWSNAP_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgramEnv) != "" {
		os.Unsetenv(asProgramEnv)
		os.Exit(Run(os.Args[1:]))
	}
	// Commands store what they know about a Redis in the user's cache, so each test run has a cache of its own. go
	// build keeps the user's cache, because otherwise it compiles everything again.
	if cache, err := exec.Command("go", "env", "GOCACHE").Output(); err == nil {
		os.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
	}
	dir, err := os.MkdirTemp("", "tiwsnap-test")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_CACHE_HOME", dir)
	http.DefaultClient.Timeout = time.Minute // no test waits for ever
	code := redistest.Both(m).Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// program returns a command that runs tiwsnap in a separate process.
func program(t *testing.T, redisURL string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgramEnv+"=1", "TIWSNAP_REDIS_URL="+redisURL)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func TestKilledProducers(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const n = 200_000
	server := redistest.Real(t)
	c := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer c.Close()

	text := []byte("SdkAppId,RoomId\n")
	for i := range n {
		text = fmt.Appendf(text, "1400123480,%d\n", i+1)
	}

	// Each producer gets a part of the list. It is killed when Redis has some rooms of that part.
	for _, part := range []int{10, 4, 2} {
		for _, key := range c.Keys(t.Context(), keys.Default.Loading("*")).Val() {
			c.Del(t.Context(), key)
		}
		p := program(t, server.URL(), "enqueue", "batch", "-", "--name", "school")
		stdin, err := p.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := stdin.Write(text[:len(text)/part]); err != nil {
			t.Fatal(err)
		}
		redistest.Until(t, "Redis has a good deal of the rooms", func() bool {
			all := c.Keys(t.Context(), keys.Default.Loading("*")).Val()
			return len(all) == 1 && c.HLen(t.Context(), all[0]).Val()*512 > int64(n/part/2-8192)
		})
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if p.Wait(); p.ProcessState.ExitCode() != -1 {
			t.Fatalf("it was not killed: %s", p.ProcessState)
		}
		if c.Exists(t.Context(), keys.Default.Batch("school")).Val() != 0 {
			t.Fatal("it has left a batch")
		}
	}

	for i, want := range []string{"batch school: 200000 rooms enqueued",
		"batch school exists already with the same 200000 rooms"} {
		p := program(t, server.URL(), "enqueue", "batch", "-", "--name", "school")
		p.Stdin = bytes.NewReader(text)
		if out, err := p.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("call %d: %v\n%s", i+1, err, out)
		}
	}
	b := backlog.New(c, keys.Default)
	if waiting, _, err := b.Waiting(t.Context()); waiting != n || err != nil {
		t.Errorf("%d rooms wait, %v", waiting, err)
	}
	next := uint64(1)
	for room, err := range b.Rooms(t.Context(), "school") {
		if err != nil || room.RoomId != next {
			t.Fatalf("row %d is room %d, %v", next, room.RoomId, err)
		}
		next++
	}
	if next != n+1 {
		t.Errorf("%d rooms", next-1)
	}
	for _, key := range c.Keys(t.Context(), keys.Default.Loading("*")).Val() {
		if ttl := c.TTL(t.Context(), key).Val(); ttl <= 0 {
			t.Errorf("what a killed producer has left stays for ever: %s", key)
		}
	}
}

func TestRoomWithAKey(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	args := []string{"enqueue", "room", "--app", "1400123480", "--room", "12345", "--key", "lesson 7"}
	enqueued := func(want string, more ...string) string {
		t.Helper()
		code, stdout, stderr := s.run("", append(args, more...)...)
		id := strings.TrimSpace(stdout)
		if code != exitOK || stderr != "snapshot "+id+want {
			t.Errorf("exit %d, %q, %q", code, stdout, stderr)
		}
		return id
	}
	first := enqueued(": enqueued\n")
	again := enqueued(" exists already with the same --key and parameters; nothing was enqueued\n")
	if again != first {
		t.Errorf("two ids: %s, %s", first, again)
	}
	for _, more := range [][]string{nil, {"--wait"}, {"-o", "json"}, {"--durability", "replicated"}} {
		code, stdout, stderr := s.run("", append(append(args, "--width", "640"), more...)...)
		want := "tiwsnap: nothing was enqueued: snapshot " + first +
			" exists already with other parameters; choose another --key\n"
		if code != exitUsage || stdout != "" || stderr != want {
			t.Errorf("other parameters, %v: exit %d, %q, %q", more, code, stdout, stderr)
		}
	}
	var got struct {
		ID      string
		Created bool
	}
	if err := json.Unmarshal([]byte(s.ok(append(args, "-o", "json")...)), &got); err != nil || got.ID != first ||
		got.Created {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "a\nb", strings.Repeat("x", 256)} {
		if code, stdout, stderr := s.run("", "enqueue", "room", "--app", "1", "--room", "1",
			"--key", bad); code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "tiwsnap: --key: ") {
			t.Errorf("key %q: exit %d, %q", bad, code, stderr)
		}
	}
}

// Enqueueing the same rooms under an existing name exits with 0, in any notation. Other rooms are an error, and the
// result of the existing batch is not shown for them.
func TestBatchOfANameThatExists(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.batch("monday", 3)
	s.worker()
	s.ok("wait", "monday")
	for name, list := range map[string]string{
		"the same":         "RoomId\n1\n2\n3\n",
		"in another order": "RoomId\n3\n1\n2\n",
		"with the app":     "SdkAppId,RoomId\n1400123480,1\n1400123480,2\n1400123480,3\n",
		"as JSON lines":    `{"RoomId":1}` + "\n" + `{"RoomId":3,"SdkAppId":1400123480}` + "\n" + `{"RoomId":2}`,
	} {
		code, _, stderr := s.run(list, "enqueue", "batch", "-", "--app", "1400123480", "--name", "monday", "--wait")
		if code != exitOK ||
			!strings.Contains(stderr, "batch monday exists already with the same 3 rooms; nothing was enqueued") {
			t.Errorf("%s: exit %d, %q", name, code, stderr)
		}
	}
	for _, more := range [][]string{nil, {"--strict"}, {"--wait"}, {"--wait", "--strict", "-o", "json"}, {"-o", "jsonl"}} {
		code, stdout, stderr := s.run("RoomId\n1\n2\n4\n",
			append([]string{"enqueue", "batch", "-", "--app", "1400123480", "--name", "monday"}, more...)...)
		want := "tiwsnap: nothing was enqueued: batch monday exists already with other rooms (3 of them); choose " +
			"another --name\n"
		if code != exitUsage || stdout != "" || stderr != want {
			t.Errorf("%v: exit %d, %q, %q", more, code, stdout, stderr)
		}
	}
	if n := s.sim.State().Tasks.Created; n != 3 {
		t.Errorf("%d tasks made, want 3", n)
	}
}

// Bad rows of a list are left out, and the exit code shows it.
func TestRowsLeftOut(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.worker()
	const list = "RoomId\n1\nx\n2\n0\n"
	for name, more := range map[string][]string{"plain": nil, "json": {"-o", "json"}, "wait": {"--wait", "-o", "json"}} {
		args := append([]string{"enqueue", "batch", "-", "--app", "1400123480", "--name", name}, more...)
		for i, want := range []string{": 2 rooms enqueued", " exists already with the same 2 rooms"} {
			code, stdout, stderr := s.run(list, args...)
			if code != exitFailed || !strings.Contains(stdout, name) ||
				!strings.Contains(stderr, "2 bad rows left out") || !strings.Contains(stderr, "batch "+name+want) {
				t.Errorf("%s, call %d: exit %d, %q, %q", name, i+1, code, stdout, stderr)
			}
		}
	}
	if code, stdout, stderr := s.run(list, "enqueue", "batch", "-", "--app", "1400123480", "--name", "strict",
		"--strict"); code != exitUsage || stdout != "" || !strings.Contains(stderr, "nothing was enqueued") {
		t.Errorf("--strict: exit %d, %q, %q", code, stdout, stderr)
	}
	s.says(exitUsage, "there is no snapshot or batch strict", "status", "strict")
}

// enqueueing returns functions that run both enqueue commands on a Redis.
func enqueueing(t *testing.T, redisURL string, more ...string) map[string]func() (code int, stdout, stderr string) {
	t.Helper()
	s := site{T: t, environ: map[string]string{"TIWSNAP_REDIS_URL": redisURL}}
	return map[string]func() (int, string, string){
		"room": func() (int, string, string) {
			return s.run("", append([]string{"enqueue", "room", "--app", "1", "--room", "1", "--key", "k"}, more...)...)
		},
		"batch": func() (int, string, string) {
			return s.run("SdkAppId,RoomId\n1,1\n", append([]string{"enqueue", "batch", "-", "--name", "b"}, more...)...)
		},
	}
}

func TestEnqueueingRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string // arguments of redis-server
		code int
		want []string
	}{
		{"where Redis is full", []string{"--maxmemory", "1mb"}, exitTempFail,
			[]string{"nothing was enqueued: Redis is full: ",
				"of 1.0 MB; new work is accepted up to 80 %; retry when records have expired, or raise maxmemory\n"}},
		{"where Redis evicts", []string{"--maxmemory-policy", "volatile-lru"}, exitConfig,
			[]string{"nothing was enqueued: maxmemory-policy of Redis is volatile-lru",
				"fix: CONFIG SET maxmemory-policy noeviction"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := redistest.Real(t, test.args...)
			for name, enqueue := range enqueueing(t, server.URL()) {
				code, stdout, stderr := enqueue()
				if code != test.code || stdout != "" {
					t.Errorf("%s: exit %d, %q", name, code, stdout)
				}
				for _, want := range test.want {
					if !strings.Contains(stderr, want) {
						t.Errorf("%s lacks %q: %s", name, want, stderr)
					}
				}
			}
		})
	}
}

func TestEnqueueingReplicated(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("is an error while no replica confirms it, and nothing is lost", func(t *testing.T) {
		server := redistest.Real(t)
		for name, enqueue := range enqueueing(t, server.URL(), "--durability", "replicated") {
			code, stdout, stderr := enqueue()
			if code != exitTempFail || stdout != "" ||
				!strings.Contains(stderr,
					" is accepted here but not replicated: 0 of 1 replicas confirmed it within 1s; it is safe to repeat the command") {
				t.Errorf("%s: exit %d, %q, %q", name, code, stdout, stderr)
			}
		}
		for name, enqueue := range enqueueing(t, server.URL()) {
			if code, _, stderr := enqueue(); code != exitOK || !strings.Contains(stderr, "exists already with the same") {
				t.Errorf("%s, again: exit %d, %q", name, code, stderr)
			}
		}
	})

	t.Run("is a wrong setting for an embedded Redis", func(t *testing.T) {
		for name, enqueue := range enqueueing(t, "embedded", "--durability", "replicated") {
			if code, _, stderr := enqueue(); code != exitConfig || !strings.Contains(stderr, "TIWSNAP_REDIS_DURABILITY") {
				t.Errorf("%s: exit %d, %q", name, code, stderr)
			}
		}
	})
}

// Lists in the formats that people have are enqueued unchanged. The output says which format was detected.
func TestListsAsPeopleHaveThem(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	for file, want := range map[string]struct {
		rooms int
		says  string
	}{
		"01-utf16le-bom-tab.csv":        {2, "the text is read as utf-16le"},
		"04-gb18030-label.csv":          {2, "the text is read as gb18030"},
		"07-sep-line.csv":               {2, ""},
		"09-trailing-empty-columns.csv": {2, ""},
		"11-scientific.csv":             {0, "spreadsheets shorten long numbers"},
		"13-bom-in-middle.csv":          {2, "line 3: the header again, skipped"},
		"16-leading-apostrophe.csv":     {2, ""},
		"21-fullwidth-digits.csv":       {2, ""},
		"23-decimal.csv":                {2, `RoomId is "900232.5"`},
		"27-header-spaces-case.csv":     {1, ""},
		"33-empty.csv":                  {0, "the file is empty"},
		"36-html-renamed.csv":           {0, "an HTML page"},
		"38-big-roomids.csv":            {4, "the first of 3 rooms with a RoomId above 4294967295"},
		"40-init-params.jsonl":          {3, "Whiteboard.InitParams is not a JSON document"},
		"42-jsonl-pretty-array.json":    {2, ""},
	} {
		code, stdout, stderr := s.run("", "enqueue", "batch", "../internal/rooms/testdata/lists/"+file, "-o", "jsonl")
		var got struct{ Rooms int }
		if want.rooms == 0 && (code != exitUsage || stdout != "" || !strings.Contains(stderr, "nothing was enqueued")) {
			t.Errorf("%s: exit %d, %q, %q", file, code, stdout, stderr)
		} else if want.rooms > 0 && (json.Unmarshal([]byte(stdout), &got) != nil || got.Rooms != want.rooms) {
			t.Errorf("%s: %q, %q", file, stdout, stderr)
		}
		if !strings.Contains(stderr, want.says) {
			t.Errorf("%s does not say %s: %q", file, want.says, stderr)
		}
	}
	const big5 = "RoomId,Label.Class\n2,\xa4\x54\xa6\x7e\n"
	if code, _, stderr := s.run(big5, "enqueue", "batch", "-", "--app", "1", "--name", "big5",
		"--encoding", "big5"); code != exitOK {
		t.Errorf("exit %d, %q", code, stderr)
	}
	for says, args := range map[string][]string{
		`--encoding: "klingon" is not a known encoding`:           {"--encoding", "klingon"},
		`the file is no workbook (.xlsx), so it has no sheet "x"`: {"--sheet", "x"},
	} {
		if code, _, stderr := s.run(big5,
			append([]string{"enqueue", "batch", "-", "--app", "1"}, args...)...); code != exitUsage ||
			!strings.Contains(stderr, says) {
			t.Errorf("exit %d, %q", code, stderr)
		}
	}
}

func TestALargeRoomID(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	code, stdout, stderr := s.run("", "enqueue", "room", "--app", "1", "--room", "18446744073709551615")
	if code != exitOK || !strings.Contains(stderr, "warning: RoomId 18446744073709551615 is above 4294967295") {
		t.Fatalf("exit %d, %q", code, stderr)
	}
	if out := s.ok("status", strings.TrimSpace(stdout), "-o", "json"); !strings.Contains(out, "18446744073709551615") {
		t.Errorf("it became another: %s", out)
	}
}

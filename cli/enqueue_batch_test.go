package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

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
		redistest.Until(t, "Redis has part of the rooms", func() bool {
			all := c.Keys(t.Context(), keys.Default.Loading("*")).Val()
			return len(all) == 1 && c.HLen(t.Context(), all[0]).Val()*512 > int64(n/part/2-8192)
		})
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if p.Wait(); p.ProcessState.ExitCode() != -1 {
			t.Fatalf("the producer was not killed: %s", p.ProcessState)
		}
		if c.Exists(t.Context(), keys.Default.Batch("school")).Val() != 0 {
			t.Fatal("a killed producer created a batch")
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
		t.Errorf("%d rooms are queued, want %d (%v)", waiting, n, err)
	}
	next := uint64(1)
	for room, err := range b.Rooms(t.Context(), "school") {
		if err != nil || room.RoomId != next {
			t.Fatalf("row %d has room %d (%v)", next, room.RoomId, err)
		}
		next++
	}
	if next != n+1 {
		t.Errorf("batch has %d rooms, want %d", next-1, n)
	}
	for _, key := range c.Keys(t.Context(), keys.Default.Loading("*")).Val() {
		if ttl := c.TTL(t.Context(), key).Val(); ttl <= 0 {
			t.Errorf("load %s of a killed producer has no expiration", key)
		}
	}
}

// Enqueueing the same rooms under an existing name exits with 0, in any notation. Other rooms are an error, and the
// result of the existing batch is not shown for them.
func TestBatchNameExists(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatch("monday", 3)
	s.startWorker()
	s.mustRun("wait", "monday")
	for name, list := range map[string]string{
		"same order":    "RoomId\n1\n2\n3\n",
		"another order": "RoomId\n3\n1\n2\n",
		"with SdkAppId": "SdkAppId,RoomId\n1400123480,1\n1400123480,2\n1400123480,3\n",
		"JSON lines":    `{"RoomId":1}` + "\n" + `{"RoomId":3,"SdkAppId":1400123480}` + "\n" + `{"RoomId":2}`,
	} {
		code, _, stderr := s.run(list, "enqueue", "batch", "-", "--app", "1400123480", "--name", "monday", "--wait")
		if code != exitOK ||
			!strings.Contains(stderr, "batch monday exists already with the same 3 rooms; nothing was enqueued") {
			t.Errorf("%s: exit code %d, %q", name, code, stderr)
		}
	}
	for _, more := range [][]string{nil, {"--strict"}, {"--wait"}, {"--wait", "--strict", "-o", "json"}, {"-o", "jsonl"}} {
		code, stdout, stderr := s.run("RoomId\n1\n2\n4\n",
			append([]string{"enqueue", "batch", "-", "--app", "1400123480", "--name", "monday"}, more...)...)
		want := "tiwsnap: nothing was enqueued: batch monday exists already with other rooms (3 of them); choose " +
			"another --name\n"
		if code != exitUsage || stdout != "" || stderr != want {
			t.Errorf("%v: exit code %d, %q, %q", more, code, stdout, stderr)
		}
	}
	if n := s.sim.State().Tasks.Created; n != 3 {
		t.Errorf("%d tasks created, want 3", n)
	}
}

func TestBadRows(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	text := "SdkAppId,RoomId\n1400123480,1\n1400123480,x\n1400123480,\n1400123480,1\n1400123480,2\n"
	code, stdout, stderr := s.run(text, "enqueue", "batch", "-", "--strict", "--name", "b")
	if code != exitUsage || stdout != "" ||
		!strings.Contains(stderr, "3 bad rows, but --strict allows none; nothing was enqueued") {
		t.Errorf("--strict: exit code %d, %q, %q", code, stdout, stderr)
	}
	for _, line := range []string{"line 3", "line 4", "line 5", "already on line 2"} {
		if !strings.Contains(stderr, line) {
			t.Errorf("stderr lacks %q: %s", line, stderr)
		}
	}
	if out := s.mustRun("status", "-o", "jsonl"); out != "" {
		t.Errorf("batches after a rejected list: %s", out)
	}
	code, stdout, stderr = s.run(text, "enqueue", "batch", "-", "--name", "b", "-o", "jsonl")
	if code != exitFailed || !strings.Contains(stdout, `"rooms":2`) || !strings.Contains(stdout, `"bad_rows":3`) ||
		!strings.Contains(stderr, "3 bad rows left out") {
		t.Errorf("without --strict: exit code %d, %q, %q", code, stdout, stderr)
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
		t.Errorf("missing file: exit code %d, %q", code, stderr)
	}
}

// Bad rows of a list are left out, and the exit code shows it.
func TestBadRowsSetExitCode(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.startWorker()
	const list = "RoomId\n1\nx\n2\n0\n"
	for name, more := range map[string][]string{"plain": nil, "json": {"-o", "json"}, "wait": {"--wait", "-o", "json"}} {
		args := append([]string{"enqueue", "batch", "-", "--app", "1400123480", "--name", name}, more...)
		for i, want := range []string{": 2 rooms enqueued", " exists already with the same 2 rooms"} {
			code, stdout, stderr := s.run(list, args...)
			if code != exitFailed || !strings.Contains(stdout, name) ||
				!strings.Contains(stderr, "2 bad rows left out") || !strings.Contains(stderr, "batch "+name+want) {
				t.Errorf("%s, call %d: exit code %d, %q, %q", name, i+1, code, stdout, stderr)
			}
		}
	}
	if code, stdout, stderr := s.run(list, "enqueue", "batch", "-", "--app", "1400123480", "--name", "strict",
		"--strict"); code != exitUsage || stdout != "" || !strings.Contains(stderr, "nothing was enqueued") {
		t.Errorf("--strict: exit code %d, %q, %q", code, stdout, stderr)
	}
	s.checkRun(exitUsage, "there is no snapshot or batch strict", "status", "strict")
}

// Lists in common formats and encodings are enqueued. The output names the detected format.
func TestListFormats(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	for file, want := range map[string]struct {
		rooms   int
		message string
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
			t.Errorf("%s: exit code %d, %q, %q", file, code, stdout, stderr)
		} else if want.rooms > 0 && (json.Unmarshal([]byte(stdout), &got) != nil || got.Rooms != want.rooms) {
			t.Errorf("%s: %q, %q", file, stdout, stderr)
		}
		if !strings.Contains(stderr, want.message) {
			t.Errorf("%s: stderr lacks %q: %q", file, want.message, stderr)
		}
	}
	const big5 = "RoomId,Label.Class\n2,\xa4\x54\xa6\x7e\n"
	if code, _, stderr := s.run(big5, "enqueue", "batch", "-", "--app", "1", "--name", "big5",
		"--encoding", "big5"); code != exitOK {
		t.Errorf("big5 list: exit code %d, %q", code, stderr)
	}
	for message, args := range map[string][]string{
		`--encoding: "klingon" is not a known encoding`:           {"--encoding", "klingon"},
		`the file is no workbook (.xlsx), so it has no sheet "x"`: {"--sheet", "x"},
	} {
		if code, _, stderr := s.run(big5,
			append([]string{"enqueue", "batch", "-", "--app", "1"}, args...)...); code != exitUsage ||
			!strings.Contains(stderr, message) {
			t.Errorf("enqueue batch %v: exit code %d, %q, want %q", args, code, stderr, message)
		}
	}
}

// enqueue batch --check needs no Redis and reports the bad rows.
func TestEnqueueBatchCheck(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := site{T: t, environ: map[string]string{"TIWSNAP_REDIS_URL": "redis://127.0.0.1:1"}}
	code, stdout, stderr := s.run("RoomId\n1\nx\n2\n1\n", "enqueue", "batch", "-", "--app", "7", "--check")
	if code != exitFailed || stdout != "2 rooms valid, 2 bad rows; nothing was enqueued\n" ||
		!strings.Contains(stderr, "line 3") || !strings.Contains(stderr, "line 5") {
		t.Errorf("--check: exit code %d, %q, %q", code, stdout, stderr)
	}
	if code, stdout, _ := s.run("RoomId\n1\n", "enqueue", "batch", "-", "--app", "7",
		"--check", "-o", "jsonl"); code != exitOK ||
		stdout != `{"bad_rows":0,"rooms":1}`+"\n" {
		t.Errorf("--check of a valid list: exit code %d, %q", code, stdout)
	}
	for name, args := range map[string][]string{
		"strict": {"--check", "--strict", "--app", "7"},
		"no app": {"--check"},
		"wait":   {"--check", "--wait", "--app", "7"},
	} {
		code, stdout, stderr := s.run("RoomId\n1\nx\n", append([]string{"enqueue", "batch", "-"}, args...)...)
		if code != exitUsage || stdout != "" || stderr == "" {
			t.Errorf("%s: exit code %d, %q, %q", name, code, stdout, stderr)
		}
	}
}

func TestMessagesAboutLists(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	code, _, stderr := s.run("RoomId\n1\nx\n", "enqueue", "batch", "-", "--app", "1400123480", "--name", "one")
	if code != exitFailed || !strings.Contains(stderr, "-: 1 bad row left out\n") ||
		!strings.Contains(stderr, "batch one: 1 room enqueued\n") {
		t.Errorf("bad row: exit code %d, %q", code, stderr)
	}
	// Labels survive a round trip through a result list. Characters that a workbook cannot hold are reported.
	labels := "RoomId,Label.A,Label.B,Label.C\n1,'=x,''=x,'plain\n2,''@,-1,\x1b[2J\n"
	if code, _, stderr := s.run(
		labels,
		"enqueue",
		"batch",
		"-",
		"--app",
		"1400123480",
		"--name",
		"labels",
	); code != exitOK {
		t.Fatal(stderr)
	}
	want := s.mustRun("status", "labels", "-o", "csv")
	code, book, stderr := s.run("", "status", "labels", "-o", "xlsx")
	if code != exitOK || !strings.Contains(stderr, "1 room: control characters were replaced by U+FFFD") {
		t.Errorf("workbook: exit code %d, %q", code, stderr)
	}
	file := filepath.Join(t.TempDir(), "labels.xlsx")
	if err := os.WriteFile(file, []byte(book), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = s.run("", "enqueue", "batch", file, "--name", "again", "--encoding", "gb18030")
	if code != exitOK || !strings.Contains(stderr, "the encoding that was named is not used: the file is a workbook") {
		t.Errorf("workbook as a list: exit code %d, %q", code, stderr)
	}
	_, _, stderr = s.run(want, "enqueue", "batch", "-", "--name", "csv")
	if got := s.mustRun("status", "csv", "-o", "csv"); got != strings.ReplaceAll(want, "labels.", "csv.") {
		t.Errorf("round trip through CSV, %s:\n%s\nwant\n%s", stderr, got, want)
	}
	want = strings.ReplaceAll(strings.ReplaceAll(want, "labels.", "again."), "\x1b", "\ufffd")
	if got := s.mustRun("status", "again", "-o", "csv"); got != want {
		t.Errorf("round trip through a workbook:\n%s\nwant\n%s", got, want)
	}
}

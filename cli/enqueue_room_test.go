package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

func TestRoomWithKey(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	args := []string{"enqueue", "room", "--app", "1400123480", "--room", "12345", "--key", "lesson 7"}
	enqueue := func(want string, more ...string) string {
		t.Helper()
		code, stdout, stderr := s.run("", append(args, more...)...)
		id := strings.TrimSpace(stdout)
		if code != exitOK || stderr != "snapshot "+id+want {
			t.Errorf("enqueue room: exit code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
		}
		return id
	}
	first := enqueue(": enqueued\n")
	again := enqueue(" exists already with the same --key and parameters; nothing was enqueued\n")
	if again != first {
		t.Errorf("the same key has two ids: %s, %s", first, again)
	}
	for _, more := range [][]string{nil, {"--wait"}, {"-o", "json"}, {"--durability", "replicated"}} {
		code, stdout, stderr := s.run("", append(append(args, "--width", "640"), more...)...)
		want := "tiwsnap: nothing was enqueued: snapshot " + first +
			" exists already with other parameters; choose another --key\n"
		if code != exitUsage || stdout != "" || stderr != want {
			t.Errorf("other parameters, %v: exit code %d, %q, %q", more, code, stdout, stderr)
		}
	}
	var got struct {
		ID      string
		Created bool
	}
	if err := json.Unmarshal([]byte(s.mustRun(append(args, "-o", "json")...)), &got); err != nil || got.ID != first ||
		got.Created {
		t.Errorf("same key as JSON: %+v, want id %s, not created (%v)", got, first, err)
	}
	for _, bad := range []string{"", "a\nb", strings.Repeat("x", 256)} {
		if code, stdout, stderr := s.run("", "enqueue", "room", "--app", "1", "--room", "1",
			"--key", bad); code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "tiwsnap: --key: ") {
			t.Errorf("key %q: exit code %d, %q", bad, code, stderr)
		}
	}
}

func TestLargeRoomID(t *testing.T) {
	s := newSite(t, tiwtest.Options{})
	code, stdout, stderr := s.run("", "enqueue", "room", "--app", "1", "--room", "18446744073709551615")
	if code != exitOK || !strings.Contains(stderr, "warning: RoomId 18446744073709551615 is above 4294967295") {
		t.Fatalf("enqueue room: exit code %d, %q", code, stderr)
	}
	out := s.mustRun("status", strings.TrimSpace(stdout), "-o", "json")
	if !strings.Contains(out, "18446744073709551615") {
		t.Errorf("status shows another RoomId: %s", out)
	}
}

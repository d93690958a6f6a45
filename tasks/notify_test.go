package tasks_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/tasks"
)

// Webhooks that wait for their receiver outlive the release that wrote them, so the payload must not change.
func TestNotifyPayloadIsPinned(t *testing.T) {
	golden, err := os.ReadFile("testdata/notify-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	p := tasks.NewNotify(tasks.SnapshotEnded, "class-0123456789ab.17", time.UnixMilli(1795430700123),
		"https://hooks.example.com/tiwsnap?a=b&c")
	task, err := p.Task("school-a")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.TrimSpace(string(golden)), string(task.Payload())); d != "" {
		t.Errorf("the payload has changed: raise notifyVersion and keep reading the old one\n%s", d)
	}
	back, err := tasks.ParseNotify(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, back); d != "" {
		t.Errorf("ParseNotify() (-want +got):\n%s", d)
	}
}

func TestNotifyID(t *testing.T) {
	at := time.UnixMilli(1795430700123)
	seen := map[string]string{}
	for _, e := range []struct {
		event, ref string
		at         time.Time
	}{
		{tasks.SnapshotEnded, "class-1.7", at},
		{tasks.SnapshotEnded, "class-1.7", at.Add(time.Millisecond)}, // retried, then finished again
		{tasks.SnapshotEnded, "class.17", at},
		{tasks.SnapshotEnded, "class-1-7.1", at},
		{tasks.SnapshotEnded, "s-abcdefghij0123456789", at},
		{tasks.BatchEnded, "class-1", at},
		{tasks.BatchEnded, "class-1-7", at},
	} {
		id := tasks.NewNotify(e.event, e.ref, e.at, "").ID
		if what := e.event + " " + e.ref; seen[id] != "" || strings.Contains(id, ".") {
			t.Errorf("%s has id %s, want no dot and not the id of %q", what, id, seen[id])
		}
		seen[id] = e.event + " " + e.ref
		if again := tasks.NewNotify(e.event, e.ref, e.at, "https://other.example.com").ID; again != id {
			t.Errorf("%s has two ids: %s, %s", e.ref, id, again)
		}
	}
}

func TestParseNotify(t *testing.T) {
	if _, err := tasks.ParseNotify([]byte(`{"v":99,"kind":"?"}`)); !errors.Is(err, tasks.ErrNewerPayload) {
		t.Errorf("ParseNotify() of a newer payload = %v, want ErrNewerPayload", err)
	}
	for _, bad := range []string{
		"", "{", "null", `{"v":1,"type":"batch.ended","ref":"a"}`, `{"v":1,"id":"w-1","type":"batch.ended"}`,
		`{"v":1,"id":"w-1","type":"batch","ref":"a"}`, `{"v":1,"id":5}`,
	} {
		if _, err := tasks.ParseNotify([]byte(bad)); err == nil || errors.Is(err, tasks.ErrNewerPayload) {
			t.Errorf("ParseNotify(%q) = %v, want another error", bad, err)
		}
	}
}

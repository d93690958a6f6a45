package cli

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// checkNoNull checks that JSON or JSON lines contain no null, and that every snapshot has "images".
func checkNoNull(t *testing.T, text string) {
	t.Helper()
	var check func(v any)
	check = func(v any) {
		switch v := v.(type) {
		case nil:
			t.Errorf("JSON contains null: %s", text)
		case []any:
			for _, e := range v {
				check(e)
			}
		case map[string]any:
			_, isSnapshot := v["room"]
			if _, ok := v["images"].([]any); isSnapshot && !ok {
				t.Errorf("a snapshot has no list of images: %s", text)
			}
			for _, e := range v {
				check(e)
			}
		}
	}
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		check(v)
	}
}

// In JSON output, a list without entries is empty and never null.
func TestJSONListsAreNeverNull(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{TaskFailure: 1})
	commands := [][]string{
		{"status", "-o", "json"}, {"failures", "-o", "json"}, {"failures", "--held", "-o", "json"},
		{"webhooks", "-o", "json"},
		{"schedule", "list", "-o", "json"}, {"doctor", "--skip-redis", "--skip-tiw", "-o", "json"},
	}
	checkCommands := func() {
		t.Helper()
		for _, args := range commands {
			code, out, errs := s.run("", args...)
			if code != exitOK {
				t.Errorf("%v: exit code %d: %s", args, code, errs)
				continue
			}
			checkNoNull(t, out)
		}
	}
	checkCommands()
	s.startWorker()
	list := s.file("a.csv", "SdkAppId,RoomId\n1400123480,7\n")
	if code, _, errs := s.run("", "enqueue", "batch", list, "--name", "b", "--wait"); code != exitFailed {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	commands = append(commands, []string{"status", "b", "-o", "json"}, []string{"status", "b", "-o", "jsonl"},
		[]string{"status", "b.1", "-o", "json"}, []string{"failures", "--list", "-o", "jsonl"})
	checkCommands()
}

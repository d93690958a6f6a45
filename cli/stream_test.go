package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// Text from other users must not send control sequences to the terminal, in any output.
func TestTerminalOutputIsEscaped(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const evil = "\x1b]0;owned\a\x1b[2J\u009b31m\x7f\u202eabc\r"
	s := newSite(t, tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter.\x1b[2J"}})
	stop := s.startWorker()
	room, err := json.Marshal(
		map[string]any{"SdkAppId": 1400123480, "RoomId": 1, "Label": map[string]string{"Class": evil}},
	)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := s.run(string(room), "enqueue", "batch", "-", "--name", "b"); code != exitOK {
		t.Fatal(stderr)
	}
	s.checkRun(exitFailed, "", "wait", "b")
	stop()
	for _, args := range [][]string{
		{"status"}, {"status", "b"}, {"status", "b.1"}, {"status", "b.1", "-o", "json"}, {"status", "b.1", "-o", "csv"},
		{"status", "b", "-o", "csv"}, {"status", "b", "-o", "jsonl"}, {"status", evil}, {evil}, {"status", "--" + evil},
		{"failures"}, {"failures", "--list"}, {"failures", "-o", "csv"}, {"failures", "-o", "json"},
		{"failures", "--batch", evil},
		{"wait", "b"}, {"wait", evil}, {"retry", evil}, {"cancel", evil}, {"pause", evil}, {"schedule", "next", evil},
		{"webhooks", "resend", evil},
		{"enqueue", "batch", evil}, {"limit", evil}, {"status", "--redis-url", evil}, {"help", evil},
	} {
		_, shown := s.onTerminal(args...)
		if shown == "" {
			t.Errorf("%q printed nothing", args)
		}
		if args[0] == "wait" { // which draws its progress
			shown = strings.NewReplacer("\r", "", "\x1b[0K", "", "\x1b[2K", "").Replace(shown)
		}
		if i := strings.IndexFunc(strings.NewReplacer("\n", "", "\t", "").Replace(shown), unsafeRune); i >= 0 {
			t.Errorf("%q printed control characters: %q", args, shown)
		}
	}
	if _, shown := s.onTerminal("status", "b", "-o", "csv"); !strings.Contains(
		shown,
		`\u001b]0;owned\u0007\u001b[2J\u009b31m\u007f\u202eabc\u000d`,
	) {
		t.Errorf("the label is not escaped readably: %q", shown)
	}
	// A program gets the original text.
	if out := s.mustRun("status", "b", "-o", "csv"); !strings.Contains(out, evil) {
		t.Errorf("CSV lacks the original label: %q", out)
	}
	// An error message to a program reaches a terminal sooner or later.
	if _, _, stderr := s.run("", "status", evil); strings.ContainsFunc(strings.ReplaceAll(stderr, "\n", ""), unsafeRune) {
		t.Errorf("stderr has control characters: %q", stderr)
	}
}

func TestStream(t *testing.T) {
	const text = "3B 数学 🎨\n\ta\x1bb\u009b\u2028é"
	var b bytes.Buffer
	s := newStream(&b, true)
	for i := range len(text) { // byte by byte: characters come in parts
		if n, err := s.Write([]byte{text[i]}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	s.Write([]byte("\xe6\x95"))
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	if want := "3B 数学 🎨\n\ta\\u001bb\\u009b\\u2028é\uFFFD"; strings.TrimRight(b.String(), "\uFFFD")+"\uFFFD" != want {
		t.Errorf("stream wrote %q, want %q", b.String(), want)
	}
}

// A full disk is an error. It must not leave an incomplete list that looks complete.
func TestOutputWriteErrors(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	s.enqueueBatch("b", 3)
	for _, args := range [][]string{
		{"status"}, {"status", "-o", "json"}, {"status", "-o", "jsonl"}, {"status", "-o", "csv"},
		{"status", "b"}, {"status", "b", "-o", "json"}, {"status", "b", "-o", "jsonl"}, {"status", "b", "-o", "csv"},
		{"status", "b.1", "-o", "csv"}, {"failures", "-o", "json"}, {"failures", "-o", "csv"},
		{"failures", "--list", "-o", "csv"},
		{"enqueue", "room", "--app", "1", "--room", "1", "--key", "k"}, {"limit"}, {"pause", "b"}, {"resume", "b"},
		{"schedule", "list", "-o", "json"}, {"webhooks", "-o", "json"}, {"token"}, {"version"}, {"config", "print"},
		{"config", "check"},
		{"doctor"}, {"completion", "bash"}, {"-h"}, {"cancel", "b"},
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			needs.Skip(t, "no /dev/full on this machine")
		}
		var stderr bytes.Buffer
		code := run(t.Context(), args, env{strings.NewReader(""), full, &stderr, variables(s.environ)})
		full.Close()
		const want = "tiwsnap: the output is incomplete: write /dev/full: no space left on device\n"
		if code != exitTempFail || strings.Count(stderr.String(), "no space left") != 1 ||
			!strings.HasSuffix(stderr.String(), want) {
			t.Errorf("%v: exit code %d, %q", args, code, stderr.String())
		}
	}
}

// If a command prints nothing, its own error is reported. Otherwise the incomplete output is reported.
func TestCommandErrorWithoutOutput(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	failing := writerFunc(func([]byte) (int, error) { return 0, errors.New("full") })
	var stderr bytes.Buffer
	code := run(
		context.Background(),
		[]string{"config", "print", "--config", "/none"},
		env{strings.NewReader(""), failing, &stderr, variables(nil)},
	)
	if code != exitConfig || strings.Contains(stderr.String(), "output") {
		t.Errorf("without output: exit code %d, %q", code, stderr.String())
	}
	stderr.Reset()
	code = run(
		context.Background(),
		[]string{"doctor", "--skip-tiw"},
		env{
			strings.NewReader(""),
			failing,
			&stderr,
			variables(map[string]string{"TIWSNAP_REDIS_URL": "redis://127.0.0.1:1"}),
		},
	)
	if code != exitTempFail || stderr.String() != "tiwsnap: the output is incomplete: full\n" {
		t.Errorf("with output: exit code %d, %q", code, stderr.String())
	}
}

package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// apiExample returns the example in one language from docs/api.md.
func apiExample(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n```"+language+"\n")
	code, _, ok := strings.Cut(rest, "\n```\n")
	if !ok {
		t.Fatalf("docs/api.md has no example in %s", language)
	}
	return code
}

// apiSite is a worker that serves the API, and a token that has only the produce role.
type apiSite struct {
	site
	addr, token string
}

func newAPISite(t *testing.T, o tiwtest.Options) apiSite {
	s := apiSite{newSite(t, o), redistest.FreeAddr(t), password.NewToken()}
	s.environ["TIWSNAP_HTTP_ADDR"] = s.addr
	s.environ["TIWSNAP_HTTP_TOKENS"] = "lms produce " + password.HashToken(s.token)
	s.startWorker()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); ; {
		if conn, err := net.Dial("tcp", s.addr); err == nil {
			conn.Close()
			return s
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the worker does not listen after 20 s")
		}
	}
}

// runTool runs a program with the API's address and token in its environment and returns its output.
func (s apiSite) runTool(t *testing.T, tool string, args ...string) string {
	t.Helper()
	path := needs.Program(t, tool)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "TIWSNAP=http://"+s.addr, "TOKEN="+s.token, "no_proxy=127.0.0.1")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
	}
	return out.String()
}

// runNode runs a program in Node.
func (s apiSite) runNode(t *testing.T, program string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "client.mjs")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.runTool(t, "node", file)
}

// The examples of docs/api.md must work unchanged against a worker.
func TestAPIExamples(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newAPISite(t, tiwtest.Options{})
	t.Run("Node", func(t *testing.T) {
		out := s.runNode(t, apiExample(t, "js"))
		want := regexp.MustCompile(`^OpenAPI 3\.1\.0, \d+ paths
enqueued 5 rooms
ended: 5 succeeded, 0 failed
room 1: succeeded, with images
room 2: succeeded, with images
room 3: succeeded, with images
room 4: succeeded, with images
room 5: succeeded, with images
$`)
		if !want.MatchString(out) {
			t.Errorf("the example printed\n%s\nwant a match of\n%s", out, want)
		}
	})
	t.Run("curl", func(t *testing.T) {
		needs.Program(t, "curl")
		out := s.runTool(t, "bash", "-euc", apiExample(t, "sh"))
		for _, want := range []string{`"created":true`, `"rooms":240`, "event: batch\n", "event: end\n",
			`"succeeded":240`, "Snapshot,SdkAppId,RoomId,State", "monday.240,"} {
			if !strings.Contains(out, want) {
				t.Errorf("output lacks %s:\n%s", want, out)
			}
		}
	})
}

// The Node example must handle failed rooms, which have no images.
func TestAPIExampleWithFailures(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newAPISite(t, tiwtest.Options{TaskFailure: 1})
	out := s.runNode(t, apiExample(t, "js"))
	want := "ended: 0 succeeded, 5 failed\n"
	for room := range 5 {
		want += fmt.Sprintf("room %d: failed, without images\n", room+1)
	}
	if !strings.HasSuffix(out, "\n"+want) {
		t.Errorf("the example printed\n%s\nwant at its end\n%s", out, want)
	}
}

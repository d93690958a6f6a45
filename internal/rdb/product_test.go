package rdb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tiwsnap/internal/redistest"
	"tiwsnap/internal/testbed"
	"tiwsnap/tiw/tiwtest"
)

// build builds tiwsnap once for all tests.
var build = sync.OnceValues(func() (string, error) { return testbed.Build(context.Background(), binDir) })

// product is the tiwsnap binary, with a Redis and a simulator.
type product struct {
	*testing.T
	binary  string
	environ []string
	sim     *tiwtest.Server
	addr    string // HTTP address of the worker
}

func newProduct(t *testing.T, redisURL string) *product {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	sim := tiwtest.Start(t, tiwtest.Options{Window: tiwtest.Sliding, TaskDuration: 100 * time.Millisecond})
	addr := redistest.FreeAddr(t)
	return &product{t, binary, append(testbed.Environ(),
		"TIWSNAP_REDIS_URL="+redisURL,
		"TIWSNAP_TIW_ENDPOINT="+sim.URL,
		"TENCENTCLOUD_SECRET_ID="+tiwtest.DefaultSecret,
		"TENCENTCLOUD_SECRET_KEY="+tiwtest.DefaultSecret,
		"TIWSNAP_CONFIRM_AFTER=200ms",
		"TIWSNAP_HTTP_ADDR="+addr,
		"TIWSNAP_WORKER_SPOOL="+t.TempDir(),
	), sim, addr}
}

// run runs a command until it exits, and returns its exit code, stdout and stderr.
func (p *product) run(args ...string) (code int, output string) {
	p.Helper()
	cmd := exec.CommandContext(p.Context(), p.binary, args...)
	cmd.Env = p.environ
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(b)
}

// mustRun runs a command that must succeed, and returns its output.
func (p *product) mustRun(args ...string) string {
	p.Helper()
	code, output := p.run(args...)
	if code != 0 {
		p.Fatalf("tiwsnap %s: exit code %d\n%s", strings.Join(args, " "), code, output)
	}
	return output
}

// list writes a class list of n rooms and returns the path.
func (p *product) list(n int) string {
	p.Helper()
	text := "SdkAppId,RoomId\n"
	for room := range n {
		text += fmt.Sprintf("1400123480,%d\n", room+1)
	}
	file := filepath.Join(p.TempDir(), "class.csv")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
	return file
}

// start runs a command until the test ends. It must then exit with code 0.
func (p *product) start(args ...string) {
	p.Helper()
	var log bytes.Buffer
	cmd := exec.Command(p.binary, args...)
	cmd.Env, cmd.Stderr = p.environ, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || p.Failed() {
			p.Errorf("tiwsnap %s: %v\n%s", strings.Join(args, " "), err, log.String())
		}
	})
	redistest.Until(p.T, args[0]+" responds", func() bool {
		resp, err := http.Get("http://" + p.addr + "/livez")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
}

// send sends a request to the worker and returns the response.
func (p *product) send(method, path string) (status int, body string) {
	p.Helper()
	req, err := http.NewRequestWithContext(p.Context(), method, "http://"+p.addr+path, nil)
	if err != nil {
		p.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(b)
}

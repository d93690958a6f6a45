package cli

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
)

// Commands that enqueue or wait report that Redis has lost its data, and so does the log of `web`.
func TestCommandsReportDataLoss(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	server := redistest.Real(t)
	c := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { c.Close() })
	spool := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := program(t, server.URL(), args...)
		cmd.Env = append(cmd.Env, "TIWSNAP_WORKER_SPOOL="+spool)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	room := func(key string) string { return run("enqueue", "room", "--app", "1", "--room", "2", "--key", key) }
	if out := room("first"); strings.Contains(out, "lost") {
		t.Errorf("a loss is reported before there is one:\n%s", out)
	}
	id := strings.Fields(room("second"))
	var log lines
	site := program(t, server.URL(), "web", "--http-addr", redistest.FreeAddr(t))
	site.Stderr = &log
	if err := site.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		site.Process.Kill()
		site.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	redistest.Until(t, "web serves HTTP", func() bool { return strings.Contains(log.String(), "serving HTTP") })
	redistest.Until(t, "web has checked the epoch", func() bool {
		return c.HGet(t.Context(), "{tiwsnap}:epoch", "beat").Val() > "2"
	})

	waiting := program(t, server.URL(), "wait", id[len(id)-1])
	var stderr lines
	waiting.Stderr = &stderr
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "the command waits for a worker", func() bool {
		return strings.Contains(stderr.String(), "No worker is running")
	})
	c.FlushAll(t.Context())
	if out := room("first"); !strings.Contains(out, "warning: Redis has lost its data; missing: ") ||
		!strings.Contains(out, "Fix: enqueue again what is missing") || !strings.Contains(out, "enqueued") {
		t.Errorf("the next command does not report the loss:\n%s", out)
	}
	if out := room("first"); strings.Contains(out, "lost") {
		t.Errorf("the loss is reported twice:\n%s", out)
	}
	redistest.Until(t, "web raises the alarm", func() bool {
		return strings.Contains(log.String(), "ALARM: Redis has lost its data")
	})
	const lost = "was lost while it was waited for: enqueue it again"
	if err := waiting.Wait(); err == nil || !strings.Contains(stderr.String(), lost) {
		t.Errorf("wait: %v\n%s", err, stderr.String())
	}
}

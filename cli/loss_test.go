package cli

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
)

// Commands that enqueue or wait report that Redis has lost its data, and so does the log of `web`.
func TestProducersNoticeALoss(t *testing.T) {
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
		t.Errorf("nothing is lost:\n%s", out)
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
	redistest.Until(t, "web serves", func() bool { return strings.Contains(log.String(), "serving HTTP") })
	redistest.Until(t, "web has looked", func() bool { return c.HGet(t.Context(), "{tiwsnap}:epoch", "beat").Val() > "2" })

	waits := program(t, server.URL(), "wait", id[len(id)-1])
	var said lines
	waits.Stderr = &said
	if err := waits.Start(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "the command waits", func() bool { return strings.Contains(said.String(), "No worker is running") })
	c.FlushAll(t.Context())
	if out := room("first"); !strings.Contains(out, "warning: Redis has lost its data; missing: ") ||
		!strings.Contains(out, "Fix: enqueue again what is missing") || !strings.Contains(out, "enqueued") {
		t.Errorf("the next command says\n%s", out)
	}
	if out := room("first"); strings.Contains(out, "lost") {
		t.Errorf("it is said twice:\n%s", out)
	}
	redistest.Until(t, "web raises the alarm", func() bool {
		return strings.Contains(log.String(), "ALARM: Redis has lost its data")
	})
	const lost = "was lost while it was waited for: enqueue it again"
	if err := waits.Wait(); err == nil || !strings.Contains(said.String(), lost) {
		t.Errorf("wait: %v\n%s", err, said.String())
	}
}

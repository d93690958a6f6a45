package rdb_test

import (
	"net/http"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
)

// While Redis cannot save, all reads work. Every other command reports the reason and the fix.
func TestReadsWhileRedisCannotSave(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	server := redistest.Real(t, "--save", "3600 1")
	p := newProduct(t, server.URL())
	p.mustRun("enqueue", "batch", p.list(3), "--name", "monday")
	p.start("web")
	breakDisk(t, server)

	for _, args := range [][]string{{"status"}, {"status", "monday"}, {"status", "monday", "-o", "csv"}, {"failures"},
		{"limit"}} {
		p.mustRun(args...)
	}
	for _, path := range []string{"/", "/v1/batches", "/v1/batches/monday/snapshots", "/metrics", "/v1/limit",
		"/asynqmon/api/queues"} {
		if status, body := p.send("GET", path); status != http.StatusOK {
			t.Errorf("GET %s: status %d, want 200\n%.500s", path, status, body)
		}
	}
	const fix = "free or repair the disk of Redis"
	redistest.Until(t, "/readyz reports the fix", func() bool {
		status, body := p.send("GET", "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, fix)
	})
	for _, args := range [][]string{{"doctor", "--skip-tiw"}, {"worker"}, {"enqueue", "batch", p.list(2)},
		{"cancel", "monday"}} {
		if code, out := p.run(args...); code != 69 || !strings.Contains(out, "MISCONF") || !strings.Contains(out, fix) {
			t.Errorf("%v: exit code %d, want 69, MISCONF and the fix\n%s", args, code, out)
		}
	}
}

package rdb_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
)

// leastRights returns the minimum rights that docs/redis.md names, as a line of an ACL file.
func leastRights(t *testing.T, password string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)\nACL SETUSER (tiwsnap .*?)\n```").FindSubmatch(text)
	if m == nil {
		t.Fatal("docs/redis.md has no ACL SETUSER tiwsnap")
	}
	rights := strings.NewReplacer("\\\n", "", "PASSWORD", password).Replace(string(m[1]))
	return "user " + strings.Join(strings.Fields(rights), " ")
}

// Everything works with the rights that docs/redis.md names: Redis denies no command.
func TestLeastRights(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	acl := t.TempDir() + "/users.acl"
	users := "user default on >admin ~* &* +@all\n" + leastRights(t, "secret") + "\n"
	if err := os.WriteFile(acl, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	server := redistest.Real(t, "--aclfile", acl, "--appendonly", "yes")
	admin := redis.NewClient(&redis.Options{Addr: server.Addr, Password: "admin"})
	t.Cleanup(func() { admin.Close() })
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	p := newProduct(t, "redis://tiwsnap:secret@"+server.Addr)
	p.environ = append(p.environ, "TIWSNAP_WEBHOOK_URL="+receiver.URL, "TIWSNAP_WEBHOOK_HTTP=true",
		"TIWSNAP_WEBHOOK_PRIVATE=127.0.0.1", "TIWSNAP_WEBHOOK_SECRET=whsec_dGl3c25hcHRpd3NuYXB0aXdzbmFwdGl3c25hcA==")
	p.start("worker")

	if out := p.mustRun("doctor"); strings.Contains(out, "FAIL") || strings.Contains(out, "NOPERM") {
		t.Errorf("doctor reports a failed check:\n%s", out)
	}
	list := p.list(12)
	p.mustRun("enqueue", "batch", list, "--name", "monday", "--wait")
	p.mustRun("enqueue", "batch", list, "--name", "tuesday")
	p.mustRun("pause", "tuesday")
	p.mustRun("resume", "tuesday")
	p.mustRun("stop", "--reason", "maintenance")
	p.mustRun("enqueue", "batch", list, "--name", "canceled")
	p.mustRun("cancel", "canceled")
	p.mustRun("start")
	p.mustRun("enqueue", "room", "--app", "1400123480", "--room", "7", "--key", "lesson")
	p.mustRun("wait", "tuesday")
	p.mustRun("retry", "canceled.1", "canceled.2")
	for _, args := range [][]string{
		{"status"}, {"status", "monday", "-o", "csv"}, {"failures"}, {"limit"}, {"schedule", "list"}, {"webhooks"},
	} {
		p.mustRun(args...)
	}

	pages := []string{
		"/", "/readyz", "/metrics", "/v1/batches", "/v1/batches/monday", "/v1/batches/monday/snapshots",
		"/v1/failures", "/v1/schedules", "/v1/limit", "/asynqmon/",
	}
	for _, path := range []string{"queues", "queue_stats", "servers", "scheduler_entries", "redis_info"} {
		pages = append(pages, "/asynqmon/api/"+path)
	}
	for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
		pages = append(pages, "/asynqmon/api/queues/tiwsnap-bulk/"+state+"_tasks")
	}
	for _, path := range pages {
		if status, body := p.send("GET", path); status != http.StatusOK {
			t.Errorf("GET %s: status %d, want 200\n%.500s", path, status, body)
		}
	}
	for _, path := range []string{
		"/v1/stop", "/v1/start", "/asynqmon/api/queues/tiwsnap-bulk:pause", "/asynqmon/api/queues/tiwsnap-bulk:resume",
	} {
		if status, body := p.send("POST", path); status >= 300 {
			t.Errorf("POST %s: status %d, want below 300\n%.500s", path, status, body)
		}
	}
	denied, err := admin.Do(t.Context(), "ACL", "LOG").Slice()
	if err != nil || len(denied) > 0 {
		t.Errorf("Redis has denied %v, %v: add these rights to docs/redis.md and probe.lua", denied, err)
	}
}

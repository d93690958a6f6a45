package asynqmon_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/syncbuf"
	"tiwsnap/tasks"
	"tiwsnap/web/asynqmon"
	"tiwsnap/web/webtest"
)

// testSite is a site that serves asynqmon.
type testSite struct {
	*webtest.Site
	rdb       *redis.Client
	inspector *asynq.Inspector
}

func newTestSite(t *testing.T) testSite {
	t.Helper()
	rdb := redistest.Client(t)
	log := new(syncbuf.Buffer)
	s := webtest.NewSite(t,
		asynqmon.New(asynqmon.Options{Redis: rdb, Log: slog.New(slog.NewJSONHandler(log, nil))}).Routes()...)
	return testSite{s, rdb, asynq.NewInspectorFromRedisClient(rdb)}
}

// enqueue adds n snapshots of a batch to the bulk queue.
func (m testSite) enqueue(n int) {
	m.Helper()
	c := asynq.NewClientFromRedisClient(m.rdb)
	for i := range n {
		room := tasks.Room{SdkAppId: 1400123480, RoomId: uint64(i + 1)}
		room.Whiteboard = &tasks.Whiteboard{InitParams: `{"secret":"CANARY-init"}`}
		room.Label = map[string]string{"teacher": "CANARY-label"}
		task, err := tasks.SnapshotPayload{ID: tasks.RowID("monday", i+1), Batch: "monday",
			Room: room}.Task(asynq.Queue(keys.Default.QueueBulk()))
		if err != nil {
			m.Fatal(err)
		}
		if _, err := c.EnqueueContext(m.Context(), task); err != nil {
			m.Fatal(err)
		}
	}
}

// askAs sends a request with the token of a role.
func (m testSite) askAs(role, method, target string, header ...string) *httptest.ResponseRecorder {
	m.Helper()
	return m.Ask(method, "/asynqmon"+target, append(header, "Authorization", "Bearer "+m.Tokens[role])...)
}

func TestPayloadsAreRedacted(t *testing.T) {
	m := newTestSite(t)
	m.enqueue(3)
	w := m.askAs("view", "GET", "/api/queues/tiwsnap-bulk/pending_tasks?size=20&page=1")
	if body := w.Body.String(); w.Code != 200 || strings.Contains(body, "CANARY") ||
		!strings.Contains(body, `\"batch\":\"monday\",\"SdkAppId\":1400123480,\"RoomId\":2}`) {
		t.Errorf("pending tasks: status %d, body %s, want room 2 without private fields", w.Code, body)
	}
	if kind := w.Header().Get("Content-Type"); kind != "application/json" {
		t.Errorf("Content-Type is %s, want application/json", kind)
	}
	if w := m.askAs("view", "GET", "/api/queues/tiwsnap-bulk/tasks/monday.1"); w.Code != 200 ||
		strings.Contains(w.Body.String(), "CANARY") {
		t.Errorf("task monday.1: status %d, body %s, want no private fields", w.Code, w.Body)
	}
}

func TestPagesLoadOnlyLocalFiles(t *testing.T) {
	m := newTestSite(t)
	nonces := map[string]bool{}
	for _, path := range []string{"/", "/queues/tiwsnap-bulk", "/servers"} {
		w := m.askAs("view", "GET", path)
		page := w.Body.String()
		if w.Code != 200 || !strings.HasPrefix(page, "<!doctype html>") {
			t.Fatalf("%s: status %d, body %.80s, want a page", path, w.Code, page)
		}
		if url := regexp.MustCompile(`(src|href)="(https?:)?//[^"]*`).FindString(page); url != "" {
			t.Errorf("%s loads the external file %s", path, url)
		}
		policy := w.Header().Get("Content-Security-Policy")
		nonce := regexp.MustCompile(`script-src 'self' 'nonce-([A-Z2-7]+)'`).FindStringSubmatch(policy)
		if nonce == nil || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") ||
			nonces[nonce[1]] {
			t.Fatalf("%s: Content-Security-Policy is %s, want a new nonce and nothing unsafe", path, policy)
		}
		nonces[nonce[1]] = true
		if n := strings.Count(page, `<script nonce="`+nonce[1]+`">`); n != 2 || strings.Contains(page, "<script>") {
			t.Errorf("%s: %d scripts have the nonce, want 2 and none without", path, n)
		}
		for _, file := range regexp.MustCompile(`(?:src|href)="(/asynqmon/[^"]*)"`).FindAllStringSubmatch(page, -1) {
			if w := m.Ask("GET", file[1], "Authorization", "Bearer "+m.Tokens["view"]); w.Code != 200 ||
				strings.HasPrefix(w.Body.String(), "<!doctype") {
				t.Errorf("%s: status %d, want the file", file[1], w.Code)
			}
		}
	}
	script := regexp.MustCompile(`/static/js/main[^"]*`).FindString(m.askAs("view", "GET", "/").Body.String())
	plain, zipped := m.askAs("view", "GET", script), m.askAs("view", "GET", script, "Accept-Encoding", "gzip, br")
	z, err := gzip.NewReader(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || string(b) != plain.Body.String() ||
		zipped.Header().Get("Content-Encoding") != "gzip" ||
		zipped.Header().Get("Cache-Control") != "private, max-age=31536000, immutable" {
		t.Errorf("compressed script: %d bytes, %v, header %v, want the plain script", len(b), err, zipped.Header())
	}
}

func TestRoles(t *testing.T) {
	m := newTestSite(t)
	m.enqueue(3)
	for _, test := range []struct {
		role, method, path string
		want               int
	}{
		{"none", "GET", "/", 401}, {"none", "GET", "/api/queues", 401},
		{"none", "GET", "/static/js/runtime-main.9fea6c1a.js", 401},
		{"produce", "GET", "/", 403}, {"produce", "GET", "/api/queues", 403},
		{"view", "GET", "/api/queues", 200}, {"view", "HEAD", "/api/queues", 200}, {"view", "HEAD", "/", 200},
		{"view", "GET", "/api/redis_info", 403}, {"operate", "GET", "/api/redis_info", 200},
		{"view", "POST", "/api/queues/tiwsnap-bulk:pause", 403},
		{"view", "DELETE", "/api/queues/tiwsnap-bulk", 403},
		{"view", "POST", "/api/queues/tiwsnap-bulk/pending_tasks:archive_all", 403},
		{"view", "DELETE", "/api/queues/tiwsnap-bulk/pending_tasks/monday.1", 403},
		{"operate", "PUT", "/api/queues/tiwsnap-bulk:pause", 405}, {"operate", "POST", "/", 405},
		{"operate", "POST", "/api/queues/tiwsnap-bulk:pause", 204},
		{"operate", "POST", "/api/queues/tiwsnap-bulk:resume", 204},
		{"operate", "DELETE", "/api/queues/tiwsnap-bulk/pending_tasks/monday.1", 204},
	} {
		if w := m.askAs(test.role, test.method, test.path); w.Code != test.want {
			t.Errorf("%s %s with the role %s: status %d, want %d: %.100s",
				test.method, test.path, test.role, w.Code, test.want, w.Body)
		}
	}
	readOnly := func(role string) bool {
		return strings.Contains(m.askAs(role, "GET", "/").Body.String(), `FLAG_READ_ONLY="true"`)
	}
	if !readOnly("view") || readOnly("operate") {
		t.Errorf("the page is read-only for view: %v, for operate: %v, want true and false",
			readOnly("view"), readOnly("operate"))
	}
	if w := m.askAs("operate", "POST", "/api/queues/tiwsnap-bulk:pause", "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Errorf("cross-site pause: status %d, want 403", w.Code)
	}
	if info, err := m.inspector.GetQueueInfo("tiwsnap-bulk"); err != nil || info.Paused || info.Pending != 2 {
		t.Errorf("the queue is %+v, %v, want 2 pending tasks, not paused", info, err)
	}
}

func TestPageSize(t *testing.T) {
	m := newTestSite(t)
	m.enqueue(120)
	for _, test := range []struct {
		query string
		want  int
	}{{"", 20}, {"?size=50", 50}, {"?size=100", 100}, {"?size=101", 100}, {"?size=-1", 1}, {"?size=0", 1},
		{"?size=all", 1}, {"?size=9999999999999999999", 100}, {"?size=50&page=3", 20}, {"?size=50&page=-7", 50}} {
		w := m.askAs("view", "GET", "/api/queues/tiwsnap-bulk/pending_tasks"+test.query)
		var got struct{ Tasks []struct{ ID string } }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Tasks) != test.want {
			t.Errorf("query %q: %d tasks, %v, want %d", test.query, len(got.Tasks), err, test.want)
		}
	}
}

func TestMissingTasks(t *testing.T) {
	for _, path := range []string{"/api/queues", "/api/queues/tiwsnap-bulk", "/api/queues/tiwsnap-bulk/pending_tasks",
		"/api/queues/tiwsnap-bulk/archived_tasks"} {
		m := newTestSite(t)
		m.enqueue(5)
		if err := m.inspector.ArchiveTask("tiwsnap-bulk", "monday.5"); err != nil {
			t.Fatal(err)
		}
		// One in the middle of a list, one at its end, and one in a set.
		for _, id := range []string{"monday.2", "monday.1", "monday.5"} {
			if err := m.rdb.Del(t.Context(), "asynq:{tiwsnap-bulk}:t:"+id).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := m.inspector.GetQueueInfo("tiwsnap-bulk"); err == nil {
			needs.Skip(t, "this Redis can count the memory of a queue with missing tasks")
		}
		w := m.askAs("view", "GET", path)
		if w.Code != 200 {
			t.Errorf("%s: status %d, want 200: %s", path, w.Code, w.Body)
		}
		info, err := m.inspector.GetQueueInfo("tiwsnap-bulk")
		if err != nil || info.Pending != 2 || info.Archived != 0 {
			t.Errorf("%s: the queue is %+v, %v, want 2 pending and 0 archived tasks", path, info, err)
		}
	}
}

func TestBulkOperationLimits(t *testing.T) {
	needs.Time(t)
	m := newTestSite(t)
	m.enqueue(1)
	// More ids than the limit. They need no real tasks here.
	addIDs := func(key string, n int) {
		pipe := m.rdb.Pipeline()
		for i := range n {
			id := fmt.Sprintf("%s-%d", key, i)
			pipe.HSet(t.Context(), "asynq:{tiwsnap-bulk}:t:"+id, "state", "pending")
			if strings.HasSuffix(key, "pending") {
				pipe.LPush(t.Context(), key, id)
			} else {
				pipe.ZAdd(t.Context(), key, redis.Z{Score: float64(time.Now().Unix()), Member: id})
			}
			if i%1000 == 999 || i == n-1 { // short pipelines: the embedded Redis is slow
				if _, err := pipe.Exec(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	addIDs("asynq:{tiwsnap-bulk}:archived", 9_998)
	if w := m.askAs("operate", "POST", "/api/queues/tiwsnap-bulk/pending_tasks:archive_all"); w.Code != 200 {
		t.Errorf("archive as many as asynq keeps: status %d, want 200: %s", w.Code, w.Body)
	}
	addIDs("asynq:{tiwsnap-bulk}:pending", 2)
	if w := m.askAs("operate", "POST", "/api/queues/tiwsnap-bulk/pending_tasks:archive_all"); w.Code != 409 ||
		!strings.Contains(w.Body.String(), "would lose the oldest") {
		t.Errorf("archive more than asynq keeps: status %d, want 409: %s", w.Code, w.Body)
	}
	addIDs("asynq:{tiwsnap-bulk}:pending", 10_000)
	for _, operation := range []string{"POST /api/queues/tiwsnap-bulk/pending_tasks:archive_all",
		"DELETE /api/queues/tiwsnap-bulk/pending_tasks:delete_all"} {
		method, path, _ := strings.Cut(operation, " ")
		if w := m.askAs("operate", method, path); w.Code != 409 || !strings.Contains(w.Body.String(), "would block Redis") {
			t.Errorf("%s on 10,002 tasks: status %d, want 409: %s", operation, w.Code, w.Body)
		}
	}
	if w := m.askAs("operate", "DELETE", "/api/queues/tiwsnap-bulk/archived_tasks:delete_all"); w.Code != 200 {
		t.Errorf("delete all archived: status %d, want 200: %s", w.Code, w.Body)
	}
	if w := m.askAs("operate", "POST", "/api/queues/nosuch/pending_tasks:archive_all"); w.Code != 409 {
		t.Errorf("unknown queue: status %d, want 409: %s", w.Code, w.Body)
	}
}

package pages_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/roster"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

// localPages serves the pages to local clients until stop is called.
func localPages(t *testing.T, rdb redis.UniversalClient) (h http.Handler, stop func()) {
	t.Helper()
	auth, err := web.NewAuth(web.AuthOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return webtest.Handler(auth, api.Options{Redis: rdb, Ledger: ledger.New(rdb, ledger.Options{})})
}

func TestFirstPageShowsProblemsOfRedis(t *testing.T) {
	needs.Time(t)
	for name, test := range map[string]struct {
		breakIt func(*redistest.Server, *redis.Client) error
		want    string
	}{
		"no problem": {func(*redistest.Server, *redis.Client) error { return nil }, "No batch is open."},
		"no worker":  {func(*redistest.Server, *redis.Client) error { return nil }, "start one with tiwsnap worker"},
		"eviction": {func(_ *redistest.Server, c *redis.Client) error {
			return c.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err()
		}, "deletes tasks when it is full"},
		"full memory": {func(_ *redistest.Server, c *redis.Client) error {
			return c.ConfigSet(t.Context(), "maxmemory", "1000000").Err()
		}, "% full"},
		"Redis is down": {func(s *redistest.Server, _ *redis.Client) error {
			s.Kill()
			return nil
		}, "Unexpected error from Redis"},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Real(t)
			c := redis.NewClient(&redis.Options{Addr: server.Addr, MaxRetries: -1})
			defer c.Close()
			if err := test.breakIt(server, c); err != nil {
				t.Fatal(err)
			}
			h, _ := localPages(t, c)
			w := webtest.Ask(t, h, "GET", "/", "Accept", "text/html")
			if w.Code != 200 || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("status %d, want 200 and %q:\n%s", w.Code, test.want, w.Body)
			}
		})
	}
}

func TestFirstPageCountsMissingImages(t *testing.T) {
	rdb := redistest.Client(t)
	for id, ended := range map[string][]any{"open": nil, "ended": {"ended_at", 2}} {
		fields := append(ended, "total", 9, "created_at", 1, "no_image", 1234, "missing_images", 5)
		rdb.HSet(t.Context(), keys.Default.Batch(id), fields...)
		rdb.ZAdd(t.Context(), keys.Default.Batches(), redis.Z{Score: 1, Member: id})
	}
	rdb.ZAdd(t.Context(), keys.Default.Running(), redis.Z{Score: 1, Member: "open"})
	h, _ := localPages(t, rdb)
	body := webtest.Ask(t, h, "GET", "/", "Accept", "text/html").Body.String()
	for _, want := range []string{"1,234 rooms without an image", "5 images missing"} {
		if n := strings.Count(body, want); n != 2 {
			t.Errorf("%q appears %d times, want it for both batches:\n%s", want, n, body)
		}
	}
}

func TestPageStreamEndsWithTheServer(t *testing.T) {
	h, stop := localPages(t, redistest.Client(t))
	srv := httptest.NewServer(h)
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/live/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("Content-Type is %s, want text/event-stream", kind)
	}
	lines := bufio.NewScanner(resp.Body)
	var page string
	for lines.Scan() && (lines.Text() != "" || page == "") {
		if lines.Text() == "" || lines.Text() == "retry: 2000" {
			continue
		}
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			t.Errorf("the stream has the line %q, want data", lines.Text())
		}
		page += text
	}
	if !strings.Contains(page, "No batch is open.") || strings.Contains(page, "<html") {
		t.Errorf("the stream sends %s, want the live part of the page", page)
	}
	stop()
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
}

// A snapshot held for review does not count as in progress, and its batch shows no estimated end.
func TestHeldSnapshotsAreNotInProgress(t *testing.T) {
	rdb := redistest.Client(t)
	book := ledger.New(rdb, ledger.Options{Hold: true})
	room := tasks.Room{SdkAppId: 1400123480, RoomId: 20101}
	rooms := func(yield func(tasks.Room, error) bool) { yield(room, nil) }
	if _, err := enqueue.New(rdb, keys.Default).Batch(t.Context(), rooms, enqueue.BatchOptions{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	p := tasks.SnapshotPayload{ID: "b.1", Batch: "b", Room: room}
	intent, err := book.Begin(t.Context(), p, "token", "")
	if err == nil {
		unknown := ledger.Outcome{State: ledger.Unknown, Code: "InternalError"}
		err = book.Outcome(t.Context(), p.ID, intent.Attempt, unknown)
	}
	if err == nil { // the next attempt holds it for review
		_, err = book.Begin(t.Context(), p, "token", "")
	}
	if err == nil {
		err = roster.Heartbeat(t.Context(), rdb, keys.Default, roster.Worker{ID: "w"})
	}
	if err == nil {
		err = roster.Remove(t.Context(), rdb, keys.Default, "w")
	}
	if err != nil {
		t.Fatal(err)
	}
	h, _ := localPages(t, rdb)
	page := func(path string) string {
		return strings.Join(strings.Fields(webtest.Ask(t, h, "GET", path, "Accept", "text/html").Body.String()), " ")
	}
	for path, wants := range map[string][]string{
		"/": {
			`<h2>In progress</h2> <p class="figure">0 `, "1 snapshot is held for review",
			"queued rooms wait. Since <time",
		},
		"/batches/b": {"1 held for review", "Review it, then retry or cancel it"},
		"/workers":   {"No worker is running. Start one with tiwsnap worker."},
	} {
		for _, want := range wants {
			if body := page(path); !strings.Contains(body, want) {
				t.Errorf("GET %s lacks %q:\n%s", path, want, body)
			}
		}
	}
}

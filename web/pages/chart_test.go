package pages_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/tasks"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

// chartLine returns the SVG path of the chart on a page. flat means that all its points are zero.
func chartLine(t *testing.T, h http.Handler, page string) (path string, flat bool) {
	t.Helper()
	w := webtest.Ask(t, h, "GET", page, "Accept", "text/html")
	found := regexp.MustCompile(`class="line" d="([^"]+)"`).FindStringSubmatch(w.Body.String())
	if w.Code != 200 || found == nil {
		t.Fatalf("GET %s: status %d, want 200 with a chart:\n%s", page, w.Code, w.Body)
	}
	for _, point := range regexp.MustCompile(`[0-9.]+ ([0-9.]+)`).FindAllStringSubmatch(found[1], -1) {
		if strings.TrimSuffix(point[1], ".0") != "160" {
			return found[1], false
		}
	}
	return found[1], true
}

// A chart omits the current interval. It is incomplete and would look like a drop to zero.
func TestChartsOmitTheCurrentInterval(t *testing.T) {
	needs.Time(t)
	rdb := redistest.Client(t)
	l, err := ratelimit.New(ratelimit.Options{Redis: rdb, Key: keys.Default.Limit(gate.ActionCreate), Limit: 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(t.Context()) })
	book := ledger.New(rdb, ledger.Options{})
	h := webtest.NewPages(t, rdb, func(o *api.Options) {
		o.Limiters = map[string]*ratelimit.Limiter{gate.ActionCreate: l}
	})

	// An interval of the one-week chart is half an hour.
	for time.Now().Truncate(30 * time.Minute).Before(time.Now().Add(-30*time.Minute + 20*time.Second)) {
		time.Sleep(time.Second) // the current interval ends within 20 s
	}
	for range 3 {
		p, err := l.Acquire(t.Context(), ratelimit.Bulk)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Use(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.Sent()
	}
	if err := l.Record(t.Context()); err != nil {
		t.Fatal(err)
	}
	if path, flat := chartLine(t, h, "/?span=7d"); !flat {
		t.Errorf("the chart draws the current slot: %s", path)
	}
	if body := webtest.Ask(t, h, "GET", "/?span=7d", "Accept", "text/html").Body.String(); !strings.Contains(body,
		"(30 min average), 3 sent") {
		t.Errorf("the caption lacks the requests of the current slot:\n%s", body)
	}

	// The chart of a day-old batch has bars of 2,048 seconds.
	room := tasks.Room{SdkAppId: 1400123480, RoomId: 20101}
	rooms := func(yield func(tasks.Room, error) bool) { yield(room, nil) }
	if _, err := enqueue.New(rdb, keys.Default).Batch(t.Context(), rooms, enqueue.BatchOptions{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	age := func(d time.Duration) {
		rdb.HSet(t.Context(), keys.Default.Batch("b"), "created_at", time.Now().Add(-d).UnixMilli())
	}
	age(42*2048*time.Second + time.Minute)
	if _, err := book.Begin(t.Context(), tasks.SnapshotPayload{ID: "b.1", Batch: "b", Room: room}, "token",
		""); err != nil {
		t.Fatal(err)
	}
	if path, flat := chartLine(t, h, "/batches/b"); !flat {
		t.Errorf("the chart of the batch draws the current bar: %s", path)
	}
	age(43*2048*time.Second + time.Minute)
	path, flat := chartLine(t, h, "/batches/b")
	if flat || !strings.HasSuffix(path, "L720.0 14.5") {
		t.Errorf("the last point is not that of the finished bar: %s", path)
	}
	age(86*2048*time.Second + time.Minute)
	if path, _ := chartLine(t, h, "/batches/b"); !strings.HasSuffix(path, "L360.0 160L720 160") {
		t.Errorf("the line of an idle batch is %s, want 0 in its second half", path)
	}
}

package pages_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/web/metrics"
	"tiwsnap/web/webtest"
)

// The load of a view on Redis depends only on what it shows. With three times as many open batches, canceled rows and
// ended batches it runs as many commands and reads as many bytes. The test measures no times, because they depend on
// other load of the machine.
func TestLoadOfAViewDoesNotGrow(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	needs.Program(t, "redis-server")
	const many = 2500 // more than any view reads
	few, more := measureViews(t, many), measureViews(t, 3*many)
	for name, one := range few {
		three := more[name]
		t.Logf("%-28s %5d commands, %7d bytes; with three times as much %5d, %7d",
			name, one.commands, one.bytes, three.commands, three.bytes)
		// Cursors and counts have one more digit, and the replies of INFO differ in length. A view that reads all
		// batches or all rows would read 50 kB more.
		if three.commands > one.commands+one.commands/20+5 || three.bytes > one.bytes+one.bytes/20+5000 {
			t.Errorf("%s: %d commands and %d bytes, want no more than that with three times the data: %d and %d",
				name, one.commands, one.bytes, three.commands, three.bytes)
		}
	}
}

// work is the load of a view on Redis.
type work struct{ commands, bytes int }

// measureViews measures each view with n open batches, n rows canceled one by one, and n ended batches.
func measureViews(t *testing.T, n int) map[string]work {
	t.Helper()
	ctx, ns := t.Context(), keys.Default
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Real(t).Addr})
	t.Cleanup(func() { rdb.Close() })
	room := func(i int) tasks.Room { return tasks.Room{SdkAppId: 7, RoomId: uint64(i + 1)} }
	rooms := func(yield func(tasks.Room, error) bool) {
		for i := range n + 100 {
			if !yield(room(i), nil) {
				return
			}
		}
	}
	if _, err := enqueue.New(rdb, ns).Batch(ctx, rooms, enqueue.BatchOptions{ID: "canceled"}); err != nil {
		t.Fatal(err)
	}
	l, b := ledger.New(rdb, ledger.Options{}), backlog.New(rdb, ns)
	for row := 1; row <= n; row++ {
		if _, err := l.Cancel(ctx, tasks.RowID("canceled", row), room(row)); err != nil {
			t.Fatal(err)
		}
	}
	rows := rdb.HGet(ctx, ns.Rows("canceled"), "0").Val()
	now := time.Now().UnixMilli()
	pipe := rdb.Pipeline()
	for i := range n {
		at := now - int64(n-i)*6000
		open, ended := fmt.Sprintf("open-%07d", i), fmt.Sprintf("ended-%07d", i)
		pipe.HSet(ctx, ns.Batch(open), "total", 30, "fed", 0, "defaults", "{}", "labels", "[]", "created_at", at)
		pipe.HSet(ctx, ns.Rows(open), "0", rows)
		pipe.ZAdd(ctx, ns.Running(), redis.Z{Score: float64(at), Member: open})
		pipe.LPush(ctx, ns.Ring(), open)
		pipe.HSet(ctx, ns.Batch(ended), "total", 30, "fed", 30, "succeeded", 29, "failed", 1, "images", 58, "labels", "[]",
			"created_at", at, "ended_at", at+5000)
		pipe.ZAdd(ctx, ns.Batches(), redis.Z{Score: float64(at), Member: open}, redis.Z{Score: float64(at), Member: ended})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}

	depth, row := 0, n
	all := map[string]func(http.Handler){
		"the feeder takes a room": func(http.Handler) {
			depth++
			if ids, _, err := b.Take(ctx, "me", depth); err != nil || len(ids) != 1 {
				t.Fatal(ids, err)
			}
		},
		"how many rooms wait": func(http.Handler) {
			if _, _, err := b.Waiting(ctx); err != nil {
				t.Fatal(err)
			}
		},
		"a single cancel": func(http.Handler) {
			row++
			if _, err := l.Cancel(ctx, tasks.RowID("canceled", row), room(row)); err != nil {
				t.Fatal(err)
			}
		},
		"metrics": func(http.Handler) {
			testutil.CollectAndCount(metrics.NewCollector(metrics.Options{Redis: rdb, Ledger: l}))
		},
	}
	for _, path := range []string{
		"/", "/batches", "/batches?state=open", "/batches?state=failed", "/batches?q=no-such-name", "/batches/canceled",
		"/find?q=20117", "/failures", "/workers", "/redis",
	} {
		all["GET "+path] = func(h http.Handler) {
			r := httptest.NewRequestWithContext(ctx, "GET", "http://127.0.0.1"+path, nil)
			r.RemoteAddr = "127.0.0.1:1"
			r.Header.Set("Accept", "text/html")
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusOK {
				t.Fatalf("GET %s: status %d, want 200:\n%s", path, w.Code, w.Body)
			}
		}
	}
	number := func(pattern, text string) (sum int) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			n, _ := strconv.Atoi(m[1])
			sum += n
		}
		return sum
	}
	redisWork := func() work {
		return work{
			number(`(?m)^cmdstat_.*:calls=(\d+),`, rdb.Info(ctx, "commandstats").Val()),
			number(`(?m)^total_net_output_bytes:(\d+)`, rdb.Info(ctx, "stats").Val()),
		}
	}
	redisWork() // from now on the size of its own replies is constant
	own := redisWork()
	again := redisWork()
	own = work{again.commands - own.commands, again.bytes - own.bytes}
	found := map[string]work{}
	for name, view := range all {
		for try := range 2 { // the first try opens connections and loads scripts
			h := webtest.NewPages(t, rdb)
			before := redisWork()
			view(h)
			after := redisWork()
			w := work{after.commands - before.commands - own.commands, after.bytes - before.bytes - own.bytes}
			if try == 0 || w.commands < found[name].commands {
				found[name] = w
			}
		}
	}
	return found
}

package pages_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/testbed"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/web/webtest"
)

// pagesEnv enables the load test of the pages. It takes some minutes and 1 GB of Redis.
const pagesEnv = "TIWSNAP_TEST_PAGES"

// The p95 of every page is at most 200 ms with a million waiting rooms, 100,000 ended batches, and a batch of a million
// ended snapshots.
func TestPagesUnderLoad(t *testing.T) {
	if os.Getenv(pagesEnv) == "" {
		t.Skip("skipped: " + pagesEnv + " is not set")
	}
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Real(t).Addr})
	defer rdb.Close()
	ns := keys.Default
	ctx := t.Context()
	began := time.Now()
	now := time.Now().UnixMilli()
	for first := 0; first < 100_000; first += 5000 {
		pipe := rdb.Pipeline()
		for i := first; i < first+5000; i++ {
			id := fmt.Sprintf("class-%05d", i)
			at := now - int64(100_000-i)*6000 // one every six seconds, for a week
			pipe.HSet(ctx, ns.Batch(id), "total", 10, "fed", 10, "succeeded", 9, "failed", 1, "images", 18, "labels",
				`["Class"]`,
				"created_at", at, "ended_at", at+5000, "by", "schedule evening")
			pipe.ZAdd(ctx, ns.Batches(), redis.Z{Score: float64(at), Member: id})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	rooms := func(n int) func(func(tasks.Room, error) bool) {
		return func(yield func(tasks.Room, error) bool) {
			for i := range n {
				if !yield(tasks.Room{SdkAppId: 7, RoomId: uint64(i + 1),
					Label: map[string]string{"Class": fmt.Sprint(i % 500)}}, nil) {
					return
				}
			}
		}
	}
	client := enqueue.New(rdb, ns)
	for _, id := range []string{"waiting", "ended"} {
		if _, err := client.Batch(ctx, rooms(1_000_000), enqueue.BatchOptions{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	l := ledger.New(rdb, ledger.Options{})
	endMany(t, rdb, l, "ended", 1_000_000)
	used := rdb.InfoMap(ctx, "memory").Item("Memory", "used_memory_human")
	t.Logf("filled in %s, %s of Redis", time.Since(began).Round(time.Second), used)
	listAll(t, "redis://"+rdb.Options().Addr, "ended", 1_000_000)
	h := webtest.NewPages(t, rdb, webtest.WithLimiter(t, rdb), webtest.WithSchedules(t))
	for _, path := range []string{
		"/", "/batches", "/batches?state=failed", "/batches?q=nothing-of-that-name", "/batches?state=open",
		"/batches/waiting",
		"/batches/waiting?from=900001", "/batches/ended", "/batches/ended?from=900001", "/batches/ended?state=failed",
		"/batches/ended/images",
		"/snapshots/ended.10",
		"/snapshots/waiting.900000", "/find?q=999999", "/find?q=477", "/find?q=nothing", "/find?q=task-ended.777",
		"/failures", "/failures?code=InvalidParameter", "/held", "/schedules",
		"/webhooks", "/limit", "/workers", "/redis", "/audit",
	} {
		var took []time.Duration
		for i := range 60 {
			r := httptest.NewRequestWithContext(ctx, "GET", "http://127.0.0.1"+path, nil)
			r.RemoteAddr = fmt.Sprintf("127.0.0.%d:1", i+1) // the request limit is per address
			r.Header.Set("Accept", "text/html")
			w := httptest.NewRecorder()
			began := time.Now()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "</html>") {
				t.Fatalf("GET %s: status %d, want 200 with a whole page:\n%s", path, w.Code, w.Body)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		p95 := took[len(took)*95/100]
		t.Logf("%-36s p50 %4d ms   p95 %4d ms", path, took[len(took)/2].Milliseconds(), p95.Milliseconds())
		if p95 > 200*time.Millisecond {
			t.Errorf("GET %s: p95 is %s, want 200 ms or less", path, p95)
		}
	}
}

// listAll checks that the status command lists a batch as CSV within 20 s and 64 MB.
func listAll(t *testing.T, redisURL, batch string, rooms int) {
	t.Helper()
	binary, err := testbed.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), binary, "status", batch, "-o", "csv")
	list.Env = append(testbed.Environ(), "TIWSNAP_REDIS_URL="+redisURL)
	lines := &counting{}
	list.Stdout, list.Stderr = lines, os.Stderr
	began := time.Now()
	if err := list.Start(); err != nil {
		t.Fatal(err)
	}
	memory, done := 0, make(chan struct{})
	go func() { // not from rusage, which includes the memory of this process before exec
		defer close(done)
		for tick := time.Tick(50 * time.Millisecond); ; <-tick {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", list.Process.Pid))
			_, after, found := strings.Cut(string(status), "VmHWM:")
			if err != nil || !found {
				return
			}
			if n, err := strconv.Atoi(strings.Fields(after)[0]); err == nil {
				memory = n * 1024
			}
		}
	}()
	if err := list.Wait(); err != nil && list.ProcessState.ExitCode() != 1 { // some have failed
		t.Fatal(err)
	}
	took := time.Since(began)
	<-done
	t.Logf("%d lines of CSV in %s, %s of processor, %d MB", lines.n, took.Round(100*time.Millisecond),
		(list.ProcessState.UserTime() + list.ProcessState.SystemTime()).Round(100*time.Millisecond), memory/1_000_000)
	if lines.n != rooms+1 || took > 20*time.Second || memory > 64_000_000 {
		t.Errorf("%d lines in %s with %d bytes of memory, want %d in 20 s with 64 MB", lines.n, took, memory, rooms+1)
	}
}

// counting is a writer that counts lines.
type counting struct{ n int }

func (c *counting) Write(b []byte) (int, error) {
	c.n += bytes.Count(b, []byte("\n"))
	return len(b), nil
}

// endMany ends n snapshots of a batch, and one in ten fails. The first 20,000 go through the ledger. The others are
// copies of their packed records, with their own index entries.
func endMany(t *testing.T, rdb *redis.Client, l *ledger.Ledger, batch string, n int) {
	t.Helper()
	ctx, ns := t.Context(), keys.Default
	const real = 20_000
	var g errgroup.Group
	g.SetLimit(16)
	for i := 1; i <= real; i++ {
		g.Go(func() error {
			id := tasks.RowID(batch, i)
			p := tasks.SnapshotPayload{ID: id, Batch: batch, Room: tasks.Room{SdkAppId: 7, RoomId: uint64(i)}}
			intent, err := l.Begin(ctx, p, "t"+id, "")
			if err != nil {
				return err
			}
			if i%10 == 0 {
				return l.Outcome(ctx, id, intent.Attempt, ledger.Outcome{
					State: ledger.Failed, Code: "InvalidParameter", Message: "no",
				})
			}
			o := ledger.Outcome{State: ledger.Accepted, TaskID: "task-" + id, RequestID: uuid.NewString()}
			if err := l.Outcome(ctx, id, intent.Attempt, o); err != nil {
				return err
			}
			images := []string{"https://cos.example/" + id + "/1.png", "https://cos.example/" + id + "/2.png"}
			return l.Settle(ctx, id, o.TaskID, ledger.Result{State: ledger.Succeeded, Images: images})
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for packed := int64(0); packed < real; { // the ledger packs a snapshot three seconds after its end
		if _, err := l.Pack(ctx, 1000); err != nil {
			t.Fatal(err)
		}
		packed = rdb.HLen(ctx, ns.Packed(batch)).Val()
	}
	now := time.Now().UnixMilli()
	for first := real + 1; first <= n; first += 1000 {
		rows := make([]string, 1000)
		for i := range rows {
			rows[i] = strconv.Itoa((first+i-1)%real + 1)
		}
		records, err := rdb.HMGet(ctx, ns.Packed(batch), rows...).Result()
		if err != nil {
			t.Fatal(err)
		}
		pipe := rdb.Pipeline()
		for i, record := range records {
			row := first + i
			pipe.HSet(ctx, ns.Packed(batch), row, record)
			if row%10 == 0 {
				pipe.ZAdd(ctx, ns.Failed(batch), redis.Z{Score: float64(now), Member: tasks.RowID(batch, row)})
			}
			g.Go(func() error {
				id := tasks.RowID(batch, row)
				return l.Index(ctx, id, strconv.Itoa(row), strconv.Itoa((row-1)%500), "task-"+id, uuid.NewString())
			})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	rdb.HSet(ctx, ns.Batch(batch), "fed", n, "succeeded", n-n/10, "failed", n/10, "images", 2*(n-n/10), "ended_at", now)
	rdb.ZRem(ctx, ns.Running(), batch)
	rdb.LRem(ctx, ns.Ring(), 0, batch)
}

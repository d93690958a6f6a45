package images_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/images"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger/ledgertest"
	"tiwsnap/tasks"
)

// Cleanup deletes the old folder of a batch, the old day folder of snapshots without a batch, and the thumbnails of
// both. It deletes nothing else.
func TestCleanup(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	board := encodeNoise(t, images.PNG, 20, 20)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(board) }))
	t.Cleanup(host.Close)
	server := redistest.Real(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer rdb.Close()
	dir := t.TempDir()
	l := succeedBatch(t, rdb, "old", host.URL, 2)
	succeedBatch(t, rdb, "young", host.URL, 2)
	// A snapshot without a batch.
	ledgertest.Accept(t, l, tasks.SnapshotPayload{ID: "alone", Room: tasks.Room{SdkAppId: 7, RoomId: 9}})
	ledgertest.Succeed(t, l, "alone", host.URL)
	runUntil := func(done func() bool) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		c := newCopier(rdb, "file://"+dir)
		c.Keep = 24 * time.Hour
		var running sync.WaitGroup
		running.Go(func() { c.Run(ctx) })
		redistest.Until(t, "the copier is done", done)
		stop()
		running.Wait()
		c.Fetcher.Close()
	}
	day := "_single/" + time.Now().UTC().Format("2006-01-02")
	folders := func() map[string]bool {
		all, err := rdb.ZRange(t.Context(), keys.Default.Folders(), 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		known := map[string]bool{}
		for _, name := range all {
			known[name] = true
		}
		return known
	}
	runUntil(func() bool { return len(folders()) == 3 })
	single, err := filepath.Glob(filepath.Join(dir, day, "*/1.png"))
	if err != nil || len(single) != 1 {
		t.Fatalf("images of the snapshot without a batch: %v, want one (%v)", single, err)
	}
	for _, name := range []string{"old", "young", day} {
		if err := os.MkdirAll(filepath.Join(dir, ".thumbnails", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runUntil(func() bool { return true }) // a new copier deletes nothing young
	long := float64(time.Now().Add(-25 * time.Hour).UnixMilli())
	for _, name := range []string{"old", day} {
		if err := rdb.ZAdd(t.Context(), keys.Default.Folders(), redis.Z{Score: long, Member: name}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	runUntil(func() bool { return len(folders()) == 1 })
	for _, name := range []string{"old", ".thumbnails/old", day, ".thumbnails/" + day} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s was not deleted", name)
		}
	}
	for _, name := range []string{".thumbnails/young", "young/index.html"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(fmt.Sprint(readFiles(t, filepath.Join(dir, "young"))), ".png"); n != 4 {
		t.Errorf("the young batch has %d images, want 4", n)
	}
}

package images_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/images"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/ledger/ledgertest"
	"tiwsnap/tasks"
)

// succeedBatch makes a batch whose rooms have ended with two images each, below the URL base.
func succeedBatch(t *testing.T, rdb *redis.Client, id, base string, rooms int) *ledger.Ledger {
	t.Helper()
	urls := make([][]string, rooms)
	for i := range urls {
		urls[i] = []string{fmt.Sprintf("%s/%d/1", base, i+1), fmt.Sprintf("%s/%d/2", base, i+1)}
	}
	return succeedBatchAt(t, rdb, id, urls)
}

// succeedBatchAt makes a batch whose rooms have ended with images at these URLs.
func succeedBatchAt(t *testing.T, rdb *redis.Client, id string, urls [][]string) *ledger.Ledger {
	t.Helper()
	rooms := len(urls)
	l := ledger.New(rdb, ledger.Options{})
	room := func(row int) tasks.Room {
		return tasks.Room{SdkAppId: 7, RoomId: uint64(row),
			Label: map[string]string{"Class": fmt.Sprintf("%d班/../%d", row, row)}}
	}
	if _, err := enqueue.New(rdb, keys.Default).Batch(t.Context(), func(yield func(tasks.Room, error) bool) {
		for i := range rooms {
			if !yield(room(i+1), nil) {
				return
			}
		}
	}, enqueue.BatchOptions{ID: id}); err != nil {
		t.Fatal(err)
	}
	for row := 1; row <= rooms; row++ {
		snapshot := tasks.RowID(id, row)
		ledgertest.Accept(t, l, tasks.SnapshotPayload{ID: snapshot, Batch: id, Room: room(row)})
		ledgertest.Succeed(t, l, snapshot, urls[row-1]...)
	}
	return l
}

// readFiles returns the contents of the images below a folder, by name. Lists have empty contents, because they have
// times.
func readFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		all[name] = ""
		if filepath.Ext(name) == ".png" {
			b, err := os.ReadFile(path)
			all[name] = string(b)
			return err
		}
		return nil
	}); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all
}

// After ten kills of the copier, and with an image host that fails now and then, the folder is the same as without
// kills, byte for byte.
func TestCopierSurvivesKills(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const rooms = 20
	board := encodeNoise(t, images.PNG, 200, 200)
	var requests atomic.Int64
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch requests.Add(1) % 7 {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			w.Header().Set("Content-Length", fmt.Sprint(len(board)))
			w.Write(board[:len(board)/2])
		case 5:
			fmt.Fprint(w, "<html>busy</html>")
		default:
			w.Header().Set("Content-Length", fmt.Sprint(len(board)+len(r.URL.Path)))
			w.Write(append(append([]byte{}, board...), r.URL.Path...)) // the path after the end makes the images differ
		}
	}))
	t.Cleanup(host.Close)
	copyAll := func(kills int) map[string]string {
		server := redistest.Real(t)
		rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
		defer rdb.Close()
		dir := t.TempDir()
		l := succeedBatch(t, rdb, "a", host.URL, rooms)
		for n := range kills {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), copierRedis+"="+server.URL(), copierStore+"=file://"+dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			redistest.Until(t, "a copier has copied images", func() bool {
				return len(readFiles(t, filepath.Join(dir, "a"))) >= min(2*n, rooms)
			})
			cmd.Process.Kill()
			cmd.Wait()
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		c := newCopier(rdb, "file://"+dir)
		running.Go(func() { c.Run(ctx) })
		redistest.Until(t, "all images are copied", func() bool {
			b, err := l.Batch(t.Context(), "a")
			return err == nil && b.PendingImages == 0 && images.Archived(b)
		})
		stop()
		running.Wait()
		c.Fetcher.Close()
		if b, err := l.Batch(t.Context(), "a"); err != nil || b.CopiedImages != 2*rooms || b.LostImages > 0 {
			t.Errorf("batch %+v (%v), want all images copied", b, err)
		}
		return readFiles(t, filepath.Join(dir, "a"))
	}
	want, got := copyAll(0), copyAll(10)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the folder differs after ten kills (-want +got):\n%.2000s", diff)
	}
	for name, text := range want {
		if filepath.Ext(name) == ".png" && (!strings.HasPrefix(text, string(board)) || strings.Contains(name, "..")) {
			t.Errorf("%s with %d bytes is not a board, or has a bad name", name, len(text))
		}
	}
	if len(want) != 2*rooms+3 {
		t.Errorf("the folder has %d files", len(want))
	}
}

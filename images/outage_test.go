package images_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/images"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
)

// startImageHost starts a host whose images differ by path. imageOf returns the image of a path.
func startImageHost(t *testing.T) (host *httptest.Server, imageOf func(path string) string) {
	t.Helper()
	board := encodeNoise(t, images.PNG, 40, 40)
	imageOf = func(path string) string { return string(board) + path } // the path after the end makes the images differ
	host = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, imageOf(r.URL.Path))
	}))
	t.Cleanup(host.Close)
	return host, imageOf
}

// wantFiles returns the expected files of a batch of succeedBatch.
func wantFiles(rooms int, imageOf func(path string) string) map[string]string {
	want := map[string]string{"results.csv": "", "results.jsonl": "", "index.html": ""}
	for row := 1; row <= rooms; row++ {
		for n := 1; n <= 2; n++ {
			want[fmt.Sprintf("%04d-%d班-.-%d/%d.png", row, row, row, n)] = imageOf(fmt.Sprintf("/%d/%d", row, n))
		}
	}
	return want
}

// runCopier runs a copier until the test ends or stop is called.
func runCopier(t *testing.T, rdb *redis.Client, store string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := newCopier(rdb, store)
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		c.Fetcher.Close()
	})
	t.Cleanup(stop)
	return stop
}

// waitForCopyTrouble waits until the copier reports that no image can be copied, and checks the reason.
func waitForCopyTrouble(t *testing.T, l *ledger.Ledger, words string) {
	t.Helper()
	redistest.Until(t, "a copy trouble is reported", func() bool {
		trouble, err := l.CopyTrouble(t.Context())
		if err != nil || trouble == nil {
			return false
		}
		if !strings.Contains(trouble.Why, words) || strings.Contains(trouble.Why, testSecret) {
			t.Fatalf("copy trouble %q, want %q and no secret", trouble.Why, words)
		}
		return true
	})
}

// waitForCopies waits until each image of a batch is copied, the lists are written, and no trouble is reported.
func waitForCopies(t *testing.T, l *ledger.Ledger, id string, n int) {
	t.Helper()
	redistest.Until(t, "all images are copied", func() bool {
		b, err := l.Batch(t.Context(), id)
		return err == nil && b.CopiedImages == n && b.PendingImages+b.LostImages == 0 && images.Archived(b)
	})
	redistest.Until(t, "no copy trouble is reported", func() bool {
		trouble, err := l.CopyTrouble(t.Context())
		return err == nil && trouble == nil
	})
}

// No image is lost if the S3 server is killed during a copy and started again.
func TestCopierToS3(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const rooms = 20
	host, imageOf := startImageHost(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	dir := t.TempDir()
	kill := startS3At(t, addr, dir)
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Real(t).Addr})
	defer rdb.Close()
	l := succeedBatch(t, rdb, "a", host.URL, rooms)
	stop := runCopier(t, rdb, "s3://boards/school?region=us-east-1&endpoint="+url.QueryEscape("http://"+addr))
	folder := filepath.Join(dir, "boards/school/a")
	redistest.Until(t, "some images are copied", func() bool { return len(readFiles(t, folder)) >= 4 })
	kill()
	b, err := l.Batch(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if b.PendingImages > 0 { // else the copier was done before
		waitForCopyTrouble(t, l, "connect")
	}
	startS3At(t, addr, dir)
	waitForCopies(t, l, "a", 2*rooms)
	stop()
	if got, want := readFiles(t, folder), wantFiles(rooms, imageOf); !maps.Equal(got, want) {
		t.Errorf("files %q, want %q", nameSizes(got), nameSizes(want))
	}
}

// A store that denies access is reported, and images stay pending until it permits access.
func TestCopierWaitsForPermission(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const rooms = 3
	host, imageOf := startImageHost(t)
	dir := t.TempDir()
	store := startS3(t, dir)
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Real(t).Addr})
	defer rdb.Close()
	l := succeedBatch(t, rdb, "a", host.URL, rooms)
	forbid := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
	}))
	defer forbid.Close()
	for _, c := range []struct{ store, words string }{
		{strings.Replace(store, "boards", "theirs", 1), "bucket does not exist"},
		{"s3://boards?region=us-east-1&endpoint=" + url.QueryEscape(forbid.URL), "Access Denied"},
	} {
		if err := l.ReportCopyTrouble(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		stop := runCopier(t, rdb, c.store)
		waitForCopyTrouble(t, l, c.words)
		stop()
	}
	if b, err := l.Batch(t.Context(), "a"); err != nil || b.PendingImages != 2*rooms {
		t.Errorf("batch %+v (%v), want all images pending", b, err)
	}
	stop := runCopier(t, rdb, store)
	waitForCopies(t, l, "a", 2*rooms)
	stop()
	if got, want := readFiles(t, filepath.Join(dir, "boards/a")), wantFiles(rooms, imageOf); !maps.Equal(got, want) {
		t.Errorf("files %q, want %q", nameSizes(got), nameSizes(want))
	}
}

// mountDisk mounts a small file system for one test, or skips the test without the right to mount. grow enlarges it.
func mountDisk(t *testing.T, size string) (dir string, grow func(size string)) {
	t.Helper()
	mount := func(args ...string) error {
		if os.Getuid() != 0 {
			args = append([]string{"sudo", "-n"}, args...)
		}
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%v: %w: %s", args, err, out)
		}
		return err
	}
	dir = t.TempDir()
	options := fmt.Sprintf("uid=%d,mode=755,size=%s", os.Getuid(), size)
	if err := mount("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir); err != nil {
		needs.Skip(t, "no right to mount a file system")
	}
	t.Cleanup(func() {
		if err := mount("umount", dir); err != nil {
			t.Error(err)
		}
	})
	return dir, func(size string) {
		if err := mount("mount", "-o", "remount,size="+size, dir); err != nil {
			t.Fatal(err)
		}
	}
}

// On a full disk images stay pending, files are complete, and no temporary file is left.
func TestCopierOnFullDisk(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const rooms = 20
	host, imageOf := startImageHost(t)
	dir, grow := mountDisk(t, "100k") // 40 images take 200 kB
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Real(t).Addr})
	defer rdb.Close()
	l := succeedBatch(t, rdb, "a", host.URL, rooms)
	stop := runCopier(t, rdb, "file://"+dir)
	waitForCopyTrouble(t, l, "no space left on device")
	want := wantFiles(rooms, imageOf)
	for name, text := range readFiles(t, filepath.Join(dir, "a")) {
		if text != want[name] {
			t.Errorf("%s has %d bytes, want %d", name, len(text), len(want[name]))
		}
	}
	if b, err := l.Batch(t.Context(), "a"); err != nil || b.PendingImages == 0 || b.LostImages > 0 {
		t.Errorf("batch %+v (%v), want pending and no lost images", b, err)
	}
	grow("10m")
	waitForCopies(t, l, "a", 2*rooms)
	stop()
	if got := readFiles(t, filepath.Join(dir, "a")); !maps.Equal(got, want) {
		t.Errorf("files %q, want %q", nameSizes(got), nameSizes(want))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".tmp", "*")); len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

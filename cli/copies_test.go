package cli

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tiwsnap/images"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/rooms"
	"tiwsnap/ledger"
	"tiwsnap/tiw/tiwtest"
)

// copying returns a site whose workers copy images to a folder.
func copying(t *testing.T, o tiwtest.Options) (s site, dir string) {
	t.Helper()
	dir = t.TempDir()
	s = newSite(t, o)
	s.environ["TIWSNAP_IMAGES_STORE"] = "file://" + dir
	s.environ["TIWSNAP_IMAGES_PRIVATE"] = "127.0.0.1"
	return s, dir
}

// tree returns the contents of every file below a folder, by relative path.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// copied waits until the images of a batch are copied and the lists are written.
func (s site) copied(id string) {
	s.Helper()
	s.ok("wait", id)
	l := ledger.New(s.client(), ledger.Options{})
	s.eventually("the images of "+id+" are copied", func() bool {
		b, err := l.Batch(s.Context(), id)
		return err == nil && b.PendingImages == 0 && images.Archived(b)
	})
}

// eventually polls every 20 ms, for conditions without a notification.
func (s site) eventually(what string, ok func() bool) {
	s.Helper()
	redistest.Until(s, what, ok)
}

// get returns the body of a URL.
func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", url, resp.StatusCode, err)
	}
	return string(b)
}

// The store has every image, byte for byte, and the lists of images. Labels are plain text and never lead out of the
// folder.
func TestCopies(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, dir := copying(t, tiwtest.Options{})
	list := s.file("class.csv", "SdkAppId,RoomId,Label.Class\n1400123480,1,高二（3）班\n1400123480,2,../../../etc/passwd\n"+
		"1400123480,3,\"<script>alert(1)</script>\"\n1400123480,4,\n")
	s.ok("enqueue", "batch", list, "--name", "monday")
	s.worker()
	s.copied("monday")
	files := tree(t, dir)
	n := 0
	for r, err := range rooms.Read(strings.NewReader(files["monday/results.jsonl"]), rooms.Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Room.RoomId == 2 && r.Room.Label["Class"] != "../../../etc/passwd" {
			t.Errorf("the label is %q", r.Room.Label["Class"])
		}
	}
	header, rows := table(t, strings.TrimPrefix(files["monday/results.csv"], "\ufeff"))
	if len(rows) != 4 {
		t.Fatalf("results.csv has %d rows", len(rows))
	}
	for _, row := range rows {
		for i := 1; ; i++ {
			column, ok := header[fmt.Sprint("Image", i)]
			if !ok || row[column] == "" {
				break
			}
			n++
			name := row[header[fmt.Sprint("Copy", i)]]
			want := get(t, row[column])
			if got := files["monday/"+name]; got == "" || got != want {
				t.Errorf("%s has %d bytes, and %s %d", name, len(got), row[column], len(want))
			}
		}
	}
	if n == 0 || len(files) != n+3 {
		t.Errorf("%d images, and %d files", n, len(files))
	}
	page := files["monday/index.html"]
	if strings.Contains(page, "<script>alert") || !strings.Contains(page, "&lt;script&gt;alert(1)") {
		t.Error("a label is markup")
	}
	if strings.Contains(page, `src="http`) || strings.Contains(page, `href="http`) {
		t.Error("the page leads elsewhere")
	}
	s.says(exitOK, fmt.Sprintf("images copied  %d", n), "status", "monday")
	s.says(exitOK, `"url": "file://`+dir+"/monday/0001-", "status", "monday.1", "-o", "json")
}

// While the store is unavailable, images wait and sending continues. Afterwards all images are copied.
func TestCopiesWaitForTheirStore(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, dir := copying(t, tiwtest.Options{})
	away := dir + "-away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	s.worker()
	s.batch("a", 5)
	s.ok("wait", "a")
	s.eventually("it is told that the store is away", func() bool {
		_, _, stderr := s.run("", "status")
		return strings.Contains(stderr, "Images cannot be copied")
	})
	s.says(exitUnavailable, "image store", "doctor", "--skip-tiw")
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	s.copied("a")
	if strings.Contains(s.ok("status", "a"), "images lost") {
		t.Error("images are lost")
	}
}

// A batch without an image has lists in the store too. No webhook about copies is sent for it.
func TestListsOfABatchWithoutImages(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, dir := copying(t, tiwtest.Options{TaskFailure: 1})
	h := newHook(s)
	s.environ["TIWSNAP_WEBHOOK_EVENTS"] = "batch,images"
	stop := s.worker()
	s.batch("monday", 2)
	s.says(exitFailed, "2 failed", "wait", "monday")
	if event, _ := h.next(t); event != "batch.ended" {
		t.Errorf("told of %s", event)
	}
	stop()
	s.worker() // checks at once
	l := ledger.New(s.client(), ledger.Options{})
	s.eventually("the lists are written", func() bool {
		b, err := l.Batch(t.Context(), "monday")
		return err == nil && images.Archived(b)
	})
	files := tree(t, dir)
	if page := files["monday/index.html"]; strings.Count(page, "InternalErr") != 2 || len(files) != 3 {
		t.Errorf("%d files, and the page %s", len(files), page)
	}
	if _, rows := table(t, strings.TrimPrefix(files["monday/results.csv"], "\ufeff")); len(rows) != 2 {
		t.Errorf("results.csv has %d rows", len(rows))
	}
	s.ok("enqueue", "batch", s.file("b.csv", "SdkAppId,RoomId\n1400123480,7\n"), "--name", "next")
	if event, _ := h.next(t); event != "batch.ended" {
		t.Errorf("told of %s", event)
	}
}

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
	"tiwsnap/internal/rooms"
	"tiwsnap/ledger"
	"tiwsnap/tiw/tiwtest"
)

// newCopyingSite returns a site whose workers copy images to a folder.
func newCopyingSite(t *testing.T, o tiwtest.Options) (s site, dir string) {
	t.Helper()
	dir = t.TempDir()
	s = newSite(t, o)
	s.environ["TIWSNAP_IMAGES_STORE"] = "file://" + dir
	s.environ["TIWSNAP_IMAGES_PRIVATE"] = "127.0.0.1"
	return s, dir
}

// readFiles returns the contents of every file below a folder, by relative path.
func readFiles(t *testing.T, dir string) map[string]string {
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

// waitForCopies waits until the images of a batch are copied and the lists are written.
func (s site) waitForCopies(id string) {
	s.Helper()
	s.mustRun("wait", id)
	l := ledger.New(s.client(), ledger.Options{})
	s.waitUntil("the images of "+id+" are copied", func() bool {
		b, err := l.Batch(s.Context(), id)
		return err == nil && b.PendingImages == 0 && images.Archived(b)
	})
}

// getBody returns the body of a URL.
func getBody(t *testing.T, url string) string {
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
func TestImagesAreCopied(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, dir := newCopyingSite(t, tiwtest.Options{})
	list := s.file("class.csv", "SdkAppId,RoomId,Label.Class\n1400123480,1,高二（3）班\n1400123480,2,../../../etc/passwd\n"+
		"1400123480,3,\"<script>alert(1)</script>\"\n1400123480,4,\n")
	s.mustRun("enqueue", "batch", list, "--name", "monday")
	s.startWorker()
	s.waitForCopies("monday")
	files := readFiles(t, dir)
	n := 0
	for r, err := range rooms.Read(strings.NewReader(files["monday/results.jsonl"]), rooms.Options{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Room.RoomId == 2 && r.Room.Label["Class"] != "../../../etc/passwd" {
			t.Errorf("label %q, want it unchanged", r.Room.Label["Class"])
		}
	}
	header, rows := parseCSV(t, strings.TrimPrefix(files["monday/results.csv"], "\ufeff"))
	if len(rows) != 4 {
		t.Fatalf("results.csv has %d rows, want 4", len(rows))
	}
	for _, row := range rows {
		for i := 1; ; i++ {
			column, ok := header[fmt.Sprint("Image", i)]
			if !ok || row[column] == "" {
				break
			}
			n++
			name := row[header[fmt.Sprint("Copy", i)]]
			want := getBody(t, row[column])
			if got := files["monday/"+name]; got == "" || got != want {
				t.Errorf("copy %s has %d bytes and differs from %s with %d bytes", name, len(got), row[column], len(want))
			}
		}
	}
	if n == 0 || len(files) != n+3 {
		t.Errorf("%d files for %d images, want 3 more", len(files), n)
	}
	page := files["monday/index.html"]
	if strings.Contains(page, "<script>alert") || !strings.Contains(page, "&lt;script&gt;alert(1)") {
		t.Error("a label is not escaped in index.html")
	}
	if strings.Contains(page, `src="http`) || strings.Contains(page, `href="http`) {
		t.Error("index.html links to another host")
	}
	s.checkRun(exitOK, fmt.Sprintf("images copied  %d", n), "status", "monday")
	s.checkRun(exitOK, `"url": "file://`+dir+"/monday/0001-", "status", "monday.1", "-o", "json")
}

// While the store is unavailable, images wait and sending continues. Afterwards all images are copied.
func TestCopyingWaitsForStore(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, dir := newCopyingSite(t, tiwtest.Options{})
	moved := dir + "-moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	s.startWorker()
	s.enqueueBatch("a", 5)
	s.mustRun("wait", "a")
	s.waitUntil("status reports that images cannot be copied", func() bool {
		_, _, stderr := s.run("", "status")
		return strings.Contains(stderr, "Images cannot be copied")
	})
	s.checkRun(exitUnavailable, "image store", "doctor", "--skip-tiw")
	if err := os.Rename(moved, dir); err != nil {
		t.Fatal(err)
	}
	s.waitForCopies("a")
	if strings.Contains(s.mustRun("status", "a"), "images lost") {
		t.Error("status reports lost images")
	}
}

// A batch without an image has lists in the store too. No webhook about copies is sent for it.
func TestListsOfBatchWithoutImages(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, dir := newCopyingSite(t, tiwtest.Options{TaskFailure: 1})
	h := newHook(s)
	s.environ["TIWSNAP_WEBHOOK_EVENTS"] = "batch,images"
	stop := s.startWorker()
	s.enqueueBatch("monday", 2)
	s.checkRun(exitFailed, "2 failed", "wait", "monday")
	if event, _ := h.next(t); event != "batch.ended" {
		t.Errorf("webhook %s, want batch.ended", event)
	}
	stop()
	s.startWorker() // checks at once
	l := ledger.New(s.client(), ledger.Options{})
	s.waitUntil("the lists are written", func() bool {
		b, err := l.Batch(t.Context(), "monday")
		return err == nil && images.Archived(b)
	})
	files := readFiles(t, dir)
	if page := files["monday/index.html"]; strings.Count(page, "InternalErr") != 2 || len(files) != 3 {
		t.Errorf("%d files, want 3; index.html: %s", len(files), page)
	}
	if _, rows := parseCSV(t, strings.TrimPrefix(files["monday/results.csv"], "\ufeff")); len(rows) != 2 {
		t.Errorf("results.csv has %d rows, want 2", len(rows))
	}
	s.mustRun("enqueue", "batch", s.file("b.csv", "SdkAppId,RoomId\n1400123480,7\n"), "--name", "next")
	if event, _ := h.next(t); event != "batch.ended" {
		t.Errorf("webhook %s, want batch.ended", event)
	}
}

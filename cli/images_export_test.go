package cli

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// newSiteWithImages returns a site with a finished batch, and the images of the batch by file name. Each room has two
// images that are not copied.
func newSiteWithImages(t *testing.T, batch string, rooms int) (s site, want map[string]string) {
	t.Helper()
	s = newSite(t, tiwtest.Options{Images: 2})
	s.environ["TIWSNAP_IMAGES_PRIVATE"] = "127.0.0.1"
	s.startWorker()
	s.enqueueBatch(batch, rooms)
	s.mustRun("wait", batch)
	want = map[string]string{}
	for _, row := range s.rows(batch) {
		for i, url := range strings.Fields(row["Snapshots"]) {
			want[fmt.Sprintf("%s/%04s-%s/%d.png", batch, row["RoomId"], row["RoomId"], i+1)] = getBody(t, url)
		}
	}
	if len(want) != 2*rooms {
		t.Fatalf("batch has %d images, want %d", len(want), 2*rooms)
	}
	return s, want
}

// withoutLists removes the lists from files, because they contain times.
func withoutLists(t *testing.T, batch string, files map[string]string) map[string]string {
	t.Helper()
	for _, list := range []string{"results.csv", "results.jsonl", "index.html"} {
		name := batch + "/" + list
		if files[name] == "" {
			t.Errorf("missing file %s", name)
		}
		delete(files, name)
	}
	return files
}

// readZip returns the files of an archive.
func readZip(t *testing.T, b []byte) map[string]string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r) // also verifies the checksum
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(text)
	}
	return files
}

// Images are saved byte for byte, with the lists. A second call downloads nothing again. Another batch gets a folder of
// its own, even if its rooms have the same names.
func TestImagesToFolder(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, want := newSiteWithImages(t, "monday", 3)
	dir := filepath.Join(t.TempDir(), "boards")
	s.checkRun(exitOK, "6 images of batch monday, 0 of them kept from before: "+dir+"/monday/index.html", "images",
		"monday", "--to", dir)
	if diff := cmp.Diff(want, withoutLists(t, "monday", readFiles(t, dir))); diff != "" {
		t.Errorf("files differ (-want +got):\n%.1000s", diff)
	}
	served := s.sim.State().Images
	s.checkRun(exitOK, `"kept": 6`, "images", "monday", "--to", dir, "-o", "json")
	if n := s.sim.State().Images; n != served {
		t.Errorf("%d images were downloaded again", n-served)
	}
	s.enqueueBatch("tuesday", 3)
	s.mustRun("wait", "tuesday")
	s.checkRun(exitOK, "6 images of batch tuesday, 0 of them kept from before", "images", "tuesday", "--to", dir)
	s.checkRun(exitUsage, "there is no snapshot or batch sunday", "images", "sunday", "--to", dir)
	s.checkRun(exitUsage, "--to and --zip exclude each other", "images", "monday", "--to", dir, "--zip", "x.zip")
}

// A file with the name of an image is not that image if it is older than the snapshot.
func TestImagesToFolderReplacesOlderFiles(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, want := newSiteWithImages(t, "monday", 1)
	dir := t.TempDir()
	s.mustRun("images", "monday", "--to", dir)
	old := filepath.Join(dir, "monday/0001-1/1.png")
	if err := os.WriteFile(old, []byte("last week's image"), 0o600); err != nil {
		t.Fatal(err)
	}
	week := s.sim.State().StartedAt.AddDate(0, 0, -7)
	if err := os.Chtimes(old, week, week); err != nil {
		t.Fatal(err)
	}
	s.checkRun(exitOK, "2 images of batch monday, 1 of them kept from before", "images", "monday", "--to", dir)
	if diff := cmp.Diff(want, withoutLists(t, "monday", readFiles(t, dir))); diff != "" {
		t.Errorf("files differ (-want +got):\n%.1000s", diff)
	}
}

func TestImagesZip(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, want := newSiteWithImages(t, "monday", 3)
	file := filepath.Join(t.TempDir(), "monday.zip")
	for range 2 { // the second archive replaces the first
		s.checkRun(exitOK, "6 images of batch monday", "images", "monday", "--zip", file)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, withoutLists(t, "monday", readZip(t, b))); diff != "" {
			t.Errorf("files differ (-want +got):\n%.1000s", diff)
		}
	}
	stdout := s.mustRun("images", "monday", "--zip", "-")
	if diff := cmp.Diff(want, withoutLists(t, "monday", readZip(t, []byte(stdout)))); diff != "" {
		t.Errorf("archive on stdout differs (-want +got):\n%.1000s", diff)
	}
	s.checkRun(exitTempFail, "no such file or directory", "images", "monday", "--zip", "/no/such/folder/a.zip")
}

// An interrupted download leaves no page and no archive. The next call finishes it.
func TestImagesInterrupted(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const rooms = 30
	s, want := newSiteWithImages(t, "monday", rooms)
	s.environ["TIWSNAP_IMAGES_RATE"] = "3,100MB" // so that all would take 19 s
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	checkInterrupt := func(message string, done func() bool, args ...string) {
		t.Helper()
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		ended := make(chan int, 1)
		var stderr bytes.Buffer
		go func() {
			ended <- run(ctx, append([]string{"images", "monday"}, args...),
				env{strings.NewReader(""), io.Discard, &stderr, variables(s.environ)})
		}()
		s.waitUntil("some images are downloaded", done)
		interrupt()
		if code := <-ended; code != exitTempFail || !strings.Contains(stderr.String(), message) {
			t.Errorf("%v: exit code %d, %s", args, code, &stderr)
		}
	}
	count := func(pattern string) int {
		all, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	some := func() bool { return count(filepath.Join(out, "monday/*/*.png")) >= 2 }
	checkInterrupt("images; repeat the command to continue", some, "--to", out)
	saved := count(filepath.Join(out, "monday/*/*.png"))
	if _, err := os.Stat(filepath.Join(out, "monday/index.html")); err == nil {
		t.Error("index.html exists after an interrupted download")
	}
	served := s.sim.State().Images
	some = func() bool { return s.sim.State().Images >= served+2 }
	checkInterrupt("no archive was written", some, "--zip", filepath.Join(dir, "monday.zip"))
	if n := count(filepath.Join(dir, "*.zip")) + count(filepath.Join(dir, ".*.zip")); n != 0 {
		t.Errorf("%d archives exist after an interrupt, want 0", n)
	}

	delete(s.environ, "TIWSNAP_IMAGES_RATE")
	whole := fmt.Sprintf("%d images of batch monday, %d of them kept from before", 2*rooms, saved)
	s.checkRun(exitOK, whole, "images", "monday", "--to", out)
	files := readFiles(t, out)
	for name := range files {
		if strings.Contains(name, ".tmp") {
			t.Errorf("temporary file %s is left", name)
		}
	}
	if diff := cmp.Diff(want, withoutLists(t, "monday", files)); diff != "" {
		t.Errorf("files differ (-want +got):\n%.1000s", diff)
	}
}

// Images that cannot be read are counted and reported. The next call tries them again.
func TestImagesMissing(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, want := newSiteWithImages(t, "monday", 2)
	if err := s.sim.SetFaults(tiwtest.Faults{
		Images: map[tiwtest.ImageFault]float64{tiwtest.ImageShort: 1}, ImagesFirst: 1,
	}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s.checkRun(exitFailed, "1 image missing: image 1 of snapshot monday.1", "images", "monday", "--to", dir)
	if n := len(withoutLists(t, "monday", readFiles(t, dir))); n != 3 {
		t.Errorf("%d images were saved, want 3", n)
	}
	s.checkRun(exitOK, "4 images of batch monday, 3 of them kept from before", "images", "monday", "--to", dir)
	delete(s.environ, "TIWSNAP_IMAGES_PRIVATE")
	s.checkRun(exitFailed, "list it in TIWSNAP_IMAGES_PRIVATE", "images", "monday", "--to", t.TempDir())
	if diff := cmp.Diff(want, withoutLists(t, "monday", readFiles(t, dir))); diff != "" {
		t.Errorf("files differ (-want +got):\n%.1000s", diff)
	}
}

// images retry copies the images of snapshots that finished without a store.
func TestImagesRetry(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, want := newSiteWithImages(t, "monday", 2)
	s.checkRun(exitOK, "copied  0", "images", "monday")
	dir := t.TempDir()
	s.environ["TIWSNAP_IMAGES_STORE"] = "file://" + dir
	s.startWorker() // beside the one without a store
	code, out, errs := s.withVariable("TIWSNAP_IMAGES_STORE", "").run("", "images", "retry", "monday")
	if code != exitOK || out != "4 images of batch monday queued for copying\n" ||
		!strings.Contains(errs, "no image store is set here") {
		t.Errorf("images retry without a store: exit code %d, stdout %q, stderr %q", code, out, errs)
	}
	s.waitForCopies("monday")
	if diff := cmp.Diff(want, withoutLists(t, "monday", readFiles(t, dir))); diff != "" {
		t.Errorf("files differ (-want +got):\n%.1000s", diff)
	}
	s.checkRun(exitFailed, "nothing to copy", "images", "retry", "monday")
	s.checkRun(exitUsage, "there is no snapshot or batch sunday", "images", "retry", "sunday")
	s.checkRun(exitOK, "file://"+dir+"/monday/index.html", "images", "monday")
}

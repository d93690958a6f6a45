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

// pictured returns a site with a finished batch, and the images of the batch by file name. Each room has two images
// that are not copied.
func pictured(t *testing.T, batch string, rooms int) (s site, want map[string]string) {
	t.Helper()
	s = newSite(t, tiwtest.Options{Images: 2})
	s.environ["TIWSNAP_IMAGES_PRIVATE"] = "127.0.0.1"
	s.worker()
	s.batch(batch, rooms)
	s.ok("wait", batch)
	want = map[string]string{}
	for _, row := range s.rows(batch) {
		for i, url := range strings.Fields(row["Snapshots"]) {
			want[fmt.Sprintf("%s/%04s-%s/%d.png", batch, row["RoomId"], row["RoomId"], i+1)] = get(t, url)
		}
	}
	if len(want) != 2*rooms {
		t.Fatalf("there are %d images", len(want))
	}
	return s, want
}

// withoutLists removes the lists from files, because they contain times.
func withoutLists(t *testing.T, batch string, files map[string]string) map[string]string {
	t.Helper()
	for _, list := range []string{"results.csv", "results.jsonl", "index.html"} {
		name := batch + "/" + list
		if files[name] == "" {
			t.Errorf("there is no %s", name)
		}
		delete(files, name)
	}
	return files
}

// zipped returns the files of an archive.
func zipped(t *testing.T, b []byte) map[string]string {
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
func TestImagesTo(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, want := pictured(t, "monday", 3)
	dir := filepath.Join(t.TempDir(), "boards")
	s.says(exitOK, "6 images of batch monday, 0 of them kept from before: "+dir+"/monday/index.html", "images",
		"monday", "--to", dir)
	if diff := cmp.Diff(want, withoutLists(t, "monday", tree(t, dir))); diff != "" {
		t.Errorf("%.1000s", diff)
	}
	served := s.sim.State().Images
	s.says(exitOK, `"kept": 6`, "images", "monday", "--to", dir, "-o", "json")
	if n := s.sim.State().Images; n != served {
		t.Errorf("%d images were read again", n-served)
	}
	s.batch("tuesday", 3)
	s.ok("wait", "tuesday")
	s.says(exitOK, "6 images of batch tuesday, 0 of them kept from before", "images", "tuesday", "--to", dir)
	s.says(exitUsage, "there is no snapshot or batch sunday", "images", "sunday", "--to", dir)
	s.says(exitUsage, "--to and --zip exclude each other", "images", "monday", "--to", dir, "--zip", "x.zip")
}

// A file with the name of an image is not that image if it is older than the snapshot.
func TestImagesToReplacesWhatIsOlder(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, want := pictured(t, "monday", 1)
	dir := t.TempDir()
	s.ok("images", "monday", "--to", dir)
	old := filepath.Join(dir, "monday/0001-1/1.png")
	if err := os.WriteFile(old, []byte("of last week"), 0o600); err != nil {
		t.Fatal(err)
	}
	week := s.sim.State().StartedAt.AddDate(0, 0, -7)
	if err := os.Chtimes(old, week, week); err != nil {
		t.Fatal(err)
	}
	s.says(exitOK, "2 images of batch monday, 1 of them kept from before", "images", "monday", "--to", dir)
	if diff := cmp.Diff(want, withoutLists(t, "monday", tree(t, dir))); diff != "" {
		t.Errorf("%.1000s", diff)
	}
}

func TestImagesZip(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, want := pictured(t, "monday", 3)
	file := filepath.Join(t.TempDir(), "monday.zip")
	for range 2 { // the second archive replaces the first
		s.says(exitOK, "6 images of batch monday", "images", "monday", "--zip", file)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, withoutLists(t, "monday", zipped(t, b))); diff != "" {
			t.Errorf("%.1000s", diff)
		}
	}
	stdout := s.ok("images", "monday", "--zip", "-")
	if diff := cmp.Diff(want, withoutLists(t, "monday", zipped(t, []byte(stdout)))); diff != "" {
		t.Errorf("on stdout: %.1000s", diff)
	}
	s.says(exitTempFail, "no such file or directory", "images", "monday", "--zip", "/no/such/folder/a.zip")
}

// An interrupted download leaves nothing that looks complete. The next call finishes it.
func TestImagesInterrupted(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const rooms = 30
	s, want := pictured(t, "monday", rooms)
	s.environ["TIWSNAP_IMAGES_RATE"] = "3,100MB" // so that all would take 19 s
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	interrupted := func(says string, done func() bool, args ...string) {
		t.Helper()
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		ended := make(chan int, 1)
		var stderr bytes.Buffer
		go func() {
			ended <- run(ctx, append([]string{"images", "monday"}, args...),
				env{strings.NewReader(""), io.Discard, &stderr, variables(s.environ)})
		}()
		s.eventually("some images are there", done)
		interrupt()
		if code := <-ended; code != exitTempFail || !strings.Contains(stderr.String(), says) {
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
	interrupted("images; repeat the command to continue", some, "--to", out)
	there := count(filepath.Join(out, "monday/*/*.png"))
	if _, err := os.Stat(filepath.Join(out, "monday/index.html")); err == nil {
		t.Error("there is a page of what is not there")
	}
	served := s.sim.State().Images
	some = func() bool { return s.sim.State().Images >= served+2 }
	interrupted("no archive was written", some, "--zip", filepath.Join(dir, "monday.zip"))
	if n := count(filepath.Join(dir, "*.zip")) + count(filepath.Join(dir, ".*.zip")); n != 0 {
		t.Errorf("there are %d archives", n)
	}

	delete(s.environ, "TIWSNAP_IMAGES_RATE")
	whole := fmt.Sprintf("%d images of batch monday, %d of them kept from before", 2*rooms, there)
	s.says(exitOK, whole, "images", "monday", "--to", out)
	files := tree(t, out)
	for name := range files {
		if strings.Contains(name, ".tmp") {
			t.Errorf("there is left %s", name)
		}
	}
	if diff := cmp.Diff(want, withoutLists(t, "monday", files)); diff != "" {
		t.Errorf("%.1000s", diff)
	}
}

// Images that cannot be read are counted and reported. The next call tries them again.
func TestImagesMissing(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, want := pictured(t, "monday", 2)
	if err := s.sim.SetFaults(tiwtest.Faults{
		Images: map[tiwtest.ImageFault]float64{tiwtest.ImageShort: 1}, ImagesFirst: 1,
	}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s.says(exitFailed, "1 image missing: image 1 of snapshot monday.1", "images", "monday", "--to", dir)
	if n := len(withoutLists(t, "monday", tree(t, dir))); n != 3 {
		t.Errorf("%d images are there", n)
	}
	s.says(exitOK, "4 images of batch monday, 3 of them kept from before", "images", "monday", "--to", dir)
	delete(s.environ, "TIWSNAP_IMAGES_PRIVATE")
	s.says(exitFailed, "list it in TIWSNAP_IMAGES_PRIVATE", "images", "monday", "--to", t.TempDir())
	if diff := cmp.Diff(want, withoutLists(t, "monday", tree(t, dir))); diff != "" {
		t.Errorf("%.1000s", diff)
	}
}

// images retry copies the images of snapshots that finished without a store.
func TestImagesRetry(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s, want := pictured(t, "monday", 2)
	s.says(exitOK, "copied  0", "images", "monday")
	dir := t.TempDir()
	s.environ["TIWSNAP_IMAGES_STORE"] = "file://" + dir
	s.worker() // beside the one without a store
	s.says(exitOK, "4 images of batch monday queued for copying", "images", "retry", "monday")
	s.copied("monday")
	if diff := cmp.Diff(want, withoutLists(t, "monday", tree(t, dir))); diff != "" {
		t.Errorf("%.1000s", diff)
	}
	s.says(exitFailed, "nothing to copy", "images", "retry", "monday")
	s.says(exitUsage, "there is no snapshot or batch sunday", "images", "retry", "sunday")
	s.says(exitOK, "file://"+dir+"/monday/index.html", "images", "monday")
}

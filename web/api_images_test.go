package web_test

import (
	"archive/zip"
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tiwsnap/images"
	"tiwsnap/internal/guard"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/web"
)

// withSimulator lets the API read images from the tests' own network.
func withSimulator(t *testing.T) func(*web.APIOptions) {
	t.Helper()
	private, err := guard.ParsePrivate([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	return func(o *web.APIOptions) {
		o.Images = &images.Source{Fetcher: images.NewFetcher(images.FetcherOptions{Private: private})}
	}
}

func TestImagesThatTencentHas(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	var pic bytes.Buffer
	if err := png.Encode(&pic, image.NewPaletted(image.Rect(0, 0, 1280, 720), color.Palette{color.White})); err != nil {
		t.Fatal(err)
	}
	var served atomic.Int64
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if r.URL.Path != "/1.png" {
			http.NotFound(w, r)
			return
		}
		w.Write(pic.Bytes())
	}))
	t.Cleanup(host.Close)
	rdb := redistest.Client(t)
	s := serve(t, rdb, withSimulator(t))
	s.add("a", 3)
	settle := func(id, url string) {
		s.outcome(id, ledger.Outcome{State: ledger.Accepted, TaskID: "task-" + id})
		l := ledger.New(rdb, ledger.Options{})
		if err := l.Settle(t.Context(), id, "task-"+id,
			ledger.Result{State: ledger.Succeeded, Images: []string{url}}); err != nil {
			t.Fatal(err)
		}
	}
	settle("a.1", host.URL+"/1.png")
	settle("a.2", host.URL+"/2.png")

	got := s.send("GET", "/v1/snapshots/a.1/images/1", "")
	if got.status != http.StatusOK || got.body != pic.String() || got.header.Get("Content-Type") != "image/png" {
		t.Errorf("%d, %d bytes of %d, %v", got.status, len(got.body), pic.Len(), got.header)
	}
	small := s.send("GET", "/v1/snapshots/a.1/images/1?width=320", "")
	if config, err := jpeg.DecodeConfig(bytes.NewReader([]byte(small.body))); err != nil || config.Width != 320 ||
		config.Height != 180 {
		t.Errorf("a thumbnail is %+v, %v", config, err)
	}
	before := served.Load()
	if again := s.send("GET", "/v1/snapshots/a.1/images/1?width=320", ""); again.body != small.body ||
		served.Load() != before {
		t.Error("the thumbnail was made twice")
	}
	s.send("GET", "/v1/snapshots/a.1/images/2", "").problem(http.StatusNotFound, "not-found")
	s.send("GET", "/v1/snapshots/a.1/images/0", "").problem(http.StatusUnprocessableEntity, "invalid")
	s.send("GET", "/v1/snapshots/a.1/images/1?width=99", "").problem(http.StatusUnprocessableEntity, "invalid")
	s.send("GET", "/v1/snapshots/a.3/images/1", "").problem(http.StatusNotFound, "not-found")
	s.send("GET", "/v1/snapshots/none/images/1", "").problem(http.StatusNotFound, "not-found")
	s.send("GET", "/v1/snapshots/a.2/images/1", "").problem(http.StatusServiceUnavailable, "image-unavailable")
	archive := s.send("GET", "/v1/batches/a/images.zip", "")
	z, err := zip.NewReader(strings.NewReader(archive.body), int64(len(archive.body)))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := fs.ReadFile(z, "a/0001-1-1/1.png"); err != nil || !bytes.Equal(b, pic.Bytes()) {
		t.Errorf("the archive has %d bytes of the image, %v", len(b), err)
	}
	for _, name := range []string{"results.csv", "results.jsonl", "index.html"} {
		if _, err := z.Open("a/" + name); err != nil {
			t.Errorf("the archive lacks a list: %v", err)
		}
	}
	// Three days after its acceptance the image is not even asked for.
	if err := rdb.HSet(t.Context(), "{tiwsnap}:snapshot:a.1", "accepted_at",
		time.Now().Add(-ledger.TencentKeeps).UnixMilli()).Err(); err != nil {
		t.Fatal(err)
	}
	before = served.Load()
	for _, query := range []string{"", "?width=320"} {
		s.send("GET", "/v1/snapshots/a.1/images/1"+query, "").problem(http.StatusGone, "gone")
	}
	if served.Load() != before {
		t.Error("a dead link was asked for")
	}
}

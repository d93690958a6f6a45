package api_test

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

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/web/webtest"
)

func TestRemoteImages(t *testing.T) {
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
	s := webtest.Serve(t, rdb, webtest.WithSimulator(t))
	s.Add("a", 3)
	settle := func(id, url string) {
		s.Outcome(id, ledger.Outcome{State: ledger.Accepted, TaskID: "task-" + id})
		l := ledger.New(rdb, ledger.Options{})
		if err := l.Settle(t.Context(), id, "task-"+id,
			ledger.Result{State: ledger.Succeeded, Images: []string{url}}); err != nil {
			t.Fatal(err)
		}
	}
	settle("a.1", host.URL+"/1.png")
	settle("a.2", host.URL+"/2.png")

	got := s.Send("GET", "/v1/snapshots/a.1/images/1", "")
	if got.Status != http.StatusOK || got.Body != pic.String() || got.Header.Get("Content-Type") != "image/png" {
		t.Errorf("image: status %d, %d of %d bytes, header %v, want the PNG",
			got.Status, len(got.Body), pic.Len(), got.Header)
	}
	small := s.Send("GET", "/v1/snapshots/a.1/images/1?width=320", "")
	if config, err := jpeg.DecodeConfig(bytes.NewReader([]byte(small.Body))); err != nil || config.Width != 320 ||
		config.Height != 180 {
		t.Errorf("thumbnail is %+v, %v, want 320 x 180", config, err)
	}
	before := served.Load()
	if second := s.Send("GET", "/v1/snapshots/a.1/images/1?width=320", ""); second.Body != small.Body ||
		served.Load() != before {
		t.Error("the thumbnail was created twice")
	}
	s.Send("GET", "/v1/snapshots/a.1/images/2", "").Problem(http.StatusNotFound, "not-found")
	s.Send("GET", "/v1/snapshots/a.1/images/0", "").Problem(http.StatusUnprocessableEntity, "invalid")
	s.Send("GET", "/v1/snapshots/a.1/images/1?width=99", "").Problem(http.StatusUnprocessableEntity, "invalid")
	s.Send("GET", "/v1/snapshots/a.3/images/1", "").Problem(http.StatusNotFound, "not-found")
	s.Send("GET", "/v1/snapshots/none/images/1", "").Problem(http.StatusNotFound, "not-found")
	s.Send("GET", "/v1/snapshots/a.2/images/1", "").Problem(http.StatusServiceUnavailable, "image-unavailable")
	s.Add("b", 1)
	settle("b.1", "http://10.1.2.3/1.png")
	private := s.Send("GET", "/v1/snapshots/b.1/images/1", "").Problem(http.StatusServiceUnavailable, "image-unavailable")
	if !strings.Contains(private.Detail, "list it in TIWSNAP_IMAGES_PRIVATE") {
		t.Errorf("image of a private host: %q does not name the setting", private.Detail)
	}
	archive := s.Send("GET", "/v1/batches/a/images.zip", "")
	z, err := zip.NewReader(strings.NewReader(archive.Body), int64(len(archive.Body)))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := fs.ReadFile(z, "a/0001-1-1/1.png"); err != nil || !bytes.Equal(b, pic.Bytes()) {
		t.Errorf("the archive has %d bytes of the image, %v", len(b), err)
	}
	for _, name := range []string{"results.csv", "results.jsonl", "index.html"} {
		if _, err := z.Open("a/" + name); err != nil {
			t.Errorf("the archive does not contain %s: %v", name, err)
		}
	}
	// Three days after its acceptance the image is not requested any more.
	if err := rdb.HSet(t.Context(), "{tiwsnap}:snapshot:a.1", "accepted_at",
		time.Now().Add(-ledger.TencentKeeps).UnixMilli()).Err(); err != nil {
		t.Fatal(err)
	}
	before = served.Load()
	for _, query := range []string{"", "?width=320"} {
		s.Send("GET", "/v1/snapshots/a.1/images/1"+query, "").Problem(http.StatusGone, "gone")
	}
	if served.Load() != before {
		t.Error("an expired URL was requested")
	}
}

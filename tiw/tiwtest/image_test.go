package tiwtest_test

import (
	"bytes"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

func TestImages(t *testing.T) {
	needs.Time(t)
	get := func(t *testing.T, srv *tiwtest.Server, url string) *httptest.ResponseRecorder {
		t.Helper()
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, httptest.NewRequest(http.MethodGet, url, nil))
		return w
	}
	for _, test := range []struct {
		board         string
		width, height int
	}{
		{`{}`, 1280, 720},
		{`{"Width":0,"Height":0}`, 1280, 720},
		{`{"Width":640,"Height":360}`, 640, 360},
		{`{"Width":1,"Height":1}`, 1, 1},
		{`{"Width":2560,"Height":3}`, 2560, 3},
	} {
		t.Run(test.board, func(t *testing.T) {
			srv := newServer(t, tiwtest.Options{})
			c := newCaller("127.0.0.1:9090")
			id := serve(t, srv, c.request(t, create, `{"SdkAppId":1400124720,"RoomId":7,"Whiteboard":`+test.board+`}`)).TaskID
			for i, url := range serve(t, srv, c.request(t, describe, describeBody(id))).Result.Snapshots {
				if want := fmt.Sprintf("http://127.0.0.1:9090/images/7/%s/%d.png", id, i+1); url != want {
					t.Errorf("image %d has the URL %s, want %s", i, url, want)
				}
				w := get(t, srv, url)
				if w.Code != 200 || w.Header().Get("Content-Type") != "image/png" {
					t.Fatalf("GET %s: status %d, header %v, want a PNG", url, w.Code, w.Header())
				}
				if again := get(t, srv, url); again.Body.String() != w.Body.String() {
					t.Error("the second download of an image has other bytes")
				}
				img, err := png.Decode(w.Body)
				if err != nil {
					t.Fatal(err)
				}
				if b := img.Bounds(); b.Dx() != test.width || b.Dy() != test.height {
					t.Errorf("the image is %v, want %d x %d", b, test.width, test.height)
				}
			}
		})
	}
	t.Run("each room has its own image", func(t *testing.T) {
		srv := newServer(t, tiwtest.Options{})
		c := newCaller("h")
		seen := map[string]string{}
		for _, room := range []string{"7", "8", "4294967295"} {
			id := serve(t, srv, c.request(t, create, `{"SdkAppId":1400124720,"RoomId":`+room+`,"Whiteboard":{}}`)).TaskID
			for _, url := range serve(t, srv, c.request(t, describe, describeBody(id))).Result.Snapshots {
				body := get(t, srv, url).Body.String()
				if other, ok := seen[body]; ok {
					t.Errorf("the images %s and %s are equal", url, other)
				}
				seen[body] = url
			}
		}
	})
	t.Run("availability", func(t *testing.T) {
		clk := newClock(time.Unix(1760000000, 0))
		srv := newServer(t, tiwtest.Options{Clock: clk.now, TaskDuration: time.Minute, ImageRetention: time.Hour})
		c := newCaller("h")
		c.now = clk.now
		url := "http://h/images/7/" + serve(t, srv, c.request(t, create, room7)).TaskID + "/1.png"
		wantStatus := func(status int, url, what string) {
			t.Helper()
			if got := get(t, srv, url).Code; got != status {
				t.Errorf("%s: status %d, want %d", what, got, status)
			}
		}
		wantStatus(404, url, "running task")
		clk.advance(time.Minute)
		wantStatus(200, url, "finished task")
		wantStatus(404, strings.Replace(url, "/7/", "/8/", 1), "another room")
		wantStatus(404, strings.Replace(url, "1.png", "0.png", 1), "page 0")
		wantStatus(404, strings.Replace(url, "1.png", "5.png", 1), "page 5")
		wantStatus(404, strings.Replace(url, "1.png", "1.gif", 1), "GIF")
		wantStatus(404, "http://h/images/7/x/1.png", "unknown task")
		clk.advance(time.Hour)
		wantStatus(404, url, "task that finished an hour ago")
	})
}

// TestImageSize checks that the options set the number and the size of the images.
func TestImageSize(t *testing.T) {
	srv, url := startWithImage(t, tiwtest.Options{Images: 3, ImageBytes: 300_000})
	for task := range srv.Tasks() {
		if task.Images != 3 {
			t.Errorf("the task has %d images, want 3", task.Images)
		}
	}
	resp, err := http.Get(strings.Replace(url, "1.png", "3.png", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || len(b) != 300_000 || resp.ContentLength != 300_000 {
		t.Errorf("the image has %d bytes, Content-Length %d, %v, want 300000", len(b), resp.ContentLength, err)
	}
	if _, err := png.Decode(bytes.NewReader(b)); err != nil {
		t.Error(err)
	}
	for _, o := range []tiwtest.Options{{Images: 256}, {Images: -1}, {ImageBytes: -1}, {ImageBytes: 65 << 20}} {
		if o.Validate() == nil {
			t.Errorf("Validate() accepts %d images of %d bytes", o.Images, o.ImageBytes)
		}
	}
}

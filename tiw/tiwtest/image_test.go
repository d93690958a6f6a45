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
			id := direct(t, srv, c.request(t, create, `{"SdkAppId":1400124720,"RoomId":7,"Whiteboard":`+test.board+`}`)).TaskID
			for i, url := range direct(t, srv, c.request(t, describe, describeBody(id))).Result.Snapshots {
				if want := fmt.Sprintf("http://127.0.0.1:9090/images/7/%s/%d.png", id, i+1); url != want {
					t.Errorf("image %d is at %s, want %s", i, url, want)
				}
				w := get(t, srv, url)
				if w.Code != 200 || w.Header().Get("Content-Type") != "image/png" {
					t.Fatalf("%d, %v", w.Code, w.Header())
				}
				if again := get(t, srv, url); again.Body.String() != w.Body.String() {
					t.Error("the second look at an image shows another")
				}
				img, err := png.Decode(w.Body)
				if err != nil {
					t.Fatal(err)
				}
				if b := img.Bounds(); b.Dx() != test.width || b.Dy() != test.height {
					t.Errorf("the image is %v", b)
				}
			}
		})
	}
	t.Run("another room has another image", func(t *testing.T) {
		srv := newServer(t, tiwtest.Options{})
		c := newCaller("h")
		seen := map[string]string{}
		for _, room := range []string{"7", "8", "4294967295"} {
			id := direct(t, srv, c.request(t, create, `{"SdkAppId":1400124720,"RoomId":`+room+`,"Whiteboard":{}}`)).TaskID
			for _, url := range direct(t, srv, c.request(t, describe, describeBody(id))).Result.Snapshots {
				body := get(t, srv, url).Body.String()
				if other, ok := seen[body]; ok {
					t.Errorf("%s is the same as %s", url, other)
				}
				seen[body] = url
			}
		}
	})
	t.Run("there is no image of", func(t *testing.T) {
		clk := newClock(time.Unix(1760000000, 0))
		srv := newServer(t, tiwtest.Options{Clock: clk.now, TaskDuration: time.Minute, ImageRetention: time.Hour})
		c := newCaller("h")
		c.now = clk.now
		url := "http://h/images/7/" + direct(t, srv, c.request(t, create, room7)).TaskID + "/1.png"
		want := func(status int, url, what string) {
			t.Helper()
			if got := get(t, srv, url).Code; got != status {
				t.Errorf("%s: got %d, want %d", what, got, status)
			}
		}
		want(404, url, "a task that runs")
		clk.advance(time.Minute)
		want(200, url, "a task that ended")
		want(404, strings.Replace(url, "/7/", "/8/", 1), "another room")
		want(404, strings.Replace(url, "1.png", "0.png", 1), "page 0")
		want(404, strings.Replace(url, "1.png", "5.png", 1), "page 5")
		want(404, strings.Replace(url, "1.png", "1.gif", 1), "a GIF")
		want(404, "http://h/images/7/x/1.png", "no task")
		clk.advance(time.Hour)
		want(404, url, "a task that ended an hour ago")
	})
}

// TestImageSize checks that the options set the number and the size of the images.
func TestImageSize(t *testing.T) {
	srv, url := pictured(t, tiwtest.Options{Images: 3, ImageBytes: 300_000})
	for task := range srv.Tasks() {
		if task.Images != 3 {
			t.Errorf("the task has %d images", task.Images)
		}
	}
	resp, err := http.Get(strings.Replace(url, "1.png", "3.png", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || len(b) != 300_000 || resp.ContentLength != 300_000 {
		t.Errorf("%d bytes, length %d, %v", len(b), resp.ContentLength, err)
	}
	if _, err := png.Decode(bytes.NewReader(b)); err != nil {
		t.Error(err)
	}
	for _, o := range []tiwtest.Options{{Images: 256}, {Images: -1}, {ImageBytes: -1}, {ImageBytes: 65 << 20}} {
		if o.Validate() == nil {
			t.Errorf("%d images of %d bytes are accepted", o.Images, o.ImageBytes)
		}
	}
}

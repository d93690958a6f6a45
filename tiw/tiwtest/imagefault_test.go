package tiwtest_test

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
)

// startWithImage returns a server with a finished task and the URL of the task's first image.
func startWithImage(t *testing.T, o tiwtest.Options) (*tiwtest.Server, string) {
	t.Helper()
	srv := tiwtest.Start(t, o)
	c := newCaller(hostOf(srv))
	const room = `{"SdkAppId":1400124720,"RoomId":7,"Whiteboard":{"Width":320,"Height":180}}` // small images are fast
	id := serve(t, srv, c.request(t, create, room)).TaskID
	return srv, serve(t, srv, c.request(t, describe, describeBody(id))).Result.Snapshots[0]
}

// Each image fault affects the configured number of requests, over a real connection. The next request gets the image.
func TestImageFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault  tiwtest.ImageFault
		status int    // 0: no response
		typ    string // Content-Type
		err    bool   // reading the body fails
		whole  bool   // the body is the image
	}{
		{tiwtest.ImageForbidden, 403, "text/plain; charset=utf-8", false, false},
		{tiwtest.ImageNotFound, 404, "text/plain; charset=utf-8", false, false},
		{tiwtest.ImageUnavailable, 503, "text/plain; charset=utf-8", false, false},
		{tiwtest.ImageHang, 0, "", false, false},
		{tiwtest.ImageStall, 200, "image/png", true, false},
		{tiwtest.ImageHTML, 200, "image/png", false, false},
		{tiwtest.ImageType, 200, "text/html", false, true},
		{tiwtest.ImageCut, 200, "image/png", true, false},
		{tiwtest.ImageShort, 200, "image/png", false, false},
		{tiwtest.ImageChunked, 200, "image/png", false, false},
		{tiwtest.ImageEndless, 200, "image/png", true, false},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			t.Parallel()
			srv, url := startWithImage(t, tiwtest.Options{HoldLimit: 50 * time.Millisecond, Faults: tiwtest.Faults{
				Images: map[tiwtest.ImageFault]float64{c.fault: 1}, ImagesFirst: 2,
			}})
			get := func() (*http.Response, []byte, error) {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return nil, nil, err
				}
				defer resp.Body.Close()
				const most = 2 << 20
				b, err := io.ReadAll(io.LimitReader(resp.Body, most))
				if len(b) == most {
					err = errors.New("endless")
				}
				return resp, b, err
			}
			var bodies [][]byte
			for range 2 {
				resp, body, err := get()
				if c.status == 0 {
					if !errors.Is(err, io.EOF) {
						t.Errorf("got %v, %v, want a closed connection", resp, err)
					}
					continue
				}
				if resp == nil {
					t.Fatal(err)
				}
				if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != c.typ || (err != nil) != c.err {
					t.Errorf("got status %d, type %q, %v, want %d, %q, error %v",
						resp.StatusCode, resp.Header.Get("Content-Type"), err, c.status, c.typ, c.err)
				}
				bodies = append(bodies, body)
			}
			_, img, err := get()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := png.Decode(bytes.NewReader(img)); err != nil {
				t.Errorf("the request after the faults did not get the image: %v", err)
			}
			for _, body := range bodies {
				if bytes.Equal(body, img) != c.whole {
					t.Errorf("the faulty body has %d bytes, the image %d; want equal: %v", len(body), len(img), c.whole)
				}
			}
			st := srv.State()
			if st.Faults["images."+string(c.fault)] != 2 || st.Images != 1 {
				t.Errorf("State() has the faults %v and %d images, want 2 faults and 1 image", st.Faults, st.Images)
			}
		})
	}
}

func TestImageFaultRates(t *testing.T) {
	needs.Time(t)
	_, url := startWithImage(t, tiwtest.Options{Seed: 1, Images: 1, Faults: tiwtest.Faults{
		Images: map[tiwtest.ImageFault]float64{tiwtest.ImageUnavailable: .25, tiwtest.ImageNotFound: .25},
	}})
	codes := map[int]int{}
	for range 200 {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		codes[resp.StatusCode]++
	}
	for code, want := range map[int]int{200: 100, 404: 50, 503: 50} {
		if n := codes[code]; n < want-30 || n > want+30 {
			t.Errorf("%d of 200 responses have status %d, want about %d", n, code, want)
		}
	}
}

func TestImageFaultValidation(t *testing.T) {
	for want, f := range map[string]tiwtest.Faults{
		`unknown image fault "500"`: {Images: map[tiwtest.ImageFault]float64{"500": 1}},
		"image fault cut is 2":      {Images: map[tiwtest.ImageFault]float64{tiwtest.ImageCut: 2}},
		"the rates of the image faults": {
			Images: map[tiwtest.ImageFault]float64{tiwtest.ImageCut: .6, tiwtest.ImageHTML: .6},
		},
		"imagesFirst is -1": {ImagesFirst: -1},
	} {
		if err := f.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want %s", err, want)
		}
	}
}

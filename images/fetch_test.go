package images_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tiwsnap/images"
	"tiwsnap/internal/guard"
	"tiwsnap/internal/guard/guardtest"
	"tiwsnap/internal/needs"
)

// noise returns an image that does not compress.
func noise(width, height int) image.Image {
	rng := rand.New(rand.NewPCG(1, 2))
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.Set(x, y, color.RGBA{uint8(rng.Uint32()), uint8(rng.Uint32()), uint8(rng.Uint32()), 255})
		}
	}
	return img
}

func encodeNoise(t *testing.T, format images.Format, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	if format == images.PNG {
		err = png.Encode(&b, noise(width, height))
	} else {
		err = jpeg.Encode(&b, noise(width, height), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withPreview returns a JPEG with a thumbnail in its header, as from a camera.
func withPreview(photo []byte) []byte {
	segment := append([]byte{0xff, 0xe1, byte((len(photo) + 2) >> 8), byte(len(photo) + 2)}, photo...)
	return slices.Concat(photo[:2], segment, photo[2:])
}

// newFetcher returns a fetcher that may connect to these private hosts.
func newFetcher(t *testing.T, o images.FetcherOptions, private ...string) *images.Fetcher {
	t.Helper()
	var err error
	if o.Private, err = guard.ParsePrivate(private); err != nil {
		t.Fatal(err)
	}
	f := images.NewFetcher(o)
	t.Cleanup(f.Close)
	return f
}

func fetch(ctx context.Context, f *images.Fetcher, url string) ([]byte, error) {
	img, err := f.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	return io.ReadAll(img)
}

func TestFetch(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	board, photo := encodeNoise(t, images.PNG, 64, 48), encodeNoise(t, images.JPEG, 48, 64)
	chunked := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			w.Write(b)
		}
	}
	whole := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Write(b) }
	}
	endless := func(head []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Write(head)
			for r.Context().Err() == nil {
				w.Write(make([]byte, 32<<10))
			}
		}
	}
	boardAndMore, photoAndMore := slices.Concat(board, []byte("and more")), slices.Concat(photo, []byte("more"))
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	normal := newFetcher(t, images.FetcherOptions{MaxBytes: 1 << 20, Timeout: time.Minute}, "127.0.0.1")
	short := newFetcher(t, images.FetcherOptions{MaxBytes: 1 << 20, Timeout: 500 * time.Millisecond}, "127.0.0.1")
	for i, c := range []struct {
		name    string
		h       http.HandlerFunc
		want    []byte // the image if message is empty
		message string
	}{
		{"png", whole(board), board, ""},
		{"jpeg", whole(photo), photo, ""},
		{"png without a length", chunked(board), board, ""},
		{"jpeg without a length", chunked(photo), photo, ""},
		{"after a redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("again") == "" {
				http.Redirect(w, r, r.URL.Path+"?again=1", http.StatusFound)
				return
			}
			w.Write(board)
		}, board, ""},
		{"endless redirects", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, nil, "more than 5 redirects"},
		{"a redirect to a file", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		}, nil, "neither an https:// nor an http:// URL"},
		{"403", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, nil,
			"answered 403 Forbidden"},
		{"404", http.NotFound, nil, "answered 404 Not Found"},
		{"503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, nil,
			"answered 503"},
		{"HTML", whole([]byte("<html>gone</html>")), nil, `neither PNG nor JPEG: it begins with "<h"`},
		{"empty body", whole(nil), nil, "cut off"},
		{"invalid header", whole(append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 100)...)), nil,
			"header cannot be read"},
		{"cut off, shorter than Content-Length", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(board)))
			w.Write(board[:len(board)/2])
		}, nil, "breaks off"},
		{"cut off, no Content-Length", chunked(board[:len(board)/2]), nil, "cut off"},
		{"JPEG cut off, no Content-Length", chunked(photo[:len(photo)-2]), nil, "cut off"},
		{"cut off, with matching Content-Length", whole(board[:len(board)/2]), nil, "cut off"},
		{"JPEG cut off, with matching Content-Length", whole(photo[:len(photo)/2]), nil, "cut off"},
		{"bytes after the end", whole(boardAndMore), boardAndMore, ""},
		{"bytes after the end of a JPEG", whole(photoAndMore), photoAndMore, ""},
		{"JPEG with a preview, cut off", whole(withPreview(photo)[:len(photo)/2+len(photo)]), nil, "cut off"},
		{"JPEG with a preview", whole(withPreview(photo)), withPreview(photo), ""},
		{"byte by byte", func(w http.ResponseWriter, _ *http.Request) {
			for i := range board {
				w.Write(board[i : i+1])
				if i > len(board)-40 {
					w.(http.Flusher).Flush()
				}
			}
		}, board, ""},
		{"Content-Length too large", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(2<<20))
			w.Write(board)
		}, nil, "more than 1048576"},
		{"endless", endless(board), nil, "more than 1048576 bytes"},
		{"endless header", endless(photo[:20]), nil, "header cannot be read"},
		{"never a response", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, nil,
			"not read within 500ms"},
		{"never an end", func(w http.ResponseWriter, r *http.Request) {
			w.Write(board[:100])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, nil, "breaks off"},
	} {
		path := fmt.Sprintf("/%d/secret", i)
		mux.HandleFunc(path, c.h)
		t.Run(c.name, func(t *testing.T) {
			f := normal
			if strings.HasPrefix(c.name, "never") {
				f = short
			}
			got, err := fetch(t.Context(), f, server.URL+path)
			if c.message == "" {
				if err != nil || !bytes.Equal(got, c.want) {
					t.Errorf("got %d bytes, %v, want the image of %d bytes", len(got), err, len(c.want))
				}
				return
			}
			var e *images.FetchError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.message) || strings.Contains(err.Error(), "secret") {
				t.Errorf("Open() = %v, want %s", err, c.message)
			}
		})
	}
}

// A host name or a redirect cannot lead the fetcher into a private network.
func TestFetchGuard(t *testing.T) {
	t.Parallel()
	board := encodeNoise(t, images.PNG, 8, 8)
	var hits atomic.Int32
	inner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		w.Write(board)
	}))
	t.Cleanup(inner.Close)
	port := inner.URL[strings.LastIndex(inner.URL, ":"):]
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://localhost"+port+"/", http.StatusFound)
	}))
	t.Cleanup(outer.Close)
	resolver := guardtest.DNS(t, func() []string { return []string{"127.0.0.1"} })
	for _, url := range []string{
		inner.URL, "http://localhost" + port, "http://[::1]" + port, "http://[::ffff:127.0.0.1]" + port,
		"http://0.0.0.0" + port,
		"http://rebound.test" + port, "http://169.254.0.23/", "http://100.64.0.1/", "http://10.0.0.1/",
	} {
		f := newFetcher(t, images.FetcherOptions{Timeout: 5 * time.Second})
		f.UseResolver(resolver)
		if _, err := fetch(t.Context(), f, url); !errors.Is(err, guard.ErrPrivate) {
			t.Errorf("Open(%s) = %v, want ErrPrivate", url, err)
		}
	}
	f := newFetcher(t, images.FetcherOptions{}, "127.0.0.1")
	f.UseResolver(guardtest.DNS(t, func() []string { return []string{"10.0.0.1"} }))
	if _, err := fetch(t.Context(), f, "http://rebound.test"+port); !errors.Is(err, guard.ErrPrivate) {
		t.Errorf("other private address: Open() = %v, want ErrPrivate", err)
	}
	f = newFetcher(t, images.FetcherOptions{}, "public.test")
	f.UseResolver(resolver)
	redirecting := "http://public.test" + outer.URL[strings.LastIndex(outer.URL, ":"):]
	if _, err := fetch(t.Context(), f, redirecting); !errors.Is(err, guard.ErrPrivate) {
		t.Errorf("after a redirect: Open() = %v, want ErrPrivate", err)
	}
	if n := hits.Load(); n > 0 {
		t.Errorf("%d requests reached the private server, want 0", n)
	}
	if got, err := fetch(t.Context(), newFetcher(t, images.FetcherOptions{}, "localhost"), redirecting); err == nil {
		t.Errorf("public.test is not listed, but %d bytes were fetched", len(got))
	}
	if got, err := fetch(t.Context(), newFetcher(t, images.FetcherOptions{}, "127.0.0.1"), inner.URL); err != nil ||
		!bytes.Equal(got, board) {
		t.Errorf("listed address: %v", err)
	}
}

// The limits of bytes and requests a second are kept.
func TestFetchRate(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	board := encodeNoise(t, images.PNG, 200, 200)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(board) }))
	t.Cleanup(server.Close)
	for _, o := range []images.FetcherOptions{{Bytes: 2 * 120_000}, {Requests: 2}} {
		f := newFetcher(t, o, "127.0.0.1")
		began := time.Now()
		for range 4 { // 120 kB each
			if _, err := fetch(t.Context(), f, server.URL); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 800*time.Millisecond {
			t.Errorf("%+v: four images of %d bytes in %s", o, len(board), took)
		}
	}
}

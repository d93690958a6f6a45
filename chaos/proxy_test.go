package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tiwsnap/internal/needs"
)

// backend starts a worker that responds with status. It returns the address and the requests that the worker receives.
func backend(t *testing.T, status int) (addr string, got *[]string) {
	got = new([]string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*got = append(*got, r.Method+" "+r.URL.EscapedPath()+" "+string(body))
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String(), got
}

// dead returns the address of a worker that has exited. hung returns that of a stopped worker: the kernel accepts the
// connection, but there is no response.
func dead(t *testing.T) string {
	l := listen(t)
	l.Close()
	return l.Addr().String()
}

func hung(t *testing.T) string { return listen(t).Addr().String() }

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestProxy(t *testing.T) {
	needs.Time(t)
	const base, path = "http://public", "/cb/v1/a%2Fb/1"
	post := func(p *proxy) int {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodPost, base+path, strings.NewReader("{}")))
		return w.Code
	}

	t.Run("a callback skips dead, hung and failing workers", func(t *testing.T) {
		failing, failed := backend(t, 503)
		good, got := backend(t, 200)
		p := newProxy([]string{good, dead(t), hung(t), failing})
		if code := post(p); code != 200 {
			t.Fatalf("status %d, want 200", code)
		}
		if want := "POST " + path + " {}"; len(*got) != 1 || (*got)[0] != want || len(*failed) != 1 {
			t.Errorf("the good worker got %q, the failing one %q, want one request each", *got, *failed)
		}
		if taken := p.takenAt(base); len(taken) != 1 || taken[base+path].IsZero() {
			t.Errorf("takenAt() = %v, want the callback", taken)
		}
	})

	t.Run("no worker accepts the callback", func(t *testing.T) {
		failing, _ := backend(t, 503)
		p := newProxy([]string{dead(t), failing})
		if code := post(p); code != 502 || len(p.takenAt(base)) != 0 {
			t.Errorf("status %d, takenAt() = %v, want 502 and none", code, p.takenAt(base))
		}
	})

	t.Run("a worker rejects the callback", func(t *testing.T) {
		rejecting, got := backend(t, 404)
		p := newProxy([]string{rejecting, rejecting})
		if code := post(p); code != 404 || len(*got) != 1 || len(p.takenAt(base)) != 0 {
			t.Errorf("status %d after %q, takenAt() = %v, want 404 after one request, and none", code, *got, p.takenAt(base))
		}
	})
}

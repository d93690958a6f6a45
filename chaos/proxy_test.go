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

// dead returns the address of a worker that is gone. hung returns that of a stopped worker: the kernel accepts the
// connection, but no response comes.
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

	t.Run("a callback goes past dead, hung and failing workers to one that takes it", func(t *testing.T) {
		failing, failed := backend(t, 503)
		good, got := backend(t, 200)
		p := newProxy([]string{good, dead(t), hung(t), failing})
		if code := post(p); code != 200 {
			t.Fatalf("answered %d", code)
		}
		if want := "POST " + path + " {}"; len(*got) != 1 || (*got)[0] != want || len(*failed) != 1 {
			t.Errorf("the good one got %q, the failing one %q", *got, *failed)
		}
		if taken := p.takenAt(base); len(taken) != 1 || taken[base+path].IsZero() {
			t.Errorf("taken: %v", taken)
		}
	})

	t.Run("it is not taken where no worker takes it", func(t *testing.T) {
		failing, _ := backend(t, 503)
		p := newProxy([]string{dead(t), failing})
		if code := post(p); code != 502 || len(p.takenAt(base)) != 0 {
			t.Errorf("answered %d, taken: %v", code, p.takenAt(base))
		}
	})

	t.Run("a refusal is passed on and is not taken", func(t *testing.T) {
		refusing, got := backend(t, 404)
		p := newProxy([]string{refusing, refusing})
		if code := post(p); code != 404 || len(*got) != 1 || len(p.takenAt(base)) != 0 {
			t.Errorf("answered %d after %q, taken: %v", code, *got, p.takenAt(base))
		}
	})
}

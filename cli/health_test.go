package cli

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

func TestHealth(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	s := newSite(t, tiwtest.Options{})
	health := func(addr string) (code int, text string) {
		t.Helper()
		out, errs, code := tiwsnap(t, []string{"TIWSNAP_HTTP_ADDR=" + addr}, "health")
		return code, out + errs
	}
	for _, command := range []string{"web", "worker"} {
		t.Run(command, func(t *testing.T) {
			addr := redistest.FreeAddr(t)
			if command == "web" {
				addr, _ = s.startWeb(nil)
			} else {
				s.environ["TIWSNAP_HTTP_ADDR"] = addr
				s.startWorker()
			}
			redistest.Until(t, "the process is healthy", func() bool { code, _ := health(addr); return code == exitOK })
		})
	}
	t.Run("simulator", func(t *testing.T) {
		if code, text := health(strings.TrimPrefix(s.sim.URL, "http://")); code != exitOK || text != "ok\n" {
			t.Errorf("health: exit code %d: %s", code, text)
		}
	})
	t.Run("all addresses, and a host that is not in http.hosts", func(t *testing.T) {
		hash := "ada view $2b$12$K3YK3YK3YK3YK3YK3YK3YOK3YK3YK3YK3YK3YK3YK3YK3YK3YK3YK"
		for _, host := range []string{"0.0.0.0", "[::]", ""} {
			_, port, err := net.SplitHostPort(redistest.FreeAddr(t))
			if err != nil {
				t.Fatal(err)
			}
			s.startWeb(map[string]string{"TIWSNAP_HTTP_ADDR": host + ":" + port, "TIWSNAP_HTTP_USERS": hash})
			if code, text := health(host + ":" + port); code != exitOK {
				t.Errorf("%q: exit code %d: %s", host, code, text)
			}
		}
		addr, _ := s.startWeb(nil)
		_, port, _ := net.SplitHostPort(addr)
		if code, text := health("localhost:" + port); code != exitOK {
			t.Errorf("localhost: exit code %d: %s", code, text)
		}
	})
	t.Run("Redis unavailable", func(t *testing.T) {
		server := redistest.Real(t)
		addr, _ := newSiteOn(t, server.URL(), tiwtest.Options{}).startWeb(nil)
		server.Kill()
		if code, text := health(addr); code != exitOK {
			t.Errorf("health: exit code %d: %s", code, text)
		}
	})
	t.Run("connection refused", func(t *testing.T) {
		code, text := health(redistest.FreeAddr(t))
		if code != exitUnavailable || !strings.Contains(text, "/livez does not answer: dial tcp ") {
			t.Errorf("health: exit code %d: %s", code, text)
		}
	})
	t.Run("another server", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		defer srv.Close()
		code, text := health(srv.Listener.Addr().String())
		if code != exitUnavailable || !strings.Contains(text, "/livez answers 404 Not Found") {
			t.Errorf("health: exit code %d: %s", code, text)
		}
	})
	t.Run("no response", func(t *testing.T) {
		silent := make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-silent }))
		defer srv.Close()
		defer close(silent)
		began := time.Now()
		code, text := health(srv.Listener.Addr().String())
		if took := time.Since(began); code != exitUnavailable || took > 2*healthTimeout {
			t.Errorf("health: exit code %d after %s: %s", code, took, text)
		}
	})
	t.Run("no address", func(t *testing.T) {
		if code, text := health(""); code != exitConfig || !strings.Contains(text, "TIWSNAP_HTTP_ADDR is empty") {
			t.Errorf("health: exit code %d: %s", code, text)
		}
	})
}

package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tiwsnap/internal/guard/guardtest"
	"tiwsnap/internal/needs"
	"tiwsnap/webhook"
)

func TestSend(t *testing.T) {
	type request struct {
		header http.Header
		body   string
	}
	got := make(chan request, 1)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- request{r.Header, r.Method + " " + r.URL.String() + " " + string(b)}
	})

	t.Run("signs as the reference implementation does", func(t *testing.T) {
		// The values are from its own test, see
		// https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/go/webhook_test.go.
		s := newSender(t, loopback(t), server.URL)
		if err := s.Send(t.Context(), server.URL+"/a/b?c=d", "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0),
			[]byte(`{"test": 2432232314}`)); err != nil {
			t.Fatal(err)
		}
		r := <-got
		for name, want := range map[string]string{
			"webhook-id":        "msg_p5jXN8AQM9LWM0D4loKWxJek",
			"webhook-timestamp": "1614265330",
			"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
			"content-type":      "application/json",
		} {
			if r.header.Get(name) != want {
				t.Errorf("header %s = %q, want %q", name, r.header.Get(name), want)
			}
		}
		if r.body != `POST /a/b?c=d {"test": 2432232314}` {
			t.Errorf("request = %s", r.body)
		}
	})

	t.Run("signs with both secrets during rotation", func(t *testing.T) {
		o := loopback(t)
		o.Secrets = []webhook.Secret{parseSecret(t, secretB), parseSecret(t, secretA)}
		if err := newSender(t, o, server.URL).Send(t.Context(), server.URL, "w-1", time.Now(), noBody); err != nil {
			t.Fatal(err)
		}
		r := <-got
		for _, secret := range []string{secretA, secretB} {
			if err := verify(secret, r.header, noBody); err != nil {
				t.Errorf("verify(): %v", err)
			}
		}
		if n := len(strings.Fields(r.header.Get("webhook-signature"))); n != 2 {
			t.Errorf("%d signatures, want 2", n)
		}
	})

	t.Run("requires a valid certificate", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		server.StartTLS()
		defer server.Close()
		o := loopback(t)
		o.HTTP = false
		s := newSender(t, o, server.URL)
		if e := sendError(t, s.Send(t.Context(), server.URL, "w-1", time.Now(), noBody)); e.Final ||
			!strings.Contains(e.Error(), "certificate") {
			t.Errorf("an unknown certificate: error = %v", e)
		}
		s.Trust(server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs)
		if err := s.Send(t.Context(), server.URL, "w-1", time.Now(), noBody); err != nil {
			t.Errorf("Send(): %v", err)
		}
	})
}

func TestStatusCodes(t *testing.T) {
	var status atomic.Int64
	header := atomic.Pointer[http.Header]{}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for name, values := range *header.Load() {
			w.Header()[name] = values
		}
		w.WriteHeader(int(status.Load()))
	})
	s := newSender(t, loopback(t), server.URL)
	host := strings.TrimPrefix(server.URL, "http://")
	now := time.Date(2026, 11, 23, 10, 45, 0, 0, time.UTC)
	for _, test := range []struct {
		status  int
		headers string
		final   bool
		after   time.Duration
		text    string // empty: delivered
	}{
		{200, "", false, 0, ""},
		{202, "", false, 0, ""},
		{299, "", false, 0, ""},
		{301, "Location: http://169.254.169.254/", true, 0,
			" answered 301 Moved Permanently: redirects are not followed, the final URL is needed"},
		{304, "", true, 0, " answered 304 Not Modified: redirects are not followed, the final URL is needed"},
		{400, "", false, 0, " answered 400 Bad Request"},
		{404, "", false, 0, " answered 404 Not Found"},
		{410, "", true, 0, " answered 410 Gone: it wants no more webhooks"},
		{429, "Retry-After: 120", false, 2 * time.Minute, " answered 429 Too Many Requests"},
		{429, "Retry-After: 99999999999999999999", false, 0, " answered 429 Too Many Requests"},
		{503, "Retry-After: 4000000000", false, time.Hour, " answered 503 Service Unavailable"},
		{503, "Retry-After: Mon, 23 Nov 2026 10:45:30 GMT", false, 30 * time.Second, " answered 503 Service Unavailable"},
		{503, "Retry-After: Mon, 23 Nov 2026 10:44:30 GMT", false, 0, " answered 503 Service Unavailable"},
		{503, "Retry-After: -1", false, 0, " answered 503 Service Unavailable"},
		{599, "", false, 0, " answered 599"},
	} {
		t.Run(fmt.Sprintf("%d %s", test.status, test.headers), func(t *testing.T) {
			status.Store(int64(test.status))
			h := http.Header{}
			if name, value, ok := strings.Cut(test.headers, ": "); ok {
				h.Set(name, value)
			}
			header.Store(&h)
			err := s.Send(t.Context(), server.URL, "w-1", now, noBody)
			if test.text == "" {
				if err != nil {
					t.Errorf("Send(): %v", err)
				}
				return
			}
			e := sendError(t, err)
			if e.Status != test.status || e.Final != test.final || e.RetryAfter != test.after || e.Error() != host+test.text {
				t.Errorf("Send(): error = %+v: %v", e, e)
			}
		})
	}
}

func TestSenderLimits(t *testing.T) {
	needs.Time(t)
	t.Run("a proxy in the environment is not used", func(t *testing.T) {
		server := serve(t, func(http.ResponseWriter, *http.Request) {})
		_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
		address := "http://hook.test:" + port // net/http uses no proxy for localhost
		s := newSender(t, loopback(t), address)
		s.UseResolver(guardtest.DNS(t, func() []string { return []string{"127.0.0.1"} }))
		if err := s.Send(t.Context(), address, "w-1", time.Now(), noBody); err != nil {
			t.Errorf("Send(): %v", err)
		}
	})

	t.Run("a redirect to loopback is not followed", func(t *testing.T) {
		internal := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
		for _, status := range []int{301, 302, 303, 307, 308} {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, internal.URL, status) })
			s := newSender(t, loopback(t), server.URL, internal.URL)
			if e := sendError(t, s.Send(t.Context(), server.URL, "w-1", time.Now(), noBody)); !e.Final || e.Status != status {
				t.Errorf("%d: Send(): error = %v", status, e)
			}
		}
	})

	t.Run("a host that is not allowed gets no request", func(t *testing.T) {
		server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the server got a request") })
		s := newSender(t, loopback(t), "http://127.0.0.1", "http://127.0.0.1:1")
		if e := sendError(t, s.Send(t.Context(), server.URL, "w-1", time.Now(), noBody)); !e.Final {
			t.Errorf("Send(): error = %+v", e)
		}
	})

	t.Run("a missing answer ends at the timeout and can be retried", func(t *testing.T) {
		for name, answer := range map[string]string{
			"none":                 "",
			"half of the header":   "HTTP/1.1 200 OK\r\nX: ",
			"a switch of protocol": "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		} {
			t.Run("after "+name, func(t *testing.T) {
				s, address := silentServer(t, answer)
				begin := time.Now()
				if e := sendError(t, s.Send(t.Context(), address, "w-1", time.Now(), noBody)); e.Final {
					t.Errorf("Send(): error = %+v", e)
				}
				if d := time.Since(begin); d > 5*time.Second {
					t.Errorf("Send() took %s, want about 300 ms", d)
				}
			})
		}
	})

	t.Run("a slow body does not matter", func(t *testing.T) {
		s, address := silentServer(t, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{")
		begin := time.Now()
		if err := s.Send(t.Context(), address, "w-1", time.Now(), noBody); err != nil {
			t.Errorf("Send(): %v", err)
		}
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("Send() took %s, want about 300 ms", d)
		}
	})

	t.Run("an endless body is not read", func(t *testing.T) {
		written := make(chan int, 1)
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			chunk, sum := make([]byte, 1<<20), 0
			for {
				n, err := w.Write(chunk)
				if sum += n; err != nil {
					written <- sum
					return
				}
			}
		})
		if err := newSender(t, loopback(t), server.URL).Send(t.Context(), server.URL, "w-1", time.Now(), noBody); err != nil {
			t.Errorf("Send(): %v", err)
		}
		if n := <-written; n > 64<<20 { // the buffers of two sockets hold less
			t.Errorf("%d bytes were read, want at most 64 MiB", n)
		}
	})

	t.Run("a huge header is refused", func(t *testing.T) {
		s, address := silentServer(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 100<<10)+"\r\n\r\n")
		if e := sendError(t, s.Send(t.Context(), address, "w-1", time.Now(), noBody)); e.Final {
			t.Errorf("Send(): error = %+v", e)
		}
	})

	t.Run("a refused connection can be retried", func(t *testing.T) {
		server := serve(t, func(http.ResponseWriter, *http.Request) {})
		server.Close()
		if e := sendError(t,
			newSender(t, loopback(t), server.URL).Send(t.Context(), server.URL, "w-1", time.Now(), noBody)); e.Final ||
			e.Status != 0 {
			t.Errorf("Send(): error = %+v", e)
		}
	})

	t.Run("the context cancels the request", func(t *testing.T) {
		s, address := silentServer(t, "")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Send(ctx, address, "w-1", time.Now(), noBody); !errors.Is(err, context.Canceled) {
			t.Errorf("Send(): %v", err)
		}
	})
}

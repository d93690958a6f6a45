package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tiwsnap/internal/guard"
	"tiwsnap/internal/guard/guardtest"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/webhook"
)

func TestMain(m *testing.M) {
	// net/http reads these once. No proxy listens there, so a request through it fails.
	os.Setenv("HTTP_PROXY", "http://127.0.0.1:9")
	os.Setenv("http_proxy", "http://127.0.0.1:9")
	goleak.VerifyTestMain(redistest.Both(m))
}

const (
	secretA = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secretB = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

func parse(t *testing.T, text string) webhook.Secret {
	t.Helper()
	s, err := webhook.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func private(t *testing.T, entries ...string) guard.Private {
	t.Helper()
	p, err := guard.ParsePrivate(entries)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sender returns a Sender that may send to the hosts of urls.
func sender(t *testing.T, o webhook.Options, urls ...string) *webhook.Sender {
	t.Helper()
	for _, s := range urls {
		u, err := webhook.ParseURL(s, true)
		if err != nil {
			t.Fatal(err)
		}
		o.Hosts = append(o.Hosts, webhook.Host(u))
	}
	if o.Secrets == nil {
		o.Secrets = []webhook.Secret{parse(t, secretA)}
	}
	s, err := webhook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// loopback returns the options to send to the servers of these tests.
func loopback(t *testing.T) webhook.Options {
	return webhook.Options{HTTP: true, Private: private(t, "127.0.0.0/8")}
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

var noBody = []byte("{}")

// failed returns the error of a send that must fail.
func failed(t *testing.T, err error) *webhook.Error {
	t.Helper()
	var e *webhook.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	return e
}

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
		s := sender(t, loopback(t), server.URL)
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
				t.Errorf("%s: %q", name, r.header.Get(name))
			}
		}
		if r.body != `POST /a/b?c=d {"test": 2432232314}` {
			t.Error(r.body)
		}
	})

	t.Run("signs with both secrets while one is replaced", func(t *testing.T) {
		o := loopback(t)
		o.Secrets = []webhook.Secret{parse(t, secretB), parse(t, secretA)}
		if err := sender(t, o, server.URL).Send(t.Context(), server.URL, "w-1", time.Now(), noBody); err != nil {
			t.Fatal(err)
		}
		r := <-got
		for _, secret := range []string{secretA, secretB} {
			if err := verify(secret, r.header, noBody); err != nil {
				t.Error(err)
			}
		}
		if n := len(strings.Fields(r.header.Get("webhook-signature"))); n != 2 {
			t.Errorf("%d signatures", n)
		}
	})

	t.Run("over TLS to a server with a good certificate only", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		server.StartTLS()
		defer server.Close()
		o := loopback(t)
		o.HTTP = false
		s := sender(t, o, server.URL)
		if e := failed(t, s.Send(t.Context(), server.URL, "w-1", time.Now(), noBody)); e.Final ||
			!strings.Contains(e.Error(), "certificate") {
			t.Errorf("an unknown certificate: %v", e)
		}
		s.Trust(server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs)
		if err := s.Send(t.Context(), server.URL, "w-1", time.Now(), noBody); err != nil {
			t.Error(err)
		}
	})
}

func TestAnswers(t *testing.T) {
	var status atomic.Int64
	header := atomic.Pointer[http.Header]{}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for name, values := range *header.Load() {
			w.Header()[name] = values
		}
		w.WriteHeader(int(status.Load()))
	})
	s := sender(t, loopback(t), server.URL)
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
					t.Error(err)
				}
				return
			}
			e := failed(t, err)
			if e.Status != test.status || e.Final != test.final || e.RetryAfter != test.after || e.Error() != host+test.text {
				t.Errorf("%+v: %v", e, e)
			}
		})
	}
}

// An internal address has many spellings. All of them are refused.
func TestNoWayIntoTheOwnNetwork(t *testing.T) {
	listener, err := net.Listen("tcp", ":0") // on every address of this machine
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	server := &httptest.Server{Listener: listener, Config: &http.Server{
		Handler: http.NotFoundHandler(),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections.Add(1)
			}
		},
	}}
	server.Start()
	defer server.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())

	// The resolver of the C library, or the name server of an attacker, may resolve any of these.
	resolver := guardtest.DNS(t, func() []string { return []string{"127.0.0.1"} })
	for _, host := range []string{
		"127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1",
		"017700000001",
		"0177.0.0.1", "127.0.0.1.", "127.000.000.001", "0", "0.0.0.0", "0.1.2.3", "localhost", "LOCALHOST", "localhost.",
		"metadata.attacker.test", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"[::127.0.0.1]",
		"[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]",
		"[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]",
		"[2001:0:7f00:1::]", "[2001:db8::1]", "[100::1]", "[fe80::1]", "[fe80::1%25lo]", "[fec0::1]", "[fc00::1]",
		"[fd00:ec2::254]", "[ff02::1]",
		"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "169.254.169.254", "169.254.0.23", "100.64.0.1",
		"100.100.100.200",
		"192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
		"240.0.0.1", "255.255.255.255",
	} {
		t.Run(host, func(t *testing.T) {
			address := "http://" + host + ":" + port
			s := sender(t, webhook.Options{HTTP: true, Private: private(t, "other.test", "192.168.77.0/24")}, address)
			s.UseResolver(resolver)
			e := failed(t, s.Send(t.Context(), address, "w-1", time.Now(), noBody))
			// For Go's resolver some of these are neither a name nor an address.
			var unknown *net.DNSError
			if refused := e.Final || errors.As(e, &unknown) && unknown.IsNotFound; !refused || e.Status != 0 {
				t.Errorf("%+v: %v", e, e)
			}
		})
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestPrivateReceivers(t *testing.T) {
	server := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	resolver := guardtest.DNS(t, func() []string { return []string{"127.0.0.1"} })
	for _, test := range []struct {
		host, entry string
		ok          bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "::ffff:127.0.0.1", true},
		{"127.0.0.1", "127.0.0.0/30", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"127.0.0.1", "127.0.0.2/31", false},
		{"hook.test", "127.0.0.1", true},
		{"hook.test", "Hook.Test.", true},
		{"HOOK.test.", "hook.test", true},
		{"hook.test", "test", false},
		{"a.hook.test", "hook.test", false},
		{"hook.test.attacker.test", "hook.test", false},
	} {
		t.Run(test.host+" where "+test.entry+" is listed", func(t *testing.T) {
			address := "http://" + test.host + ":" + port
			s := sender(t, webhook.Options{HTTP: true, Private: private(t, test.entry)}, address)
			s.UseResolver(resolver)
			if err := s.Send(t.Context(), address, "w-1", time.Now(), noBody); (err == nil) != test.ok {
				t.Error(err)
			}
		})
	}
}

// The name resolves to an allowed address first and to an internal one later.
func TestDNSRebinding(t *testing.T) {
	var port string
	var l net.Listener
	for range 10 { // a port that is free at the one address may be taken at the other
		inside := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was reached") })
		_, port, _ = net.SplitHostPort(inside.Listener.Addr().String())
		var err error
		if l, err = net.Listen("tcp", "127.0.0.2:"+port); err == nil {
			break
		}
		t.Log(err)
	}
	if l == nil {
		t.Fatal("no port is free at both addresses")
	}
	outside := &httptest.Server{Listener: l,
		Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close") // the next request needs a new connection
		})}}
	outside.Start()
	defer outside.Close()

	var address atomic.Value
	address.Store("127.0.0.2")
	s := sender(t, webhook.Options{HTTP: true, Private: private(t, "127.0.0.2")}, "http://hook.test:"+port)
	s.UseResolver(guardtest.DNS(t, func() []string { return []string{address.Load().(string)} }))
	send := func() error { return s.Send(t.Context(), "http://hook.test:"+port, "w-1", time.Now(), noBody) }
	if err := send(); err != nil {
		t.Fatal(err)
	}
	address.Store("127.0.0.1")
	if e := failed(t, send()); !e.Final {
		t.Error(e)
	}
}

func TestWhatTheEnvironmentAndReceiversCannotDo(t *testing.T) {
	needs.Time(t)
	t.Run("a proxy in the environment is not used", func(t *testing.T) {
		server := serve(t, func(http.ResponseWriter, *http.Request) {})
		_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
		address := "http://hook.test:" + port // net/http uses no proxy for localhost
		s := sender(t, loopback(t), address)
		s.UseResolver(guardtest.DNS(t, func() []string { return []string{"127.0.0.1"} }))
		if err := s.Send(t.Context(), address, "w-1", time.Now(), noBody); err != nil {
			t.Error(err)
		}
	})

	t.Run("a redirect to loopback is not followed", func(t *testing.T) {
		inside := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was followed") })
		for _, status := range []int{301, 302, 303, 307, 308} {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL, status) })
			s := sender(t, loopback(t), server.URL, inside.URL)
			if e := failed(t, s.Send(t.Context(), server.URL, "w-1", time.Now(), noBody)); !e.Final || e.Status != status {
				t.Errorf("%d: %v", status, e)
			}
		}
	})

	t.Run("a host that is not listed is not sent to", func(t *testing.T) {
		server := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was") })
		s := sender(t, loopback(t), "http://127.0.0.1", "http://127.0.0.1:1")
		if e := failed(t, s.Send(t.Context(), server.URL, "w-1", time.Now(), noBody)); !e.Final {
			t.Error(e)
		}
	})

	t.Run("silence ends at the timeout and can be tried again", func(t *testing.T) {
		for name, answer := range map[string]string{
			"none":                 "",
			"half a head":          "HTTP/1.1 200 OK\r\nX: ",
			"a switch of protocol": "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		} {
			t.Run("after "+name, func(t *testing.T) {
				s, address := raw(t, answer)
				begin := time.Now()
				if e := failed(t, s.Send(t.Context(), address, "w-1", time.Now(), noBody)); e.Final {
					t.Error(e)
				}
				if d := time.Since(begin); d > 5*time.Second {
					t.Errorf("it took %s", d)
				}
			})
		}
	})

	t.Run("an answer that comes slowly is as good as its status", func(t *testing.T) {
		s, address := raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{")
		begin := time.Now()
		if err := s.Send(t.Context(), address, "w-1", time.Now(), noBody); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("it took %s", d)
		}
	})

	t.Run("an answer without end is not read", func(t *testing.T) {
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
		if err := sender(t, loopback(t), server.URL).Send(t.Context(), server.URL, "w-1", time.Now(), noBody); err != nil {
			t.Error(err)
		}
		if n := <-written; n > 64<<20 { // the buffers of two sockets hold less
			t.Errorf("%d bytes were taken", n)
		}
	})

	t.Run("a huge head is refused", func(t *testing.T) {
		s, address := raw(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 100<<10)+"\r\n\r\n")
		if e := failed(t, s.Send(t.Context(), address, "w-1", time.Now(), noBody)); e.Final {
			t.Error(e)
		}
	})

	t.Run("nobody listens: it can be tried again", func(t *testing.T) {
		server := serve(t, func(http.ResponseWriter, *http.Request) {})
		server.Close()
		if e := failed(t,
			sender(t, loopback(t), server.URL).Send(t.Context(), server.URL, "w-1", time.Now(), noBody)); e.Final ||
			e.Status != 0 {
			t.Error(e)
		}
	})

	t.Run("the caller's context ends it", func(t *testing.T) {
		s, address := raw(t, "")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Send(ctx, address, "w-1", time.Now(), noBody); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// raw starts a server that reads a request, writes answer and then stays silent. It
// returns a sender with a timeout of 300 ms and the address.
func raw(t *testing.T, answer string) (*webhook.Sender, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		conn.Read(buf)
		io.WriteString(conn, answer)
		io.Copy(io.Discard, conn) // until the sender disconnects
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	o := loopback(t)
	o.Timeout = 300 * time.Millisecond
	address := "http://" + l.Addr().String()
	s := sender(t, o, address)
	t.Cleanup(s.Close) // runs before the wait above
	return s, address
}

func TestParseURL(t *testing.T) {
	for s, want := range map[string]string{
		"https://hook.test":               "hook.test",
		"https://HOOK.test./a?b":          "hook.test",
		"https://hook.test:443/":          "hook.test",
		"https://hook.test:8443/":         "hook.test:8443",
		"https://hook.test:80/":           "hook.test:80",
		"https://[2001:DB8::1]/":          "[2001:db8::1]",
		"https://[2001:db8::1]:8443/":     "[2001:db8::1]:8443",
		"http://hook.test":                "must be https://: http is not allowed by the settings",
		"":                                "must be a URL as in https://HOST/PATH",
		"hook.test":                       "must be a URL as in https://HOST/PATH",
		"https:///path":                   "must be a URL as in https://HOST/PATH",
		"https://:443":                    "must be a URL as in https://HOST/PATH",
		"ftp://hook.test":                 "must be a URL as in https://HOST/PATH",
		"file:///etc/passwd":              "must be a URL as in https://HOST/PATH",
		"gopher://hook.test":              "must be a URL as in https://HOST/PATH",
		"https://hook.test\r\nX: y":       "must be a URL as in https://HOST/PATH",
		"https://u:p@hook.test":           "must not contain a user or a password: webhooks are signed",
		"https://hook.test#x":             "must not have a fragment (#)",
		"https://①②⑦.⓪.⓪.①/":              "must have a host name in ASCII (xn--…)",
		"https://127。0。0。1/":              "must have a host name in ASCII (xn--…)",
		"https://hook.test%2f@127.0.0.1/": "must not contain a user or a password: webhooks are signed",
		"https://hook.test\\@127.0.0.1/":  "must be a URL as in https://HOST/PATH",
		"https://hook.test%00.evil.test/": "must be a URL as in https://HOST/PATH",
	} {
		t.Run(s, func(t *testing.T) {
			u, err := webhook.ParseURL(s, false)
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = webhook.Host(u)
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if u, err := webhook.ParseURL("http://hook.test:80/", true); err != nil || webhook.Host(u) != "hook.test" {
		t.Error(u, err)
	}
	if u, _ := url.Parse("http://hook.test:443/"); webhook.Host(u) != "hook.test:443" {
		t.Error(webhook.Host(u))
	}
}

func TestParsePrivate(t *testing.T) {
	for _, bad := range []string{"", "*.lan", "http://hook.lan", "hook.lan:80", "10.0.0.1/8", "10.0.0.0/33", "a b",
		"[::1]", "hook.lan/24", "…"} {
		if _, err := guard.ParsePrivate([]string{"ok.lan", bad}); err == nil ||
			!strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSecret(t *testing.T) {
	for _, bad := range []string{
		"", "whsec_", secretA[6:], "whsec_dG9vIHNob3J0", "whsec_" + secretA, secretA + "=", secretA + "\n",
		"whsk_" + secretA[6:],
		"whsec_" + strings.Repeat("QUFB", 22),
	} {
		if _, err := webhook.ParseSecret(bad); err == nil || strings.Contains(err.Error(), "MfKQ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := webhook.New(webhook.Options{Secrets: []webhook.Secret{{}}}); err == nil {
		t.Error("a Sender without a secret was made")
	}

	s := parse(t, secretA)
	var out strings.Builder
	for _, v := range []any{s, &s, struct{ S webhook.Secret }{s}, struct{ s webhook.Secret }{s}, []webhook.Secret{s},
		webhook.Options{Secrets: []webhook.Secret{s}}} {
		fmt.Fprintf(&out, "%v %+v %#v %s %x %d\n", v, v, v, v, v, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Error(err)
		}
	}
	for _, clear := range []string{"MfKQ", "31f290f6", "49 242 144", "0x31, 0xf2"} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(clear)) {
			t.Errorf("it shows %s:\n%s", clear, out.String())
		}
	}
}

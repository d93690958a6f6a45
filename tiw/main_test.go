package tiw_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	"go.uber.org/goleak"

	"tiwsnap/tiw"
)

// TestMain trusts httptest's certificate, so that tests can use the real transport over TLS. At the end it checks for
// leaked goroutines.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		os.Unsetenv(name)
	}
	dir, err := os.MkdirTemp("", "tiw")
	if err != nil {
		log.Fatal(err)
	}
	s := httptest.NewTLSServer(nil)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	s.Close()
	file := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(file, cert, 0o600); err != nil {
		log.Fatal(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// server is an HTTP server that counts its requests.
type server struct {
	*httptest.Server
	hits atomic.Int64
}

func serve(t testing.TB, h http.HandlerFunc) *server {
	return startServer(t, h, (*httptest.Server).Start)
}

func serveTLS(t testing.TB, h http.HandlerFunc) *server {
	return startServer(t, h, (*httptest.Server).StartTLS)
}

// startServer starts a server with start, which is Start or StartTLS.
func startServer(t testing.TB, h http.HandlerFunc, start func(*httptest.Server)) *server {
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		h(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	start(s.Server)
	t.Cleanup(s.Close)
	return s
}

// respond returns a handler that sends the same response to every request.
func respond(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func errorEnvelope(code string) string {
	return `{"Response":{"Error":{"Code":"` + code + `","Message":"test message"},"RequestId":"req-1"}}`
}

const created = `{"Response":{"TaskID":"task-1","RequestId":"req-1"}}`

// hijack returns a handler that reads the request and then passes the connection to f.
func hijack(t testing.TB, f func(*net.TCPConn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		f(conn.(*net.TCPConn))
	}
}

func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// closedURL returns the URL of a closed port.
func closedURL(t testing.TB) string {
	s := httptest.NewServer(nil)
	s.Close()
	return s.URL
}

// newClient returns a client that is closed at the end of the test. It adds a credential if o has none.
func newClient(t testing.TB, o tiw.Options) *tiw.Client {
	t.Helper()
	if o.Credential == nil {
		o.Credential = common.NewCredential("AKIDtest-0123456789", "key-0123456789")
	}
	c, err := tiw.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func create(ctx context.Context, c *tiw.Client) (string, error) {
	r := tiw.NewCreateSnapshotTaskRequest()
	r.Whiteboard = &tiw.SnapshotWhiteboard{}
	r.SdkAppId = common.Uint64Ptr(1400123480)
	r.RoomId = common.Uint64Ptr(12345)
	p, err := c.CreateSnapshotTask(ctx, r)
	if err != nil {
		return "", err
	}
	return *p.TaskID, nil
}

func describe(ctx context.Context, c *tiw.Client) (tiw.Result, error) {
	r := tiw.NewDescribeSnapshotTaskRequest()
	r.TaskID = common.StringPtr("task-1")
	r.SdkAppId = common.Uint64Ptr(1400123480)
	p, err := c.DescribeSnapshotTask(ctx, r)
	return tiw.ResultOf(p), err
}

// apiError returns err as an *Error. It checks that the class is that of the error table and that the message is short.
func apiError(t testing.TB, err error) *tiw.Error {
	t.Helper()
	var e *tiw.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %#v, want a *tiw.Error", err)
	}
	if want := tiw.Explain(e.Code).Class; e.Class != want {
		t.Errorf("%v has class %v, want %v, the class of its code", e, e.Class, want)
	}
	if len(e.Message) > 256 || e.Message == "" {
		t.Errorf("%v: message has %d bytes, want 1 to 256", e, len(e.Message))
	}
	return e
}

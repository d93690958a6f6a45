package tiw_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tiwsnap/tiw"
)

func TestClassNames(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(tiw.Throttled, tiw.Unknown, tiw.NotSent, tiw.Account, tiw.Permanent, tiw.Clock, tiw.Class(9))
	if want := "throttled unknown not sent account permanent clock Class(9)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestNothingWasSent tests the failures after which no task can exist.
func TestNothingWasSent(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	reached := serve(t, answer(200, created))
	overTLS := serveTLS(t, answer(200, created))

	for _, test := range []struct {
		name     string
		ctx      context.Context
		endpoint string
		is       func(error) bool
	}{
		{"when the connection is refused", t.Context(), closedURL(t), as[*net.OpError]},
		{"when the name does not exist", t.Context(), "http://no..such.name", as[*net.DNSError]},
		{"when the port cannot be", t.Context(), "http://127.0.0.1:99999", as[*net.AddrError]},
		{"when the certificate is for another name", t.Context(),
			strings.Replace(overTLS.URL, "127.0.0.1", "localhost", 1), as[x509.HostnameError]},
		{"when the server does not speak TLS", t.Context(), "https://" + reached.Listener.Addr().String(), nil},
		{"when the context had ended before", canceled, reached.URL, is(context.Canceled)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, tiw.Options{Endpoint: test.endpoint})
			_, err := create(test.ctx, c)
			if e := failure(t, err); e.Code != "ClientError.ConnectError" || e.Class != tiw.NotSent {
				t.Errorf("got %v", e)
			}
			if test.is != nil && !test.is(err) {
				t.Errorf("the cause of %v is %#v", err, errors.Unwrap(err))
			}
		})
	}
	t.Cleanup(func() {
		if n := reached.hits.Load() + overTLS.hits.Load(); n != 0 {
			t.Errorf("%d requests reached a server", n)
		}
	})
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// TestTheTaskMayExist tests the failures after the request may have been sent.
func TestTheTaskMayExist(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		code    string
		is      func(error) bool
	}{
		{"when the connection is reset before the answer", hijack(t, reset), "ClientError.NetworkError", nil},
		{"when the connection is closed before the answer",
			hijack(t, func(c *net.TCPConn) { c.Close() }), "ClientError.NetworkError", is(io.EOF)},
		{"when the answer is not HTTP",
			hijack(t, func(c *net.TCPConn) { io.WriteString(c, "220 ready\r\n"); c.Close() }), "ClientError.NetworkError", nil},
		{"when the connection closes in the body", func(w http.ResponseWriter, r *http.Request) {
			partial(w)
			panic(http.ErrAbortHandler)
		}, "ClientError.IOError", is(io.ErrUnexpectedEOF)},
		{"when the server switches protocols and falls silent", func(w http.ResponseWriter, r *http.Request) {
			hijack(t, func(c *net.TCPConn) {
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
				io.Copy(io.Discard, c)
				c.Close()
			})(w, r)
		}, "ClientError.HttpStatusCodeError", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.handler)
			_, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL}))
			if e := failure(t, err); e.Code != test.code || e.Class != tiw.Unknown {
				t.Errorf("got %v, want %s", e, test.code)
			}
			if test.is != nil && !test.is(err) {
				t.Errorf("the cause of %v is %#v", err, errors.Unwrap(err))
			}
			if hits := s.hits.Load(); hits != 1 {
				t.Errorf("the server was called %d times for one call", hits)
			}
		})
	}
}

// partial sends the beginning of a response with a longer Content-Length.
func partial(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "1000")
	io.WriteString(w, created[:20])
	w.(http.Flusher).Flush()
}

func TestTheContextEndsACall(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{"before the answer": "", "in the answer": created[:20]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if part != "" {
					io.WriteString(w, part)
					w.(http.Flusher).Flush()
				}
				cancel()
				<-r.Context().Done()
			})
			_, err := create(ctx, newClient(t, tiw.Options{Endpoint: s.URL}))
			if e := failure(t, err); e.Class != tiw.Unknown || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", e)
			}
		})
	}
	t.Run("at its own deadline when that is the earlier", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
		_, err := create(ctx, newClient(t, tiw.Options{Endpoint: s.URL, Timeout: time.Minute}))
		if e := failure(t, err); e.Class != tiw.Unknown || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", e)
		}
	})
}

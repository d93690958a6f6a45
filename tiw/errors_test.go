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

// TestNotSent tests the failures after which no task can exist.
func TestNotSent(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	reached := serve(t, respond(200, created))
	overTLS := serveTLS(t, respond(200, created))

	for _, test := range []struct {
		name     string
		ctx      context.Context
		endpoint string
		cause    func(error) bool
	}{
		{"connection refused", t.Context(), closedURL(t), wrapsType[*net.OpError]},
		{"unknown host", t.Context(), "http://no..such.name", wrapsType[*net.DNSError]},
		{"invalid port", t.Context(), "http://127.0.0.1:99999", wrapsType[*net.AddrError]},
		{"certificate for another host", t.Context(),
			strings.Replace(overTLS.URL, "127.0.0.1", "localhost", 1), wrapsType[x509.HostnameError]},
		{"server without TLS", t.Context(), "https://" + reached.Listener.Addr().String(), nil},
		{"context canceled before the call", canceled, reached.URL, wraps(context.Canceled)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, tiw.Options{Endpoint: test.endpoint})
			_, err := create(test.ctx, c)
			if e := apiError(t, err); e.Code != "ClientError.ConnectError" || e.Class != tiw.NotSent {
				t.Errorf("got %v, want ClientError.ConnectError of class not sent", e)
			}
			if test.cause != nil && !test.cause(err) {
				t.Errorf("the error %v has the cause %#v", err, errors.Unwrap(err))
			}
		})
	}
	t.Cleanup(func() {
		if n := reached.hits.Load() + overTLS.hits.Load(); n != 0 {
			t.Errorf("the servers received %d requests, want none", n)
		}
	})
}

// wrapsType reports whether err wraps an error of type T.
func wrapsType[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// wraps returns a function that reports whether an error wraps target.
func wraps(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// TestUnknownOutcomes tests the failures after the request may have been sent.
func TestUnknownOutcomes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		code    string
		cause   func(error) bool
	}{
		{"connection reset before the response", hijack(t, reset), "ClientError.NetworkError", nil},
		{"connection closed before the response",
			hijack(t, func(c *net.TCPConn) { c.Close() }), "ClientError.NetworkError", wraps(io.EOF)},
		{"response is not HTTP",
			hijack(t, func(c *net.TCPConn) { io.WriteString(c, "220 ready\r\n"); c.Close() }), "ClientError.NetworkError", nil},
		{"connection closed in the body", func(w http.ResponseWriter, r *http.Request) {
			partial(w)
			panic(http.ErrAbortHandler)
		}, "ClientError.IOError", wraps(io.ErrUnexpectedEOF)},
		{"server switches protocols and sends nothing", func(w http.ResponseWriter, r *http.Request) {
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
			if e := apiError(t, err); e.Code != test.code || e.Class != tiw.Unknown {
				t.Errorf("got %v, want %s of class unknown", e, test.code)
			}
			if test.cause != nil && !test.cause(err) {
				t.Errorf("the error %v has the cause %#v", err, errors.Unwrap(err))
			}
			if hits := s.hits.Load(); hits != 1 {
				t.Errorf("the server received %d requests for one call", hits)
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

func TestContextEndsCall(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{
		"canceled before the response": "",
		"canceled in the response":     created[:20],
	} {
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
			if e := apiError(t, err); e.Class != tiw.Unknown || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want class unknown and context.Canceled", e)
			}
		})
	}
	t.Run("its deadline is before the timeout", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
		_, err := create(ctx, newClient(t, tiw.Options{Endpoint: s.URL, Timeout: time.Minute}))
		if e := apiError(t, err); e.Class != tiw.Unknown || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want class unknown after the deadline", e)
		}
	})
}

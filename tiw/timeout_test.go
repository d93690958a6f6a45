package tiw_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw"
)

func TestConnectTimeout(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closed := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err = io.Copy(io.Discard, conn) // without ever answering the TLS handshake
			conn.Close()
		}
		closed <- err
	}()
	c := newClient(t, tiw.Options{Endpoint: "https://" + l.Addr().String(), Timeout: 300 * time.Millisecond})
	_, err = create(t.Context(), c)
	if e := apiError(t, err); e.Code != "ClientError.ConnectError" || e.Class != tiw.NotSent ||
		!errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ClientError.ConnectError of class not sent after a timeout", e)
	}
	if err := <-closed; err != nil {
		t.Errorf("the client did not close the connection: %v", err)
	}
}

// TestResponseTimeouts tests the timeouts after the request may have been sent.
func TestResponseTimeouts(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	for _, test := range []struct {
		name    string
		timeout time.Duration
		handler http.HandlerFunc
		code    string
	}{
		{"no response", 300 * time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, "ClientError.NetworkError"},
		{"part of the body", time.Second, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			partial(w)
			<-r.Context().Done()
		}, "ClientError.IOError"},
		{"a body that is sent byte by byte", time.Second, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		}, "ClientError.IOError"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.handler)
			begin := time.Now()
			_, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL, Timeout: test.timeout}))
			took := time.Since(begin)
			if e := apiError(t, err); e.Code != test.code || e.Class != tiw.Unknown ||
				!errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %s of class unknown after a timeout", e, test.code)
			}
			if hits := s.hits.Load(); hits != 1 {
				t.Errorf("the server received %d requests for one call", hits)
			}
			if took < test.timeout || took > test.timeout+2*time.Second {
				t.Errorf("the call took %s, want %s to %s", took, test.timeout, test.timeout+2*time.Second)
			}
		})
	}
}

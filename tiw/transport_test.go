package tiw_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/tiw"
)

// TestResponses tests responses that are not Tencent's error envelopes, and some that only resemble one.
func TestResponses(t *testing.T) {
	t.Parallel()
	type header = map[string]string
	for _, test := range []struct {
		name   string
		status int
		header header
		body   string
		code   string
		class  tiw.Class
		msg    string // substring of the message
	}{
		{"a proxy's HTML page", 500, nil, "<html>broken\x00\x1b[31m</html>", "ClientError.HttpStatusCodeError", tiw.Unknown,
			"HTTP 500 Internal Server Error: <html>broken [31m</html>"},
		{"a bad gateway without a body", 502, nil, "", "ClientError.HttpStatusCodeError", tiw.Unknown,
			"HTTP 502 Bad Gateway"},
		{"an empty object with 503", 503, nil, "{}", "ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 503"},
		{"a task id with 500", 500, nil, created, "ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 500"},
		{"204 No Content", 204, nil, "", "ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 204"},
		{"304 Not Modified", 304, nil, "", "ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 304"},
		{"an unassigned status", 599, nil, "", "ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 599"},
		{"429 with HTML", 429, nil, "<html>slow down</html>", "ClientError.TooManyRequests", tiw.Throttled, "slow down"},
		{"429 without a body", 429, nil, "", "ClientError.TooManyRequests", tiw.Throttled, "HTTP 429"},
		{"429 with a gateway's own JSON", 429, nil, `{"code":429,"message":"slow down"}`, "ClientError.TooManyRequests",
			tiw.Throttled, "slow down"},
		{"429 with an envelope", 429, nil, errorEnvelope("InternalError"), "InternalError", tiw.Unknown, "test message"},
		{"403 with an envelope", 403, nil, errorEnvelope("AuthFailure"), "AuthFailure", tiw.Account, "test message"},
		{"the legacy envelope", 200, nil, `{"code":4000,"message":"test message","codeDesc":"InvalidParameter"}`,
			"InvalidParameter", tiw.Permanent, "test message"},
		{"the legacy envelope without a name", 200, nil, `{"code":4000,"message":"test message"}`,
			"ClientError.ParseJsonError", tiw.Unknown, "test message"},
		{"an envelope that claims nothing was sent", 200, nil, errorEnvelope("ClientError.ConnectError"),
			"ClientError.ParseJsonError", tiw.Unknown, "ConnectError"},
		{"an unfamiliar code", 200, nil, errorEnvelope("NeverHeardOf.It"), "NeverHeardOf.It", tiw.Unknown, "test message"},
		{"an empty body", 200, nil, "", "ClientError.ParseJsonError", tiw.Unknown, "(empty)"},
		{"HTML with 200", 200, nil, "<html>log in</html>", "ClientError.ParseJsonError", tiw.Unknown, "<html>log in"},
		{"null", 200, nil, "null", "ClientError.ParseJsonError", tiw.Unknown, "null"},
		{"a list", 200, nil, "[]", "ClientError.ParseJsonError", tiw.Unknown, "[]"},
		{"a truncated object", 200, nil, created[:30], "ClientError.ParseJsonError", tiw.Unknown, "TaskID"},
		{"a number for the task id", 200, nil, `{"Response":{"TaskID":7}}`, "ClientError.ParseJsonError", tiw.Unknown, "7"},
		{"an event stream", 200, header{"Content-Type": "text/event-stream"}, created, "ClientError.ParseJsonError",
			tiw.Unknown, "task-1"},
		{"an empty object", 200, nil, "{}", "ClientError.IncompleteResponse", tiw.Unknown, "no TaskID"},
		{"a null response", 200, nil, `{"Response":null}`, "ClientError.IncompleteResponse", tiw.Unknown, "no TaskID"},
		{"no task id", 200, nil, `{"Response":{"RequestId":"req-1"}}`, "ClientError.IncompleteResponse", tiw.Unknown,
			"no TaskID"},
		{"a null task id", 200, nil, `{"Response":{"TaskID":null}}`, "ClientError.IncompleteResponse", tiw.Unknown,
			"no TaskID"},
		{"an empty task id", 200, nil, `{"Response":{"TaskID":""}}`, "ClientError.IncompleteResponse", tiw.Unknown,
			"no TaskID"},
		{"more than 1 MiB", 200, nil, strings.Repeat(" ", 1<<20) + created, "ClientError.IOError", tiw.Unknown,
			"larger than 1048576 bytes"},
		{"a gzip bomb", 200, header{"Content-Encoding": "gzip"}, bomb(gzipped), "ClientError.IOError", tiw.Unknown,
			"larger than 1048576 bytes"},
		{"a gzip bomb with 502", 502, header{"Content-Encoding": "gzip"}, bomb(gzipped),
			"ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 502"},
		{"a deflate bomb", 200, header{"Content-Encoding": "deflate"}, bomb(deflated), "ClientError.IOError",
			tiw.Unknown, "not requested"},
		{"an invalid gzip body", 200, header{"Content-Encoding": "gzip"}, created, "ClientError.IOError", tiw.Unknown,
			"read response"},
		{"a long page", 500, nil, strings.Repeat("ä ", 10_000), "ClientError.HttpStatusCodeError", tiw.Unknown, "ä…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				for k, v := range test.header {
					w.Header().Set(k, v)
				}
				respond(test.status, test.body)(w, r)
			})
			_, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL}))
			e := apiError(t, err)
			if e.Code != test.code || e.Class != test.class || !strings.Contains(e.Message, test.msg) {
				t.Errorf("got %v\nwant code %s, class %v, message with %q", e, test.code, test.class, test.msg)
			}
			if i := strings.IndexFunc(e.Error(), unicode.IsControl); i >= 0 {
				t.Errorf("the error %q contains a control character", e.Error())
			}
			if hits := s.hits.Load(); hits != 1 {
				t.Errorf("the server received %d requests for one call", hits)
			}
		})
	}
}

// bomb returns 4 MiB of spaces, compressed.
func bomb(pack func(io.Writer) io.WriteCloser) string {
	var b bytes.Buffer
	w := pack(&b)
	io.WriteString(w, "{")
	spaces := bytes.Repeat([]byte(" "), 1<<20)
	for range 4 {
		w.Write(spaces)
	}
	w.Close()
	return b.String()
}

func gzipped(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func deflated(w io.Writer) io.WriteCloser {
	f, _ := flate.NewWriter(w, flate.BestCompression)
	return f
}

func TestLargestResponse(t *testing.T) {
	t.Parallel()
	s := serve(t, respond(200, strings.Repeat(" ", 1<<20-len(created))+created))
	if _, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL})); err != nil {
		t.Error(err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		target := serve(t, respond(200, created))
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", target.URL)
			w.WriteHeader(status)
		})
		_, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL}))
		if e := apiError(t, err); e.Code != "ClientError.HttpStatusCodeError" || e.Class != tiw.Unknown {
			t.Errorf("status %d: got %v, want ClientError.HttpStatusCodeError of class unknown", status, e)
		}
		if s.hits.Load() != 1 || target.hits.Load() != 0 {
			t.Errorf("status %d: the server and the target received %d and %d requests, want 1 and 0",
				status, s.hits.Load(), target.hits.Load())
		}
	}
}

// A server may close a reused connection just after it has read the next request. In this case net/http retries
// idempotent requests.
func TestRequestsAreNotRepeated(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*net.TCPConn){
		"the reused connection is closed": func(c *net.TCPConn) { c.Close() },
		"the reused connection is reset":  reset,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			used := map[string]int{}
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				used[r.RemoteAddr]++
				reused := used[r.RemoteAddr] > 1
				mu.Unlock()
				if r.Header.Get("X-Idempotency-Key") != "" {
					t.Error("the request has an X-Idempotency-Key header")
				}
				if reused {
					hijack(t, end)(w, r)
					return
				}
				io.WriteString(w, created)
			})
			c := newClient(t, tiw.Options{Endpoint: s.URL})
			if _, err := create(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			r := tiw.NewCreateSnapshotTaskRequest()
			r.RoomId = common.Uint64Ptr(1)
			r.SetHeader(map[string]string{"X-Idempotency-Key": "x"}) // makes net/http willing to retry it
			_, err := c.CreateSnapshotTask(t.Context(), r)
			if e := apiError(t, err); e.Code != "ClientError.NetworkError" || e.Class != tiw.Unknown {
				t.Errorf("got %v, want ClientError.NetworkError of class unknown", e)
			}
			if hits := s.hits.Load(); hits != 2 {
				t.Errorf("the server received %d requests for two calls", hits)
			}
		})
	}
}

func FuzzResponse(f *testing.F) {
	f.Add(200, created)
	f.Add(200, errorEnvelope("InternalError"))
	f.Add(200, `{"Response":{"Error":{"Code":"\u0000\n"}}}`)
	f.Add(200, "\ufeff"+created)
	f.Add(200, "null")
	f.Add(502, `{"Response":"no"}`)
	f.Add(429, `{"code":-1}`)
	var status int
	var body string
	s := serve(f, func(w http.ResponseWriter, r *http.Request) { respond(status, body)(w, r) })
	c := newClient(f, tiw.Options{Endpoint: s.URL})
	f.Fuzz(func(t *testing.T, code int, text string) {
		if code < 200 || code > 599 {
			t.Skip("net/http cannot send this status")
		}
		status, body = code, text
		before := s.hits.Load()
		id, err := create(t.Context(), c)
		if hits := s.hits.Load() - before; hits != 1 {
			t.Errorf("the server received %d requests for one call", hits)
		}
		if err == nil {
			if id == "" || status != 200 {
				t.Errorf("a response with status %d and TaskID %q is a success", status, id)
			}
			return
		}
		if e := apiError(t, err); e.Code == "ClientError.ConnectError" || e.Code == "ClientError.BuildRequestError" {
			t.Errorf("got %v, but the server received the request", e)
		}
	})
}

func TestConnectionReuse(t *testing.T) {
	t.Parallel()
	const inFlight = 16
	var all sync.WaitGroup // every request of a round has arrived
	conns := make(chan net.Conn, 1000)
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		all.Done()
		all.Wait()
		io.WriteString(w, created)
	}, func(h *httptest.Server) {
		h.Config.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				conns <- c
			}
		}
		h.Start()
	})
	c := newClient(t, tiw.Options{Endpoint: s.URL, MaxConns: inFlight})
	r := tiw.NewCreateSnapshotTaskRequest() // shared: a call does not change it
	r.RoomId = common.Uint64Ptr(1)
	for range 5 {
		all.Add(inFlight)
		var calls sync.WaitGroup
		for range inFlight {
			calls.Go(func() {
				if _, err := c.CreateSnapshotTask(t.Context(), r); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
	}
	if n := len(conns); n != inFlight {
		t.Errorf("rounds of %d calls used %d connections, want %d", inFlight, n, inFlight)
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	t.Run("a permit is requested after connecting and before writing", func(t *testing.T) {
		written := make(chan struct{})
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			<-written
			io.WriteString(w, created)
		})
		c := newClient(t, tiw.Options{Endpoint: s.URL})
		for range 2 { // on a new connection and on a reused one
			before := s.hits.Load()
			permits := 0
			_, err := create(tiw.WithGate(t.Context(), func(context.Context) error {
				permits++
				if n := s.hits.Load() - before; n != 0 {
					t.Errorf("the server received %d requests before the permit", n)
				}
				return nil
			}, func() {
				if permits != 1 {
					t.Error("the request was written before the permit")
				}
				written <- struct{}{}
			}), c)
			if err != nil || permits != 1 {
				t.Errorf("%d permits were requested, want 1; error %v", permits, err)
			}
		}
	})
	t.Run("without a permit the request is not sent", func(t *testing.T) {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, created) })
		c := newClient(t, tiw.Options{Endpoint: s.URL})
		void := errors.New("permit is void")
		for _, reused := range []bool{false, true} {
			if reused {
				if _, err := create(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			before := s.hits.Load()
			_, err := create(tiw.WithGate(t.Context(), func(context.Context) error { return void },
				func() { t.Error("the request was written") }), c)
			e := apiError(t, err)
			if !errors.Is(err, void) || e.Class != tiw.NotSent || e.Code != "ClientError.NotPermitted" {
				t.Errorf("reused connection %v: got %+v, want ClientError.NotPermitted of class not sent", reused, e)
			}
			if _, err := create(t.Context(), c); err != nil {
				t.Errorf("the next call: %v", err)
			}
			if n := s.hits.Load() - before; n != 1 {
				t.Errorf("reused connection %v: the server received %d requests, want 1, that of the next call", reused, n)
			}
		}
	})
}

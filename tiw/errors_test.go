package tiw_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/tiw"
)

// classes lists Tencent's error codes by the class that the queue gives them.
var classes = map[tiw.Class][]string{
	tiw.Throttled: {
		"RequestLimitExceeded", "RequestLimitExceeded.IPLimitExceeded", "RequestLimitExceeded.UinLimitExceeded",
		"RequestLimitExceeded.GlobalRegionUinLimitExceeded", "LimitExceeded", "LimitExceeded.TaskConcurrency",
	},
	tiw.Unknown: {"InternalError", "ServiceUnavailable", "ResponseSizeLimitExceeded"},
	tiw.NotSent: {"ResourceUnavailable", "ResourceInsufficient", "ResourceInUse", "FailedOperation"},
	tiw.Account: {
		"ResourceUnavailable.NotRegistered", "ResourceUnavailable.ServiceExpired",
		"ResourceUnavailable.InterfaceUnAuthorized",
		"UnauthorizedOperation", "UnauthorizedOperation.SdkAppId",
		"AuthFailure", "AuthFailure.UnauthorizedOperation", "AuthFailure.SignatureExpire", "AuthFailure.SignatureFailure",
		"AuthFailure.TokenFailure", "AuthFailure.SecretIdNotFound", "AuthFailure.InvalidSecretId",
		"AuthFailure.InvalidAuthorization", "AuthFailure.MFAFailure",
		"IpInBlacklist", "IpNotInWhitelist", "InvalidAction", "NoSuchVersion", "NoSuchProduct", "ActionOffline",
		"UnsupportedProtocol", "UnsupportedRegion", "InvalidParameter.CallbackAddressFormatError",
	},
	tiw.Permanent: {
		"InvalidParameter", "InvalidParameter.SdkAppIdNotFound", "InvalidParameter.TaskNotFound", "InvalidParameterValue",
		"MissingParameter", "UnknownParameter", "InvalidRequest", "RequestSizeLimitExceeded", "ResourceNotFound",
		"UnsupportedOperation", "DryRunOperation", "InternalErr",
	},
}

func TestEveryCodeOfTencentHasItsClass(t *testing.T) {
	t.Parallel()
	var code string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, errorEnvelope(code)) })
	c := newClient(t, tiw.Options{Endpoint: s.URL})
	tested := map[string]bool{}
	for class, codes := range classes {
		for _, code = range codes {
			tested[code] = true
			for action, call := range map[string]func() error{
				"CreateSnapshotTask":   func() error { _, err := create(t.Context(), c); return err },
				"DescribeSnapshotTask": func() error { _, err := describe(t.Context(), c); return err },
			} {
				before := s.hits.Load()
				got := failure(t, call())
				want := &tiw.Error{Action: action, Class: class, Code: code, Message: "so it is", RequestID: "req-1"}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", code, diff)
				}
				if hits := s.hits.Load() - before; hits != 1 {
					t.Errorf("%s: the server was called %d times for one call", code, hits)
				}
			}
		}
	}
	for _, code := range tiw.Codes() {
		if !tested[code] && !strings.HasPrefix(code, "ClientError") {
			t.Errorf("%s is in the table and not in this test", code)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	t.Run("has a meaning and a fix for every code, written for people", func(t *testing.T) {
		for _, code := range append(tiw.Codes(), "NeverHeardOf.It") {
			e := tiw.Explain(code)
			for _, s := range []string{e.Meaning, e.Fix} {
				if s == "" || strings.HasSuffix(s, ".") {
					t.Errorf("%s: %q: want a text without a full stop", code, s)
				}
			}
		}
	})
	t.Run("knows a code that is new by the part before its first dot", func(t *testing.T) {
		for code, class := range map[string]tiw.Class{
			"RequestLimitExceeded.New":            tiw.Throttled,
			"LimitExceeded.TranscodePages":        tiw.Throttled,
			"InternalError.Timeout":               tiw.Unknown,
			"ResourceInUse.RecordUserId":          tiw.NotSent,
			"FailedOperation.Record":              tiw.NotSent,
			"AuthFailure.New":                     tiw.Account,
			"UnauthorizedOperation.New":           tiw.Account,
			"InvalidParameterValue.A.B":           tiw.Permanent,
			"UnsupportedOperation.InvalidTask":    tiw.Permanent,
			"InvalidParameter.UrlFormatError":     tiw.Permanent,
			"ClientError.CircuitBreakerError":     tiw.Unknown,
			"ResourceUnavailable.SomethingPasses": tiw.NotSent,
		} {
			if got := tiw.Explain(code).Class; got != class {
				t.Errorf("%s is %v, want %v", code, got, class)
			}
		}
	})
	t.Run("takes a code that nobody knows for unknown", func(t *testing.T) {
		for _, code := range []string{"", ".", "NeverHeardOf", "NeverHeardOf.It", "requestlimitexceeded"} {
			if got := tiw.Explain(code).Class; got != tiw.Unknown {
				t.Errorf("%q is %v", code, got)
			}
		}
	})
	t.Run("blames a single application for nothing but its SdkAppId", func(t *testing.T) {
		for _, code := range tiw.Codes() {
			if got := tiw.Explain(code).OneApp; got != (code == "UnauthorizedOperation.SdkAppId") {
				t.Errorf("%s: OneApp is %v", code, got)
			}
		}
	})
}

func TestClassNames(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(tiw.Throttled, tiw.Unknown, tiw.NotSent, tiw.Account, tiw.Permanent, tiw.Clock, tiw.Class(9))
	if want := "throttled unknown not sent account permanent clock Class(9)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAnswers tests responses that are not Tencent's error envelopes, and some that only look like one.
func TestAnswers(t *testing.T) {
	t.Parallel()
	type header = map[string]string
	for _, test := range []struct {
		name   string
		status int
		header header
		body   string
		code   string
		class  tiw.Class
		msg    string // a part of the message
	}{
		{"a proxy's HTML page", 500, nil, "<html>broken\x00\x1b[31m</html>", "ClientError.HttpStatusCodeError", tiw.Unknown,
			"HTTP 500 Internal Server Error: <html>broken [31m</html>"},
		{"a bad gateway without a body", 502, nil, "", "ClientError.HttpStatusCodeError", tiw.Unknown,
			"HTTP 502 Bad Gateway"},
		{"an empty object with 503", 503, nil, "{}", "ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 503"},
		{"a task id with 500", 500, nil, created, "ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 500"},
		{"no content", 204, nil, "", "ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 204"},
		{"not modified", 304, nil, "", "ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 304"},
		{"an unheard-of status", 599, nil, "", "ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 599"},
		{"429 with HTML", 429, nil, "<html>slow down</html>", "ClientError.TooManyRequests", tiw.Throttled, "slow down"},
		{"429 with nothing", 429, nil, "", "ClientError.TooManyRequests", tiw.Throttled, "HTTP 429"},
		{"429 with a gateway's own JSON", 429, nil, `{"code":429,"message":"slow down"}`, "ClientError.TooManyRequests",
			tiw.Throttled, "slow down"},
		{"429 with an envelope", 429, nil, errorEnvelope("InternalError"), "InternalError", tiw.Unknown, "so it is"},
		{"403 with an envelope", 403, nil, errorEnvelope("AuthFailure"), "AuthFailure", tiw.Account, "so it is"},
		{"the legacy envelope", 200, nil, `{"code":4000,"message":"so it is","codeDesc":"InvalidParameter"}`,
			"InvalidParameter", tiw.Permanent, "so it is"},
		{"the legacy envelope without a name", 200, nil, `{"code":4000,"message":"so it is"}`,
			"ClientError.ParseJsonError", tiw.Unknown, "so it is"},
		{"an envelope that claims nothing was sent", 200, nil, errorEnvelope("ClientError.ConnectError"),
			"ClientError.ParseJsonError", tiw.Unknown, "ConnectError"},
		{"a code that nobody knows", 200, nil, errorEnvelope("NeverHeardOf.It"), "NeverHeardOf.It", tiw.Unknown, "so it is"},
		{"nothing", 200, nil, "", "ClientError.ParseJsonError", tiw.Unknown, "(empty)"},
		{"HTML with 200", 200, nil, "<html>log in</html>", "ClientError.ParseJsonError", tiw.Unknown, "<html>log in"},
		{"null", 200, nil, "null", "ClientError.ParseJsonError", tiw.Unknown, "null"},
		{"a list", 200, nil, "[]", "ClientError.ParseJsonError", tiw.Unknown, "[]"},
		{"half an object", 200, nil, created[:30], "ClientError.ParseJsonError", tiw.Unknown, "TaskID"},
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
		{"too much", 200, nil, strings.Repeat(" ", 1<<20) + created, "ClientError.IOError", tiw.Unknown,
			"larger than 1048576 bytes"},
		{"a gzip bomb", 200, header{"Content-Encoding": "gzip"}, bomb(gzipped), "ClientError.IOError", tiw.Unknown,
			"larger than 1048576 bytes"},
		{"a gzip bomb with 502", 502, header{"Content-Encoding": "gzip"}, bomb(gzipped),
			"ClientError.HttpStatusCodeError", tiw.Unknown, "HTTP 502"},
		{"a deflate bomb", 200, header{"Content-Encoding": "deflate"}, bomb(deflated), "ClientError.IOError",
			tiw.Unknown, "not requested"},
		{"what is no gzip", 200, header{"Content-Encoding": "gzip"}, created, "ClientError.IOError", tiw.Unknown,
			"read response"},
		{"a long page", 500, nil, strings.Repeat("ä ", 10_000), "ClientError.HttpStatusCodeError", tiw.Unknown, "ä…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				for k, v := range test.header {
					w.Header().Set(k, v)
				}
				answer(test.status, test.body)(w, r)
			})
			_, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL}))
			e := failure(t, err)
			if e.Code != test.code || e.Class != test.class || !strings.Contains(e.Message, test.msg) {
				t.Errorf("got %v\nwant code %s, class %v, message with %q", e, test.code, test.class, test.msg)
			}
			if i := strings.IndexFunc(e.Error(), unicode.IsControl); i >= 0 {
				t.Errorf("control character in %q", e.Error())
			}
			if hits := s.hits.Load(); hits != 1 {
				t.Errorf("the server was called %d times for one call", hits)
			}
		})
	}
}

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

func TestTheLargestAnswerThatIsTakenHasOneMebibyte(t *testing.T) {
	t.Parallel()
	s := serve(t, answer(200, strings.Repeat(" ", 1<<20-len(created))+created))
	if _, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL})); err != nil {
		t.Error(err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{300, 301, 302, 303, 307, 308} {
		target := serve(t, answer(200, created))
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", target.URL)
			w.WriteHeader(status)
		})
		_, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL}))
		if e := failure(t, err); e.Code != "ClientError.HttpStatusCodeError" || e.Class != tiw.Unknown {
			t.Errorf("%d: got %v", status, e)
		}
		if s.hits.Load() != 1 || target.hits.Load() != 0 {
			t.Errorf("%d: %d calls to the server and %d to the target", status, s.hits.Load(), target.hits.Load())
		}
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

func TestAConnectionThatNeverGetsReadyIsGivenUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	given := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err = io.Copy(io.Discard, conn) // without ever answering the TLS handshake
			conn.Close()
		}
		given <- err
	}()
	c := newClient(t, tiw.Options{Endpoint: "https://" + l.Addr().String(), Timeout: 300 * time.Millisecond})
	_, err = create(t.Context(), c)
	if e := failure(t, err); e.Code != "ClientError.ConnectError" || e.Class != tiw.NotSent ||
		!errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", e)
	}
	if err := <-given; err != nil {
		t.Errorf("the connection is still there: %v", err)
	}
}

// TestTheTaskMayExist tests the failures after the request may have been sent.
func TestTheTaskMayExist(t *testing.T) {
	t.Parallel()
	partial := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, created[:20])
		w.(http.Flusher).Flush()
	}
	for _, test := range []struct {
		name    string
		timeout time.Duration
		handler http.HandlerFunc
		code    string
		is      func(error) bool
	}{
		{"when the connection is reset before the answer", 0, hijack(t, reset), "ClientError.NetworkError", nil},
		{"when the connection is closed before the answer", 0,
			hijack(t, func(c *net.TCPConn) { c.Close() }), "ClientError.NetworkError", is(io.EOF)},
		{"when the answer is not HTTP", 0,
			hijack(t, func(c *net.TCPConn) { io.WriteString(c, "220 ready\r\n"); c.Close() }), "ClientError.NetworkError", nil},
		{"when the connection closes in the body", 0, func(w http.ResponseWriter, r *http.Request) {
			partial(w)
			panic(http.ErrAbortHandler)
		}, "ClientError.IOError", is(io.ErrUnexpectedEOF)},
		{"when the time runs out before the answer", 300 * time.Millisecond, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, "ClientError.NetworkError", is(context.DeadlineExceeded)},
		{"when the time runs out in the body", time.Second, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			partial(w)
			<-r.Context().Done()
		}, "ClientError.IOError", is(context.DeadlineExceeded)},
		{"when the body comes a byte at a time", time.Second, func(w http.ResponseWriter, r *http.Request) {
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
		}, "ClientError.IOError", is(context.DeadlineExceeded)},
		{"when the server switches protocols and falls silent", 0, func(w http.ResponseWriter, r *http.Request) {
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
			begin := time.Now()
			_, err := create(t.Context(), newClient(t, tiw.Options{Endpoint: s.URL, Timeout: test.timeout}))
			took := time.Since(begin)
			if e := failure(t, err); e.Code != test.code || e.Class != tiw.Unknown {
				t.Errorf("got %v, want %s", e, test.code)
			}
			if test.is != nil && !test.is(err) {
				t.Errorf("the cause of %v is %#v", err, errors.Unwrap(err))
			}
			if hits := s.hits.Load(); hits != 1 {
				t.Errorf("the server was called %d times for one call", hits)
			}
			if test.timeout > 0 && (took < test.timeout || took > test.timeout+2*time.Second) {
				t.Errorf("took %s with a timeout of %s", took, test.timeout)
			}
		})
	}
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

// A server may close a reused connection just after it has read the next request. In this case net/http retries
// idempotent requests.
func TestARequestIsNotRepeatedOnAnotherConnection(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*net.TCPConn){
		"when the kept connection closes": func(c *net.TCPConn) { c.Close() },
		"when the kept connection resets": reset,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			used := map[string]int{}
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				used[r.RemoteAddr]++
				again := used[r.RemoteAddr] > 1
				mu.Unlock()
				if r.Header.Get("X-Idempotency-Key") != "" {
					t.Error("the request says that it may be repeated")
				}
				if again {
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
			if e := failure(t, err); e.Code != "ClientError.NetworkError" || e.Class != tiw.Unknown {
				t.Errorf("got %v", e)
			}
			if hits := s.hits.Load(); hits != 2 {
				t.Errorf("the server was called %d times for two calls", hits)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, created)
	f.Add(200, errorEnvelope("InternalError"))
	f.Add(200, `{"Response":{"Error":{"Code":"\u0000\n"}}}`)
	f.Add(200, "\ufeff"+created)
	f.Add(200, "null")
	f.Add(502, `{"Response":"no"}`)
	f.Add(429, `{"code":-1}`)
	var status int
	var body string
	s := serve(f, func(w http.ResponseWriter, r *http.Request) { answer(status, body)(w, r) })
	c := newClient(f, tiw.Options{Endpoint: s.URL})
	f.Fuzz(func(t *testing.T, code int, text string) {
		if code < 200 || code > 599 {
			t.Skip("net/http cannot answer so")
		}
		status, body = code, text
		before := s.hits.Load()
		id, err := create(t.Context(), c)
		if hits := s.hits.Load() - before; hits != 1 {
			t.Errorf("the server was called %d times for one call", hits)
		}
		if err == nil {
			if id == "" || status != 200 {
				t.Errorf("status %d and task id %q for a success", status, id)
			}
			return
		}
		if e := failure(t, err); e.Code == "ClientError.ConnectError" || e.Code == "ClientError.BuildRequestError" {
			t.Errorf("%v, but the server was reached", e)
		}
	})
}

package tiwtest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tiwsnap/tiw/tiwtest"
)

const create, describe = tiwtest.ActionCreate, tiwtest.ActionDescribe

// clock stands still until advance moves it.
type clock struct{ ns atomic.Int64 }

func newClock(at time.Time) *clock {
	c := new(clock)
	c.ns.Store(at.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// caller signs requests with an independent implementation of Tencent's "Signature v3" page.
type caller struct {
	id, key  string
	service  string
	host     string // of the Host header
	signHost string // in the signature; default: host
	signed   []string
	payload  string // signed in place of the body
	now      func() time.Time
	header   map[string]string // added before signing
}

func newCaller(host string) *caller {
	return &caller{
		id: "simulator", key: "simulator", service: "tiw", host: host,
		signed: []string{"content-type", "host"}, now: time.Now,
	}
}

func (c *caller) request(t testing.TB, action, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+c.host+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	stamp := c.now().Unix()
	for name, value := range map[string]string{
		"Content-Type": "application/json", "X-TC-Action": action, "X-TC-Version": "2019-09-19",
		"X-TC-Region": "ap-singapore", "X-TC-Timestamp": strconv.FormatInt(stamp, 10),
	} {
		r.Header.Set(name, value)
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	names := slices.Sorted(slices.Values(c.signed))
	canonical := "POST\n/\n\n"
	for _, name := range names {
		value := r.Header.Get(name)
		if name == "host" {
			if value = c.signHost; value == "" {
				value = c.host
			}
		}
		canonical += name + ":" + strings.ToLower(strings.TrimSpace(value)) + "\n"
	}
	if c.payload != "" {
		body = c.payload
	}
	canonical += "\n" + strings.Join(names, ";") + "\n" + sha(body)
	c.authorize(r, stamp, names, sha(canonical))
	return r
}

func (c *caller) authorize(r *http.Request, stamp int64, names []string, canonicalHash string) {
	date := time.Unix(stamp, 0).UTC().Format("2006-01-02")
	scope := date + "/" + c.service + "/tc3_request"
	key := []byte("TC3" + c.key)
	for _, m := range []string{date, c.service, "tc3_request"} {
		key = hmacSHA(key, m)
	}
	sig := hmacSHA(key, "TC3-HMAC-SHA256\n"+strconv.FormatInt(stamp, 10)+"\n"+scope+"\n"+canonicalHash)
	r.Header.Set("Authorization", "TC3-HMAC-SHA256 Credential="+c.id+"/"+scope+
		", SignedHeaders="+strings.Join(names, ";")+", Signature="+hex.EncodeToString(sig))
}

func sha(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func hmacSHA(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}

// response has the fields of the responses to all actions.
type response struct {
	Error *struct{ Code, Message string }

	TaskID, Status string
	CreateTime     int64
	FinishTime     *int64
	Result         *struct {
		ErrorCode, ErrorMessage string
		Total                   int
		Snapshots               []string
	}
	RequestId string
}

func (r response) code() string {
	if r.Error == nil {
		return "OK"
	}
	return r.Error.Code
}

// serve passes the request to the server without a connection.
func serve(t testing.TB, srv *tiwtest.Server, r *http.Request) response {
	t.Helper()
	w := httptest.NewRecorder()
	srv.ServeHTTP(w, r)
	return parse(t, w.Code, w.Body.Bytes())
}

// do sends the request over a connection.
func do(t testing.TB, r *http.Request) response {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, resp.StatusCode, body)
}

func parse(t testing.TB, status int, body []byte) response {
	t.Helper()
	if status != http.StatusOK {
		t.Errorf("status is %d, want 200 for every processed request", status)
	}
	var envelope struct{ Response *response }
	if err := json.Unmarshal(body, &envelope); err != nil || envelope.Response == nil {
		t.Fatalf("the body is not an envelope: %v: %.300s", err, body)
	}
	if len(envelope.Response.RequestId) != 36 {
		t.Errorf("RequestId is %q, want a UUID", envelope.Response.RequestId)
	}
	return *envelope.Response
}

func newServer(t testing.TB, o tiwtest.Options) *tiwtest.Server {
	t.Helper()
	srv := tiwtest.New(o)
	t.Cleanup(srv.Close)
	return srv
}

const room7 = `{"SdkAppId":1400124720,"RoomId":7,"Whiteboard":{}}`

// hostOf returns the host:port of a started server.
func hostOf(srv *tiwtest.Server) string { return strings.TrimPrefix(srv.URL, "http://") }

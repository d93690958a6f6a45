package tiwtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/tiw/tiwtest"
)

// TestFaults tests every fault of an API request over a real connection.
func TestFaults(t *testing.T) {
	t.Parallel()
	// sendRaw sends a request and does not follow redirects.
	sendRaw := func(t *testing.T, srv *tiwtest.Server, action, body string) (*http.Response, []byte, error) {
		t.Helper()
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := client.Do(newCaller(hostOf(srv)).request(t, action, body))
		if err != nil {
			return nil, nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp, b, err
	}
	for _, test := range []struct {
		name    string
		faults  tiwtest.Faults
		creates bool
		check   func(t *testing.T, resp *http.Response, body []byte, err error)
	}{
		{"internalError", tiwtest.Faults{InternalError: 1}, false, wantCode("InternalError")},
		{"internalErrorCreated", tiwtest.Faults{InternalErrorCreated: 1}, true, wantCode("InternalError")},
		{"code", tiwtest.Faults{Code: 1, CodeName: "ResourceUnavailable.NotRegistered"}, false,
			wantCode("ResourceUnavailable.NotRegistered")},
		{"cut", tiwtest.Faults{Cut: 1}, true, func(t *testing.T, resp *http.Response, _ []byte, err error) {
			if !errors.Is(err, io.EOF) {
				t.Errorf("got %v, %v, want a closed connection", resp, err)
			}
		}},
		{"html", tiwtest.Faults{HTML: 1}, false, func(t *testing.T, resp *http.Response, body []byte, err error) {
			if err != nil || resp.StatusCode != 502 || !bytes.HasPrefix(body, []byte("<html>")) {
				t.Errorf("got %v, %v: %s", resp, err, body)
			}
		}},
		{"cutJSON", tiwtest.Faults{CutJSON: 1}, true, func(t *testing.T, resp *http.Response, body []byte, err error) {
			if err != nil || resp.StatusCode != 200 || !bytes.HasPrefix(body, []byte(`{"Response":{"Task`)) || json.Valid(body) {
				t.Errorf("got %v, %v: %s", resp, err, body)
			}
		}},
		{"empty", tiwtest.Faults{Empty: 1}, true, func(t *testing.T, resp *http.Response, body []byte, err error) {
			if err != nil || resp.StatusCode != 200 || string(body) != "{}" {
				t.Errorf("got %v, %v: %s", resp, err, body)
			}
		}},
		{"slowBody", tiwtest.Faults{SlowBody: 1}, true, func(t *testing.T, resp *http.Response, body []byte, err error) {
			if err != nil || parse(t, resp.StatusCode, body).TaskID == "" {
				t.Errorf("got %v, %v: %s", resp, err, body)
			}
		}},
		{"redirect", tiwtest.Faults{Redirect: 1}, false, func(t *testing.T, resp *http.Response, _ []byte, err error) {
			if err != nil || resp.StatusCode != 302 || !strings.HasSuffix(resp.Header.Get("Location"), "/redirected") {
				t.Errorf("got %v, %v", resp, err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv := tiwtest.Start(t, tiwtest.Options{Faults: test.faults, SlowByte: time.Millisecond})
			began := time.Now()
			resp, body, err := sendRaw(t, srv, create, room7)
			test.check(t, resp, body, err)
			if test.name == "slowBody" && time.Since(began) < time.Duration(len(body))*time.Millisecond {
				t.Errorf("%d bytes arrived within %v, want one each millisecond", len(body), time.Since(began))
			}

			st := srv.State()
			if d := cmp.Diff(map[string]int64{test.name: 1}, st.Faults); d != "" {
				t.Errorf("State().Faults (-want +got):\n%s", d)
			}
			call := srv.Requests()[0]
			if call.Outcome != test.name || call.RoomId != 7 {
				t.Errorf("the request log has %+v, want outcome %s for room 7", call, test.name)
			}
			if created := st.Tasks.Created == 1; created != test.creates || (call.TaskID != "") != test.creates {
				t.Errorf("task created: %v, want %v; the request log has TaskID %q", created, test.creates, call.TaskID)
			}
			if a := st.Actions[create]; a.Received.Requests != 1 || a.Rejected != 0 {
				t.Errorf("State().Actions has %+v, want one accepted request", a)
			}

			_, _, err = sendRaw(t, srv, describe, `{"TaskID":"x","SdkAppId":1}`)
			if n := srv.State().Codes["InvalidParameter.TaskNotFound"]; err != nil || n != 1 {
				t.Errorf("the fault affected %s: %v", describe, err)
			}
		})
	}

	t.Run("silent holds the request until the client disconnects", func(t *testing.T) {
		srv := tiwtest.Start(t, tiwtest.Options{Faults: tiwtest.Faults{Silent: 1}})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer cancel()
			if err := srv.WaitRequests(t.Context(), 1); err != nil {
				t.Error(err)
			}
		}()
		_, err := http.DefaultClient.Do(newCaller(hostOf(srv)).request(t, create, room7).WithContext(ctx))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		if st := srv.State(); st.Tasks.Created != 1 || st.Faults["silent"] != 1 {
			t.Errorf("tasks %+v, faults %v, want one of each", st.Tasks, st.Faults)
		}
	})
	t.Run("silent closes the connection at the hold limit", func(t *testing.T) {
		srv := tiwtest.Start(t, tiwtest.Options{Faults: tiwtest.Faults{Silent: 1}, HoldLimit: 20 * time.Millisecond})
		if _, _, err := sendRaw(t, srv, create, room7); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want a closed connection", err)
		}
	})
	t.Run("a followed redirect is counted", func(t *testing.T) {
		srv := tiwtest.Start(t, tiwtest.Options{Faults: tiwtest.Faults{Redirect: 1}})
		resp, err := http.DefaultClient.Do(newCaller(hostOf(srv)).request(t, create, room7))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if n := srv.State().Faults["redirectFollowed"]; n != 1 {
			t.Errorf("redirectFollowed = %d, want 1", n)
		}
	})
	t.Run("Actions selects the affected actions", func(t *testing.T) {
		srv := tiwtest.Start(t, tiwtest.Options{Faults: tiwtest.Faults{Cut: 1, Actions: []string{describe}}})
		if _, _, err := sendRaw(t, srv, describe, `{"TaskID":"x","SdkAppId":1}`); !errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v, want a closed connection", describe, err)
		}
		resp, body, err := sendRaw(t, srv, create, room7)
		if err != nil || parse(t, resp.StatusCode, body).TaskID == "" {
			t.Errorf("%s: got %v: %s, want a task", create, err, body)
		}
	})
}

func wantCode(code string) func(*testing.T, *http.Response, []byte, error) {
	return func(t *testing.T, resp *http.Response, body []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		if got := parse(t, resp.StatusCode, body).code(); got != code {
			t.Errorf("got %s, want %s", got, code)
		}
	}
}

// An error code set for a room or an application affects no other.
func TestRoomAndAppCodes(t *testing.T) {
	srv := newServer(t, tiwtest.Options{Faults: tiwtest.Faults{
		RoomCodes: map[uint64]string{8: "UnauthorizedOperation"},
		AppCodes:  map[uint64]string{1400000009: "UnauthorizedOperation.SdkAppId"},
	}})
	c := newCaller("tiw.tencentcloudapi.com")
	for body, want := range map[string]string{
		room7: "OK",
		`{"Whiteboard":{},"SdkAppId":1400124720,"RoomId":8}`: "UnauthorizedOperation",
		`{"Whiteboard":{},"SdkAppId":1400000009,"RoomId":7}`: "UnauthorizedOperation.SdkAppId",
	} {
		if got := serve(t, srv, c.request(t, create, body)).code(); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
	if n := len(slices.Collect(srv.Tasks())); n != 1 {
		t.Errorf("%d tasks were created, want 1, that of room 7", n)
	}
}

func TestFaultPeriods(t *testing.T) {
	clk := newClock(time.Unix(1760000000, 0))
	period := tiwtest.Period{After: tiwtest.Duration(10 * time.Second), For: tiwtest.Duration(30 * time.Second)}
	codes := func(f tiwtest.Faults) (codes []string) {
		srv := newServer(t, tiwtest.Options{Clock: clk.now})
		clk.advance(time.Hour) // periods begin when the faults are set
		if err := srv.SetFaults(f); err != nil {
			t.Fatal(err)
		}
		c := newCaller("h")
		c.now = clk.now
		for _, d := range []time.Duration{0, 10 * time.Second, 29 * time.Second, time.Second} {
			clk.advance(d)
			codes = append(codes, serve(t, srv, c.request(t, create, room7)).code())
		}
		return codes
	}
	const expired = "ResourceUnavailable.ServiceExpired"
	if d := cmp.Diff([]string{"OK", expired, expired, "OK"}, codes(tiwtest.Faults{Arrears: period})); d != "" {
		t.Errorf("codes during arrears of 30 s (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"OK", "InternalError", "InternalError", "OK"},
		codes(tiwtest.Faults{InternalError: 1, During: period})); d != "" {
		t.Errorf("codes during errors of 30 s (-want +got):\n%s", d)
	}
	period.For = 0
	if d := cmp.Diff([]string{"OK", "InternalError", "InternalError", "InternalError"},
		codes(tiwtest.Faults{InternalError: 1, During: period})); d != "" {
		t.Errorf("codes during errors without an end (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"OK", "OK", "OK", "OK"}, codes(tiwtest.Faults{Arrears: period})); d != "" {
		t.Errorf("codes with arrears of 0 s (-want +got):\n%s", d)
	}
}

func TestFaultRatesAndSeed(t *testing.T) {
	outcomes := func(seed uint64) map[string]int64 {
		srv := newServer(t, tiwtest.Options{
			Limit: -1, Seed: seed, Faults: tiwtest.Faults{InternalError: 0.1, InternalErrorCreated: 0.2, CutJSON: 0.3},
		})
		c := newCaller("h")
		for range 2000 {
			srv.ServeHTTP(discard{http.Header{}}, c.request(t, create, room7))
		}
		return srv.State().Faults
	}
	first := outcomes(7)
	for name, want := range map[string]int64{"internalError": 200, "internalErrorCreated": 400, "cutJSON": 600} {
		if got := first[name]; got < want*8/10 || got > want*12/10 {
			t.Errorf("%s affected %d of 2000 requests, want about %d", name, got, want)
		}
	}
	if d := cmp.Diff(first, outcomes(7)); d != "" {
		t.Errorf("two runs with the same seed differ:\n%s", d)
	}
	if cmp.Equal(first, outcomes(8)) {
		t.Error("runs with different seeds are equal")
	}
}

// discard is a ResponseWriter without a body.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func TestAdminFaults(t *testing.T) {
	srv := tiwtest.Start(t, tiwtest.Options{Faults: tiwtest.Faults{Cut: 1}})
	post := func(body string) (int, string) {
		t.Helper()
		resp, err := http.Post(srv.URL+"/admin/faults", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	status, body := post(`{"internalError": 0.5, "code": 0.5, "codeName": "FailedOperation", "arrears": {"after": ` +
		`"1h", "for": "30s"}, "foreignLoad": 5, "callbackDelay": "2s"}`)
	if status != 200 {
		t.Fatalf("POST /admin/faults: status %d: %s", status, body)
	}
	want := tiwtest.Faults{
		InternalError: 0.5, Code: 0.5, CodeName: "FailedOperation", ForeignLoad: 5,
		CallbackDelay: tiwtest.Duration(2 * time.Second),
		Arrears:       tiwtest.Period{After: tiwtest.Duration(time.Hour), For: tiwtest.Duration(30 * time.Second)},
	}
	checkFaults := func() {
		t.Helper()
		resp, err := http.Get(srv.URL + "/admin/faults")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var got tiwtest.Faults
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("GET /admin/faults (-want +got):\n%s", d)
		}
	}
	checkFaults()
	if code := do(t, newCaller(hostOf(srv)).request(t, create, room7)).code(); code != "InternalError" &&
		code != "FailedOperation" {
		t.Errorf("a request got %s, want InternalError or FailedOperation", code)
	}
	for _, test := range []struct{ body, want string }{
		{`{"internalErrors": 1}`, "internalErrors"},
		{`{"cut": 1.5}`, "fault cut is 1.5, it must be from 0 to 1"},
		{`{"cut": 0.6, "html": 0.6}`, "add up to 1.2"},
		{`{"code": 1}`, "needs codeName"},
		{`{"actions": ["Create"]}`, `"Create"`},
		{`{"foreignLoad": 20000}`, "foreignLoad is 20000"},
		{`{"arrears": {"for": "-1s"}}`, "negative"},
		{`{"callbackLost": -1}`, "callbackLost is -1"},
		{`{"arrears": {"for": 5}}`, "for"},
	} {
		if status, body := post(test.body); status != 400 || !strings.Contains(body, test.want) {
			t.Errorf("%s: status %d: %s, want 400 with %q", test.body, status, body, test.want)
		}
	}
	checkFaults()
}

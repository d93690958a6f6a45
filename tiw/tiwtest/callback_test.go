package tiwtest_test

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// newReceiver starts a receiver that responds with status, and returns its URL and the bodies of the callbacks.
func newReceiver(t *testing.T, status int) (url string, bodies chan []byte) {
	bodies = make(chan []byte, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("the callback is %s with header %v, %v, want a POST of JSON", r.Method, r.Header, err)
		}
		bodies <- b
		if status == http.StatusFound {
			w.Header().Set("Location", "/again")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/hook?secret=1", bodies
}

func nextCallback(t *testing.T, bodies chan []byte) []byte {
	t.Helper()
	select {
	case b := <-bodies:
		return b
	case <-time.After(10 * time.Second):
		t.Fatal("no callback arrived within 10 s")
		return nil
	}
}

func roomWithCallback(callback string) string {
	return `{"SdkAppId":1400124720,"RoomId":7,"Whiteboard":{},"CallbackURL":"` + callback + `"}`
}

func TestCallbackEnvelopes(t *testing.T) {
	t.Parallel()
	for _, e := range []tiwtest.Envelope{tiwtest.EnvelopeTIW, tiwtest.EnvelopeFlat, tiwtest.EnvelopeResult,
		tiwtest.EnvelopeEmpty} {
		for _, failure := range []float64{0, 1} {
			t.Run(fmt.Sprintf("%s, failure %v", e, failure), func(t *testing.T) {
				t.Parallel()
				url, bodies := newReceiver(t, 200)
				srv := tiwtest.Start(t, tiwtest.Options{
					Envelope: e, CallbackKey: "key", TaskFailure: failure, TaskDuration: 20 * time.Millisecond,
				})
				c := newCaller(hostOf(srv))
				id := do(t, c.request(t, create, roomWithCallback(url))).TaskID
				body := nextCallback(t, bodies)
				if e == tiwtest.EnvelopeEmpty {
					if string(body) != "{}" {
						t.Errorf("body is %s, want {}", body)
					}
					return
				}
				var got struct {
					EventType                       string
					EventData                       response
					SdkAppId, Timestamp, ExpireTime int64
					Sign                            string

					response
					RoomId                uint64
					ErrorCode             string
					FlatTotal             int      `json:"Total"`
					FlatSnapshots         []string `json:"Snapshots"`
					ErrorMessage, Missing string
				}
				if err := json.Unmarshal(body, &got); err != nil {
					t.Fatalf("%v: %s", err, body)
				}
				reported := got.response
				switch e {
				case tiwtest.EnvelopeTIW:
					reported = got.EventData
					sum := md5.Sum(fmt.Appendf(nil, "key%d", got.ExpireTime))
					if got.EventType == "" || got.SdkAppId != 1400124720 || got.Timestamp == 0 ||
						got.ExpireTime <= got.Timestamp || got.Sign != hex.EncodeToString(sum[:]) {
						t.Errorf("invalid envelope: %s", body)
					}
				case tiwtest.EnvelopeFlat:
					if got.RoomId != 7 || got.ErrorCode == "" || got.FlatTotal != len(got.FlatSnapshots) {
						t.Errorf("invalid flat envelope: %s", body)
					}
				}
				if reported.TaskID != id || reported.Status != "Finished" || reported.FinishTime == nil {
					t.Errorf("callback has %+v, want finished task %s: %s", reported, id, body)
				}
				if e != tiwtest.EnvelopeFlat {
					d := do(t, c.request(t, describe, describeBody(id)))
					if fmt.Sprint(*reported.Result) != fmt.Sprint(*d.Result) {
						t.Errorf("callback has the result %+v, Describe %+v", reported.Result, d.Result)
					}
				}
			})
		}
	}
	t.Run("documented sample of Sign", func(t *testing.T) {
		// Key, ExpireTime and Sign are from Tencent's page on TIW event callbacks.
		url, bodies := newReceiver(t, 200)
		clk := newClock(time.Unix(1588040109-600, 0))
		srv := newServer(t, tiwtest.Options{CallbackKey: "Xz4ZgayTr7rMgWQrH", Clock: clk.now})
		c := newCaller("h")
		c.now = clk.now
		serve(t, srv, c.request(t, create, roomWithCallback(url)))
		var got struct {
			ExpireTime int64
			Sign       string
		}
		if err := json.Unmarshal(nextCallback(t, bodies), &got); err != nil || got.ExpireTime != 1588040109 ||
			got.Sign != "a2dabb362a9b811c0e26953a6276a41c" {
			t.Errorf("callback has %+v, %v, want the documented ExpireTime and Sign", got, err)
		}
	})
}

func TestCallbackFaults(t *testing.T) {
	t.Parallel()
	// A task without faults runs last. Its callback shows that no earlier callback is outstanding.
	start := func(t *testing.T, o tiwtest.Options) (srv *tiwtest.Server, call func(callback string) string) {
		srv = tiwtest.Start(t, o)
		c := newCaller(hostOf(srv))
		return srv, func(callback string) string { return do(t, c.request(t, create, roomWithCallback(callback))).TaskID }
	}
	t.Run("lost", func(t *testing.T) {
		url, bodies := newReceiver(t, 200)
		srv, call := start(t, tiwtest.Options{Faults: tiwtest.Faults{CallbackLost: 1}})
		call(url)
		if srv.State().Tasks.Succeeded != 1 {
			t.Fatal("the task did not succeed")
		}
		if err := srv.SetFaults(tiwtest.Faults{}); err != nil {
			t.Fatal(err)
		}
		id := call(url)
		var got struct{ EventData response }
		if err := json.Unmarshal(nextCallback(t, bodies), &got); err != nil || got.EventData.TaskID != id {
			t.Errorf("the first callback is of task %s, %v, want %s", got.EventData.TaskID, err, id)
		}
		if n := srv.State().Faults["callbackLost"]; n != 1 {
			t.Errorf("callbackLost = %d, want 1", n)
		}
	})
	t.Run("double", func(t *testing.T) {
		url, bodies := newReceiver(t, 200)
		srv, call := start(t, tiwtest.Options{Faults: tiwtest.Faults{CallbackDouble: 1}})
		call(url)
		if a, b := nextCallback(t, bodies), nextCallback(t, bodies); len(a) == 0 || len(b) == 0 {
			t.Error("a callback has an empty body")
		}
		if n := srv.State().Faults["callbackDouble"]; n != 1 {
			t.Errorf("callbackDouble = %d, want 1", n)
		}
	})
	t.Run("late", func(t *testing.T) {
		url, bodies := newReceiver(t, 200)
		_, call := start(t, tiwtest.Options{Faults: tiwtest.Faults{CallbackDelay: tiwtest.Duration(80 * time.Millisecond)}})
		began := time.Now()
		call(url)
		nextCallback(t, bodies)
		if d := time.Since(began); d < 80*time.Millisecond {
			t.Errorf("the callback arrived after %v, want 80 ms or more", d)
		}
	})
	t.Run("before the response", func(t *testing.T) {
		var responded, early atomic.Bool
		receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			early.Store(!responded.Load())
		}))
		defer receiver.Close()
		srv, call := start(t, tiwtest.Options{Faults: tiwtest.Faults{CallbackEarly: 1}, TaskDuration: time.Hour})
		call(receiver.URL)
		responded.Store(true)
		if !early.Load() {
			t.Error("the response arrived before the callback")
		}
		if st := srv.State(); st.Callbacks.Delivered != 1 || st.Faults["callbackEarly"] != 1 || st.Tasks.Succeeded != 1 {
			t.Errorf("callbacks %+v, faults %v, tasks %+v, want one delivered early callback of a task that succeeded",
				st.Callbacks, st.Faults, st.Tasks)
		}
	})
}

func TestCallbackCounts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		status int
		want   tiwtest.CallbackState
	}{
		{"delivered", 204, tiwtest.CallbackState{Sent: 1, Delivered: 1}},
		{"refused", 500, tiwtest.CallbackState{Sent: 1, Refused: 1}},
		{"redirect", 302, tiwtest.CallbackState{Sent: 1, Refused: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			url, _ := newReceiver(t, test.status)
			// Early callbacks are counted before the response is sent.
			srv := tiwtest.Start(t, tiwtest.Options{Faults: tiwtest.Faults{CallbackEarly: 1}})
			do(t, newCaller(hostOf(srv)).request(t, create, roomWithCallback(url)))
			if got := srv.State().Callbacks; got != test.want {
				t.Errorf("State().Callbacks = %+v, want %+v", got, test.want)
			}
		})
	}
	t.Run("timeout", func(t *testing.T) {
		release := make(chan struct{})
		receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		defer receiver.Close()
		defer close(release)
		srv := tiwtest.Start(t, tiwtest.Options{
			Faults: tiwtest.Faults{CallbackEarly: 1}, CallbackTimeout: 30 * time.Millisecond,
		})
		do(t, newCaller(hostOf(srv)).request(t, create, roomWithCallback(receiver.URL)))
		if got := srv.State().Callbacks; got != (tiwtest.CallbackState{Sent: 1, Unreached: 1}) {
			t.Errorf("State().Callbacks = %+v, want one sent, unreached", got)
		}
	})
	t.Run("CallbackSenders bounds the callbacks in flight", func(t *testing.T) {
		var now, most atomic.Int64
		arrived, release := make(chan struct{}, 50), make(chan struct{}, 50)
		receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			arrived <- struct{}{}
			<-release
			now.Add(-1)
		}))
		defer receiver.Close()
		srv := tiwtest.Start(t, tiwtest.Options{Limit: -1, CallbackSenders: 3})
		c := newCaller(hostOf(srv))
		for range 50 {
			do(t, c.request(t, create, roomWithCallback(receiver.URL)))
		}
		for i := range 50 {
			<-arrived
			if i >= 2 { // three are in flight: a fourth must not arrive before one ends
				release <- struct{}{}
			}
		}
		release <- struct{}{}
		release <- struct{}{}
		if n := most.Load(); n != 3 {
			t.Errorf("up to %d callbacks were in flight, want 3", n)
		}
	})
}

func TestCallbackRetries(t *testing.T) {
	t.Parallel()
	for _, early := range []float64{0, 1} {
		t.Run(fmt.Sprintf("early %v", early), func(t *testing.T) {
			t.Parallel()
			url, bodies := newReceiver(t, 503)
			srv := tiwtest.Start(t, tiwtest.Options{Faults: tiwtest.Faults{
				CallbackEarly: early, CallbackRetries: 2, CallbackRetryAfter: tiwtest.Duration(50 * time.Millisecond),
			}})
			began := time.Now()
			do(t, newCaller(hostOf(srv)).request(t, create, roomWithCallback(url)))
			for range 3 {
				nextCallback(t, bodies)
			}
			if d := time.Since(began); d < 100*time.Millisecond {
				t.Errorf("three attempts took %v, want 50 ms between them", d)
			}
			// The retry is decided when the failed attempt is counted.
			for deadline := time.Now().Add(10 * time.Second); srv.State().Callbacks.Refused < 3; {
				if time.Now().After(deadline) {
					t.Fatalf("callbacks after 10 s: %+v, want 3 refused", srv.State().Callbacks)
				}
				runtime.Gosched()
			}
			if n := srv.State().Faults["callbackRetried"]; n != 2 {
				t.Errorf("callbackRetried = %d, want 2", n)
			}
		})
	}
}

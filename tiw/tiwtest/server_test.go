package tiwtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// While the server refuses connections, every request fails. Requests after that succeed.
func TestRefuse(t *testing.T) {
	srv := tiwtest.Start(t, tiwtest.Options{})
	addr := hostOf(srv)
	send := func() error {
		resp, err := http.DefaultClient.Do(newCaller(addr).request(t, create, `{"SdkAppId":1,"RoomId":2,"Whiteboard":{}}`))
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	srv.Refuse()
	if err := send(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want ECONNREFUSED", err)
	}
	if err := srv.Listen(addr); err != nil {
		t.Fatal(err)
	}
	if err := send(); err != nil {
		t.Error(err)
	}
	if n := srv.State().Tasks.Created; n != 2 {
		t.Errorf("%d tasks were created, want 2, one before and one after", n)
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	t.Run("Latency delays the response", func(t *testing.T) {
		srv := tiwtest.Start(t, tiwtest.Options{Latency: 60 * time.Millisecond})
		began := time.Now()
		do(t, newCaller(hostOf(srv)).request(t, create, room7))
		if d := time.Since(began); d < 60*time.Millisecond {
			t.Errorf("the response took %v, want 60 ms or more", d)
		}
	})
	t.Run("Delay delays the arrival of the request", func(t *testing.T) {
		srv := tiwtest.Start(t, tiwtest.Options{Delay: 60 * time.Millisecond})
		sent := time.Now()
		do(t, newCaller(hostOf(srv)).request(t, create, room7))
		if d := time.Unix(0, srv.Requests()[0].AtNs).Sub(sent); d < 60*time.Millisecond {
			t.Errorf("the request arrived after %v, want 60 ms or more", d)
		}
	})
	t.Run("the task is created before the response, and rejections have no latency", func(t *testing.T) {
		srv := tiwtest.Start(t, tiwtest.Options{Clock: newClock(time.Now()).now, Latency: time.Hour, Limit: 1})
		c := newCaller(hostOf(srv))
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		r := c.request(t, create, room7).WithContext(ctx)
		go func() {
			_, err := http.DefaultClient.Do(r)
			first <- err
		}()
		if err := srv.WaitRequests(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if code := do(t, c.request(t, create, room7)).code(); code != "RequestLimitExceeded" {
			t.Errorf("the second request got %s, want RequestLimitExceeded", code)
		}
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first request got %v, want context.Canceled", err)
		}
		if n := srv.State().Tasks.Created; n != 1 {
			t.Errorf("%d tasks were created, want 1", n)
		}
	})
}

// Each step fixes the error of the step before.
func TestOrderOfChecks(t *testing.T) {
	const at = 1760000000
	srv := newServer(t, tiwtest.Options{
		Clock: clockAt(at), Limit: 1, Credentials: map[string]tiwtest.Secret{"a": "key"},
		Tokens: map[string]tiwtest.Secret{"a": "tok"}, Regions: []string{"r"}, SdkAppIds: []uint64{5},
		Faults: tiwtest.Faults{Arrears: tiwtest.Period{For: tiwtest.Duration(time.Hour)}},
	})
	unlimited := newServer(t, tiwtest.Options{
		Clock: clockAt(at), Limit: -1, Credentials: map[string]tiwtest.Secret{"a": "key"},
		Tokens: map[string]tiwtest.Secret{"a": "tok"}, Regions: []string{"r"}, SdkAppIds: []uint64{5},
		Faults: tiwtest.Faults{Arrears: tiwtest.Period{For: tiwtest.Duration(time.Hour)}},
	})
	c := newCaller("h")
	c.id, c.key, c.now, c.signed = "nobody", "wrong", clockAt(at-1000), []string{"host"}
	c.header = map[string]string{"Content-Type": "text/plain", "X-TC-Version": "1", "X-TC-Region": "other"}
	action, body := "Nothing", `{`
	wantCode := func(srv *tiwtest.Server, want string) {
		t.Helper()
		if got := serve(t, srv, c.request(t, action, body)).code(); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	wantCode(srv, "UnsupportedProtocol")
	c.header["Content-Type"] = "application/json"
	wantCode(srv, "AuthFailure.InvalidAuthorization")
	c.signed = []string{"host", "content-type"}
	wantCode(srv, "AuthFailure.SecretIdNotFound")
	c.id = "a"
	wantCode(srv, "AuthFailure.SignatureExpire")
	c.now = clockAt(at)
	wantCode(srv, "AuthFailure.SignatureFailure")
	c.key = "key"
	wantCode(srv, "AuthFailure.TokenFailure")
	c.header["X-TC-Token"] = "tok"
	wantCode(srv, "InvalidAction")
	action = create
	wantCode(srv, "NoSuchVersion")
	c.header["X-TC-Version"] = "2019-09-19"
	wantCode(srv, "UnsupportedRegion")
	c.header["X-TC-Region"] = "r"
	wantCode(srv, "RequestLimitExceeded")
	wantCode(unlimited, "InvalidParameter")
	body = room7
	wantCode(unlimited, "UnauthorizedOperation.SdkAppId")
	body = `{"SdkAppId":5,"RoomId":7,"Whiteboard":{}}`
	wantCode(unlimited, "ResourceUnavailable.ServiceExpired")
	if err := unlimited.SetFaults(tiwtest.Faults{}); err != nil {
		t.Fatal(err)
	}
	wantCode(unlimited, "OK")
}

func TestDateHeader(t *testing.T) {
	srv := tiwtest.Start(t, tiwtest.Options{Clock: clockAt(1760000000)})
	resp, err := http.DefaultClient.Do(newCaller(hostOf(srv)).request(t, create, room7))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Date"); got != "Thu, 09 Oct 2025 08:53:20 GMT" {
		t.Errorf("Date = %q, want that of the server's clock", got)
	}
}

func TestConcurrentCallers(t *testing.T) {
	srv := tiwtest.Start(t, tiwtest.Options{
		Limit: 100, Window: tiwtest.Sliding, Latency: time.Millisecond, LatencySigma: 1,
		Faults: tiwtest.Faults{InternalErrorCreated: 0.1, CutJSON: 0.1},
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := newCaller(hostOf(srv))
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for range 50 {
				resp, err := client.Do(c.request(t, create, room7))
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				srv.State()
			}
		})
	}
	wg.Wait()
	st := srv.State()
	a := st.Actions[create]
	if a.Received.Requests != 400 || a.Accepted.SlidingSecond.Requests > 100 || a.Accepted.Requests+a.Rejected != 400 {
		t.Errorf("State().Actions has %+v, want 400 requests, at most 100 accepted in a second", a)
	}
	if st.Tasks.Created != a.Accepted.Requests || st.Rooms.Most[0].Tasks != int(st.Tasks.Created) {
		t.Errorf("%d requests were accepted and %d tasks created, want equal numbers, all of one room",
			a.Accepted.Requests, st.Tasks.Created)
	}
	requests := srv.Requests()
	for i := 1; i < len(requests); i++ {
		if requests[i].AtNs < requests[i-1].AtNs {
			t.Fatalf("request %d of the log arrived before request %d", i, i-1)
		}
	}
}

// BenchmarkCreate measures the requests per second of one core, including the signature check.
func BenchmarkCreate(b *testing.B) {
	srv := tiwtest.Start(b, tiwtest.Options{Limit: -1})
	c := newCaller(hostOf(srv))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := client.Do(c.request(b, create, room7))
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}

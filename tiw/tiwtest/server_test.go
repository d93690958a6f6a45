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

// While the server refuses connections, every request fails. Afterwards requests succeed again.
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
		t.Errorf("got %v, want a refused connection", err)
	}
	if err := srv.Listen(addr); err != nil {
		t.Fatal(err)
	}
	if err := send(); err != nil {
		t.Error(err)
	}
	if n := srv.State().Tasks.Created; n != 2 {
		t.Errorf("%d tasks, want that of before and that of after", n)
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	t.Run("an answer takes its time", func(t *testing.T) {
		srv := tiwtest.Start(t, tiwtest.Options{Latency: 60 * time.Millisecond})
		began := time.Now()
		over(t, newCaller(hostOf(srv)).request(t, create, room7))
		if d := time.Since(began); d < 60*time.Millisecond {
			t.Errorf("answered after %v, want 60 ms", d)
		}
	})
	t.Run("a call is counted when its way is over", func(t *testing.T) {
		srv := tiwtest.Start(t, tiwtest.Options{Delay: 60 * time.Millisecond})
		sent := time.Now()
		over(t, newCaller(hostOf(srv)).request(t, create, room7))
		if d := time.Unix(0, srv.Requests()[0].AtNs).Sub(sent); d < 60*time.Millisecond {
			t.Errorf("it arrived after %v, want 60 ms", d)
		}
	})
	t.Run("the task is there before the answer, and a rejection is quick", func(t *testing.T) {
		srv := tiwtest.Start(t, tiwtest.Options{Clock: newClock(time.Now()).now, Latency: time.Hour, Limit: 1})
		c := newCaller(hostOf(srv))
		ctx, leave := context.WithCancel(t.Context())
		first := make(chan error, 1)
		r := c.request(t, create, room7).WithContext(ctx)
		go func() {
			_, err := http.DefaultClient.Do(r)
			first <- err
		}()
		if err := srv.WaitRequests(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if code := over(t, c.request(t, create, room7)).code(); code != "RequestLimitExceeded" {
			t.Errorf("the second call got %s", code)
		}
		leave()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first call got %v", err)
		}
		if n := srv.State().Tasks.Created; n != 1 {
			t.Errorf("%d tasks were created", n)
		}
	})
}

func TestChecksComeInTheirOrder(t *testing.T) {
	// Each step fixes the error of the step before.
	const at = 1760000000
	srv := newServer(t, tiwtest.Options{
		Clock: unix(at), Limit: 1, Credentials: map[string]tiwtest.Secret{"a": "key"},
		Tokens: map[string]tiwtest.Secret{"a": "tok"}, Regions: []string{"r"}, SdkAppIds: []uint64{5},
		Faults: tiwtest.Faults{Arrears: tiwtest.Period{For: tiwtest.Duration(time.Hour)}},
	})
	spare := newServer(t, tiwtest.Options{
		Clock: unix(at), Limit: -1, Credentials: map[string]tiwtest.Secret{"a": "key"},
		Tokens: map[string]tiwtest.Secret{"a": "tok"}, Regions: []string{"r"}, SdkAppIds: []uint64{5},
		Faults: tiwtest.Faults{Arrears: tiwtest.Period{For: tiwtest.Duration(time.Hour)}},
	})
	c := newCaller("h")
	c.id, c.key, c.now, c.signed = "nobody", "wrong", unix(at-1000), []string{"host"}
	c.header = map[string]string{"Content-Type": "text/plain", "X-TC-Version": "1", "X-TC-Region": "other"}
	action, body := "Nothing", `{`
	step := func(srv *tiwtest.Server, want string) {
		t.Helper()
		if got := direct(t, srv, c.request(t, action, body)).code(); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	step(srv, "UnsupportedProtocol")
	c.header["Content-Type"] = "application/json"
	step(srv, "AuthFailure.InvalidAuthorization")
	c.signed = []string{"host", "content-type"}
	step(srv, "AuthFailure.SecretIdNotFound")
	c.id = "a"
	step(srv, "AuthFailure.SignatureExpire")
	c.now = unix(at)
	step(srv, "AuthFailure.SignatureFailure")
	c.key = "key"
	step(srv, "AuthFailure.TokenFailure")
	c.header["X-TC-Token"] = "tok"
	step(srv, "InvalidAction")
	action = create
	step(srv, "NoSuchVersion")
	c.header["X-TC-Version"] = "2019-09-19"
	step(srv, "UnsupportedRegion")
	c.header["X-TC-Region"] = "r"
	step(srv, "RequestLimitExceeded")
	step(spare, "InvalidParameter")
	body = room7
	step(spare, "UnauthorizedOperation.SdkAppId")
	body = `{"SdkAppId":5,"RoomId":7,"Whiteboard":{}}`
	step(spare, "ResourceUnavailable.ServiceExpired")
	if err := spare.SetFaults(tiwtest.Faults{}); err != nil {
		t.Fatal(err)
	}
	step(spare, "OK")
}

func TestAnAnswerHasTheDateOfTheServersClock(t *testing.T) {
	srv := tiwtest.Start(t, tiwtest.Options{Clock: unix(1760000000)})
	resp, err := http.DefaultClient.Do(newCaller(hostOf(srv)).request(t, create, room7))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Date"); got != "Thu, 09 Oct 2025 08:53:20 GMT" {
		t.Errorf("got %s", got)
	}
}

func TestManyCallersAtOnce(t *testing.T) {
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
		t.Errorf("calls: %+v", a)
	}
	if st.Tasks.Created != a.Accepted.Requests || st.Rooms.Most[0].Tasks != int(st.Tasks.Created) {
		t.Errorf("%d calls passed, %d tasks were created", a.Accepted.Requests, st.Tasks.Created)
	}
	calls := srv.Requests()
	for i := 1; i < len(calls); i++ {
		if calls[i].AtNs < calls[i-1].AtNs {
			t.Fatalf("call %d came before call %d", i, i-1)
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

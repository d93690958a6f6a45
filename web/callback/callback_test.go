package callback_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web/callback"
)

func TestCallbacksOfTheSimulator(t *testing.T) {
	create := func(r *receiver, sim *tiwtest.Server, callbackURL string) (taskID string) {
		r.Helper()
		api, err := tiw.New(tiw.Options{
			Endpoint: sim.URL, Credential: common.NewCredential(tiwtest.DefaultSecret, tiwtest.DefaultSecret),
		})
		if err != nil {
			r.Fatal(err)
		}
		defer api.Close()
		req := tiw.NewCreateSnapshotTaskRequest()
		req.Whiteboard = &tiw.SnapshotWhiteboard{}
		req.SdkAppId, req.RoomId = common.Uint64Ptr(1400123480), common.Uint64Ptr(7)
		req.CallbackURL = &callbackURL
		resp, err := api.CreateSnapshotTask(r.Context(), req)
		if err != nil {
			r.Fatal(err)
		}
		return *resp.TaskID
	}
	for _, envelope := range []tiwtest.Envelope{tiwtest.EnvelopeTIW, tiwtest.EnvelopeFlat, tiwtest.EnvelopeResult,
		tiwtest.EnvelopeEmpty} {
		t.Run("envelope "+string(envelope), func(t *testing.T) {
			r := newReceiver(t)
			sim := tiwtest.Start(t, tiwtest.Options{Envelope: envelope, CallbackKey: "key", TaskDuration: 10 * time.Millisecond})
			id := create(r, sim, r.url(3))
			if envelope == tiwtest.EnvelopeEmpty {
				id = ""
			}
			if c := r.recorded(); c.snapshot != "monday.17" || c.attempt != 3 || c.taskID != id {
				t.Errorf("got %+v, want %s", c, id)
			}
		})
	}
	t.Run("before the answer and twice", func(t *testing.T) {
		r := newReceiver(t)
		sim := tiwtest.Start(t, tiwtest.Options{Faults: tiwtest.Faults{CallbackEarly: 1}})
		first := r.url(1)
		id := create(r, sim, first)
		if c := r.recorded(); c.taskID != id {
			t.Errorf("got %+v, want %s", c, id)
		}
		// An early callback is counted before the response to the API request.
		if got, want := sim.State().Callbacks, (tiwtest.CallbackState{Sent: 1, Delivered: 1}); got != want {
			t.Errorf("the simulator counts %+v", got)
		}
		if err := sim.SetFaults(tiwtest.Faults{CallbackDouble: 1}); err != nil {
			t.Fatal(err)
		}
		id = create(r, sim, r.url(2))
		for range 2 {
			if c := r.recorded(); c.taskID != id || c.attempt != 2 {
				t.Errorf("got %+v, want %s", c, id)
			}
		}
	})
}

func TestTenDuplicatesAtOnceAreAllAnsweredWell(t *testing.T) {
	r := newReceiver(t)
	made := r.url(1)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if status, answer := r.post(made, strings.NewReader(`{"TaskID":"t-1"}`)); status != 200 || answer != ok {
				t.Errorf("got %d %s", status, answer)
			}
		})
	}
	all.Wait()
	if times, changes := r.count("monday.17/1/times"), r.count("changes"); times != 10 || changes != 1 {
		t.Errorf("recorded %d times, %d changes, want 10 and 1", times, changes)
	}
}

func TestRotation(t *testing.T) {
	r := newReceiver(t)
	for i, keys := range []tiw.CallbackKeys{tiw.NewCallbackKeys(key), tiw.NewCallbackKeys(oldKey)} {
		made := keys.URL(r.URL, "monday.17", i+1, time.Now().Add(time.Hour))
		if status, answer := r.post(made, strings.NewReader(`{}`)); status != 200 || answer != ok {
			t.Errorf("key %d: got %d %s", i+1, status, answer)
		}
		if c := r.recorded(); c.attempt != i+1 {
			t.Errorf("got %+v", c)
		}
	}
}

func TestBodies(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	long := `{"TaskID":"t-1","a":"` + strings.Repeat("a", 1<<20) + `"}`
	for _, test := range []struct {
		name, body, taskID string
		kept               int // bytes
	}{
		{"nothing", "", "", 0},
		{"not JSON", "<html>&\x00\xff", "", 9},
		{"JSON without a TaskID", `[1,null,"a"]`, "", 12},
		{"exactly 64 KiB", long[:tiw.MaxCallback], "t-1", tiw.MaxCallback},
		{"more than 64 KiB: the beginning counts", long, "t-1", tiw.MaxCallback},
		{"more than 64 KiB: the end does not", `{"a":"` + long[len(`{"TaskID":"t-1"`):] + `,"TaskID":"t-1"}`, "",
			tiw.MaxCallback},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			if status, answer := r.post(r.url(1), strings.NewReader(test.body)); status != 200 || answer != ok {
				t.Errorf("got %d %s", status, answer)
			}
			if c := r.recorded(); c.taskID != test.taskID || c.body != test.body[:test.kept] {
				t.Errorf("kept %d bytes, TaskID %q", len(c.body), c.taskID)
			}
		})
	}

	t.Run("without an end: what came counts, and the sender is asked for all of it", func(t *testing.T) {
		t.Parallel()
		r := newReceiver(t, func(s *http.Server, _ *callback.Options) { s.ReadTimeout = 100 * time.Millisecond })
		body, w := io.Pipe()
		defer w.Close()
		go io.WriteString(w, `{"TaskID":"t-1",`)
		if status, _ := r.post(r.url(1), body); status != http.StatusRequestTimeout {
			t.Errorf("got %d", status)
		}
		if c := r.recorded(); c.taskID != "t-1" || c.body != `{"TaskID":"t-1",` {
			t.Errorf("got %+v", c)
		}
	})

	t.Run("without an end, sent to nowhere: answered like all such", func(t *testing.T) {
		t.Parallel()
		r := newReceiver(t, func(s *http.Server, _ *callback.Options) { s.ReadTimeout = 100 * time.Millisecond })
		if got := r.raw("POST /cb/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"); !strings.HasPrefix(got,
			"HTTP/1.1 404 ") {
			t.Errorf("got %q", got)
		}
	})
}

// The callback server is public, so every timeout and size has a limit.
func TestNewCallbackServer(t *testing.T) {
	s := callback.NewServer("127.0.0.1:0", nil)
	if s.ReadHeaderTimeout <= 0 || s.ReadHeaderTimeout > 5*time.Second || s.ReadTimeout <= 0 || s.IdleTimeout <= 0 ||
		s.MaxHeaderBytes > 16<<10 {
		t.Errorf("got %+v", s)
	}
	if s.WriteTimeout < s.ReadTimeout+3*time.Second {
		t.Errorf("a body that takes %s and 3 s to record it leave no time to answer within %s", s.ReadTimeout, s.WriteTimeout)
	}
}

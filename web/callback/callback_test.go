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

func TestSimulatorCallbacks(t *testing.T) {
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
			if c := r.nextRecord(); c.snapshot != "monday.17" || c.attempt != 3 || c.taskID != id {
				t.Errorf("recorded %+v, want attempt 3 of monday.17 with task %q", c, id)
			}
		})
	}
	t.Run("an early callback, then a double one", func(t *testing.T) {
		r := newReceiver(t)
		sim := tiwtest.Start(t, tiwtest.Options{Faults: tiwtest.Faults{CallbackEarly: 1}})
		first := r.url(1)
		id := create(r, sim, first)
		if c := r.nextRecord(); c.taskID != id {
			t.Errorf("early callback: recorded %+v, want task %s", c, id)
		}
		// An early callback is counted before the response to the API request.
		if got, want := sim.State().Callbacks, (tiwtest.CallbackState{Sent: 1, Delivered: 1}); got != want {
			t.Errorf("the simulator counts %+v, want %+v", got, want)
		}
		if err := sim.SetFaults(tiwtest.Faults{CallbackDouble: 1}); err != nil {
			t.Fatal(err)
		}
		id = create(r, sim, r.url(2))
		for range 2 {
			if c := r.nextRecord(); c.taskID != id || c.attempt != 2 {
				t.Errorf("double callback: recorded %+v, want attempt 2 with task %s", c, id)
			}
		}
	})
}

func TestConcurrentDuplicates(t *testing.T) {
	r := newReceiver(t)
	callbackURL := r.url(1)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if status, got := r.post(callbackURL, strings.NewReader(`{"TaskID":"t-1"}`)); status != 200 || got != ok {
				t.Errorf("got %d %s, want 200 %s", status, got, ok)
			}
		})
	}
	all.Wait()
	if times, changes := r.count("monday.17/1/times"), r.count("changes"); times != 10 || changes != 1 {
		t.Errorf("%d callbacks were recorded with %d changes, want 10 and 1", times, changes)
	}
}

func TestKeyRotation(t *testing.T) {
	r := newReceiver(t)
	for i, keys := range []tiw.CallbackKeys{tiw.NewCallbackKeys(key), tiw.NewCallbackKeys(oldKey)} {
		callbackURL := keys.URL(r.URL, "monday.17", i+1, time.Now().Add(time.Hour))
		if status, got := r.post(callbackURL, strings.NewReader(`{}`)); status != 200 || got != ok {
			t.Errorf("key %d: got %d %s, want 200 %s", i+1, status, got, ok)
		}
		if c := r.nextRecord(); c.attempt != i+1 {
			t.Errorf("key %d: recorded %+v, want attempt %d", i+1, c, i+1)
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
		{"empty", "", "", 0},
		{"not JSON", "<html>&\x00\xff", "", 9},
		{"JSON without a TaskID", `[1,null,"a"]`, "", 12},
		{"exactly 64 KiB", long[:tiw.MaxCallback], "t-1", tiw.MaxCallback},
		{"more than 64 KiB, TaskID at the beginning", long, "t-1", tiw.MaxCallback},
		{"more than 64 KiB, TaskID at the end", `{"a":"` + long[len(`{"TaskID":"t-1"`):] + `,"TaskID":"t-1"}`, "",
			tiw.MaxCallback},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			if status, got := r.post(r.url(1), strings.NewReader(test.body)); status != 200 || got != ok {
				t.Errorf("got %d %s, want 200 %s", status, got, ok)
			}
			if c := r.nextRecord(); c.taskID != test.taskID || c.body != test.body[:test.kept] {
				t.Errorf("recorded %d bytes, TaskID %q, want %d bytes, %q", len(c.body), c.taskID, test.kept, test.taskID)
			}
		})
	}

	t.Run("incomplete: it is recorded, and the sender must retry", func(t *testing.T) {
		t.Parallel()
		r := newReceiver(t, func(s *http.Server, _ *callback.Options) { s.ReadTimeout = 100 * time.Millisecond })
		body, w := io.Pipe()
		defer w.Close()
		go io.WriteString(w, `{"TaskID":"t-1",`)
		if status, _ := r.post(r.url(1), body); status != http.StatusRequestTimeout {
			t.Errorf("status %d, want 408", status)
		}
		if c := r.nextRecord(); c.taskID != "t-1" || c.body != `{"TaskID":"t-1",` {
			t.Errorf("recorded %+v, want the part with task t-1", c)
		}
	})

	t.Run("incomplete, to an unknown path", func(t *testing.T) {
		t.Parallel()
		r := newReceiver(t, func(s *http.Server, _ *callback.Options) { s.ReadTimeout = 100 * time.Millisecond })
		if got := r.sendRaw("POST /cb/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"); !strings.HasPrefix(got,
			"HTTP/1.1 404 ") {
			t.Errorf("got %q, want 404", got)
		}
	})
}

// The callback server is public, so it needs limits for timeouts and sizes.
func TestNewServer(t *testing.T) {
	s := callback.NewServer("127.0.0.1:0", nil)
	if s.ReadHeaderTimeout <= 0 || s.ReadHeaderTimeout > 5*time.Second || s.ReadTimeout <= 0 || s.IdleTimeout <= 0 ||
		s.MaxHeaderBytes > 16<<10 {
		t.Errorf("NewServer() has limits that are missing or too high: %+v", s)
	}
	if s.WriteTimeout < s.ReadTimeout+3*time.Second {
		t.Errorf("WriteTimeout is %s, want ReadTimeout, %s, and 3 s to record the callback", s.WriteTimeout, s.ReadTimeout)
	}
}

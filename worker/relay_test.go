package worker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/enqueue"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web/callback"
	"tiwsnap/webhook"
	"tiwsnap/webhook/webhooktest"
	"tiwsnap/worker"
	"tiwsnap/worker/workertest"
)

// heard has the callbacks that Tencent has sent to tiwsnap, by TaskID. Of the bodies without a TaskID it has the last.
type heard struct {
	mu     sync.Mutex
	bodies map[string]string
}

func (h *heard) of(task string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if body, ok := h.bodies[task]; ok {
		return body
	}
	return h.bodies[""]
}

// relay starts a worker that receives callbacks and may call these receivers. It sends only the webhooks of
// CallbackURLs.
func (w world) relay(receivers ...webhooktest.Receiver) *heard {
	w.Helper()
	keys := tiw.NewCallbackKeys("0123456789abcdef0123456789abcdef")
	own := callback.NewHandler(callback.Options{Keys: keys, Record: w.ledger.Callback})
	h := &heard{bodies: map[string]string{}}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.bodies[tiw.ParseCallback(b).TaskID] = string(b)
		h.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(b))
		own.ServeHTTP(rw, r)
	}))
	w.Cleanup(srv.Close)
	w.workWith(worker.Options{
		Webhooks: webhook.Subscription{Sender: webhooktest.Subscribe(w.T, receivers...).Sender},
		CallbackURL: func(id string, attempt int) string {
			return keys.URL(srv.URL, id, attempt, time.Now().Add(time.Hour))
		},
	})
	return h
}

func these(rooms ...tasks.Room) iter.Seq2[tasks.Room, error] {
	return func(yield func(tasks.Room, error) bool) {
		for _, r := range rooms {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// called enqueues a batch "a" of two rooms, the first with its own CallbackURL, and waits for its end.
func (w world) called(r webhooktest.Receiver) {
	w.Helper()
	_, err := w.queue.Batch(w.Context(), these(
		tasks.Room{RoomId: 1, CallbackURL: r.URL + "/own?token=S3CR3T"}, tasks.Room{RoomId: 2},
	), enqueue.BatchOptions{ID: "a", Defaults: tasks.Room{SdkAppId: app, CallbackURL: r.URL + "/batch"}})
	if err != nil {
		w.Fatal(err)
	}
	w.ended("a")
}

func (w world) snapshot(id string) ledger.Snapshot {
	w.Helper()
	s, err := w.ledger.Snapshot(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func TestCallbacksOfRooms(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("have the bytes that Tencent sent", func(t *testing.T) {
		for _, envelope := range []tiwtest.Envelope{tiwtest.EnvelopeTIW, tiwtest.EnvelopeFlat, tiwtest.EnvelopeResult,
			tiwtest.EnvelopeEmpty} {
			for _, failure := range []float64{0, 1} {
				t.Run(fmt.Sprintf("%s, failure %v", envelope, failure), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, redistest.Client(t), tiwtest.Options{
						Envelope: envelope, CallbackKey: "key", TaskFailure: failure,
					})
					r := webhooktest.NewReceiver(t)
					h := w.relay(r)
					w.called(r)
					seen := map[string]string{}
					for range 2 {
						d := r.Next(t)
						seen[d.Path] = d.Raw
					}
					want := map[string]string{"/own?token=S3CR3T": h.of(w.snapshot("a.1").TaskID),
						"/batch": h.of(w.snapshot("a.2").TaskID)}
					if diff := cmp.Diff(want, seen); diff != "" || want["/batch"] == "" {
						t.Error(diff)
					}
					if tasks := slices.Collect(w.sim.Tasks()); len(tasks) != 2 || strings.Contains(tasks[0].CallbackURL, r.URL) {
						t.Errorf("Tencent was given %+v", tasks)
					}
				})
			}
		}
	})

	t.Run("are made of the result where Tencent's did not come", func(t *testing.T) {
		for _, failure := range []float64{0, 1} {
			t.Run(fmt.Sprintf("failure %v", failure), func(t *testing.T) {
				t.Parallel()
				// The callbacks that Tencent sends itself.
				direct, asked := newWorld(t, redistest.Client(t), tiwtest.Options{TaskFailure: failure}), webhooktest.NewReceiver(t)
				direct.workWith(worker.Options{})
				direct.called(asked)

				w := newWorld(t, redistest.Client(t), tiwtest.Options{
					TaskFailure: failure, Faults: tiwtest.Faults{CallbackLost: 1},
				})
				r := webhooktest.NewReceiver(t)
				w.relay(r)
				w.called(r)
				for range 2 {
					got, want := event(t, r.Next(t)), event(t, asked.Next(t))
					if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
						t.Errorf("not the fields that Tencent sends: %s", diff)
					}
					answer := w.describe(got["EventData.TaskID"].(string))
					for field, value := range answer {
						if at, ok := value.(float64); ok && strings.HasSuffix(field, "Time") {
							if d := got["EventData."+field].(float64) - at; d < -1 || d > 30 {
								t.Errorf("%s is %v, want about %v", field, got["EventData."+field], at)
							}
						} else if diff := cmp.Diff(value, got["EventData."+field]); diff != "" {
							t.Errorf("%s: %s", field, diff)
						}
					}
					if got["EventType"] != want["EventType"] || got["SdkAppId"] != want["SdkAppId"] {
						t.Errorf("got %v, want %v", got, want)
					}
				}
			})
		}
	})

	t.Run("tell of a room that Tencent refuses", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
		r := webhooktest.NewReceiver(t)
		w.relay(r)
		w.called(r)
		for range 2 {
			d := r.Next(t)
			got := event(t, d)
			room := 2.0
			if d.Path == "/own?token=S3CR3T" {
				room = 1
			}
			if got["EventData.TaskID"] != "" || got["EventData.RoomId"] != room || got["EventData.Status"] != "Finished" ||
				got["EventData.Result.ErrorCode"] != "InvalidParameter" || got["EventData.Result.ErrorMessage"] == "" {
				t.Errorf("%s: %s", d.Path, d.Raw)
			}
		}
	})

	t.Run("come again until the receiver takes one, under one id", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		r := webhooktest.NewReceiver(t)
		r.Answer <- http.StatusServiceUnavailable
		r.Answer <- http.StatusServiceUnavailable
		w.relay(r)
		w.called(r)
		count := map[string]int{}
		for range 4 {
			d := r.Next(t)
			count[d.Path+" "+d.ID]++
		}
		if len(count) != 2 {
			t.Errorf("came as %v", count)
		}
		webhooktest.WaitForTasks(w, 2, asynq.NewInspectorFromRedisClient(w.rdb).ListCompletedTasks)
	})

	t.Run("are dead where webhooks may not go there", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		r, other := webhooktest.NewReceiver(t), webhooktest.NewReceiver(t)
		w.relay(other)
		w.called(r)
		for _, info := range webhooktest.WaitForTasks(w, 2, asynq.NewInspectorFromRedisClient(w.rdb).ListArchivedTasks) {
			if want := r.Listener.Addr().String() + ": not among the hosts that webhooks may go to"; info.LastErr != want {
				t.Errorf("got %q, want %q", info.LastErr, want)
			}
		}
		if len(r.Got)+len(other.Got) > 0 {
			t.Error("something was sent")
		}
	})

	t.Run("are Tencent's to make where tiwsnap takes none, or sends none", func(t *testing.T) {
		keys := tiw.NewCallbackKeys("0123456789abcdef0123456789abcdef")
		for name, o := range map[string]worker.Options{
			"no callbacks":               {},
			"a setting for the others":   {OtherCallbackURL: "http://192.0.2.1/all"},
			"webhooks, and no callbacks": {Webhooks: webhooktest.Subscribe(t, webhooktest.NewReceiver(t))},
			"callbacks, and no webhooks": {CallbackURL: func(id string, n int) string {
				return keys.URL("http://192.0.2.1", id, n, time.Now())
			}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, redistest.Client(t), tiwtest.Options{})
				r := webhooktest.NewReceiver(t)
				w.workWith(o)
				w.called(r)
				w.enqueue("b", 1)
				w.ended("b")
				paths := []string{r.Next(t).Path, r.Next(t).Path}
				slices.Sort(paths)
				if !slices.Equal(paths, []string{"/batch", "/own?token=S3CR3T"}) {
					t.Errorf("called were %v", paths)
				}
				var other string
				for task := range w.sim.Tasks() {
					if !strings.HasPrefix(task.CallbackURL, r.URL) {
						other = task.CallbackURL
					}
				}
				if want := o.OtherCallbackURL; o.CallbackURL == nil && other != want ||
					o.CallbackURL != nil && !strings.HasPrefix(other, "http://192.0.2.1/cb/") {
					t.Errorf("a room without one was sent with %q", other)
				}
			})
		}
	})

	t.Run("are redacted in webhooks", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		r := webhooktest.NewReceiver(t)
		w.workTelling(webhooktest.Subscribe(t, r))
		w.called(webhooktest.NewReceiver(t))
		for range 3 {
			d := r.Next(t)
			if strings.Contains(d.Raw, "S3CR3T") ||
				d.Body.Type == tasks.SnapshotEnded && !strings.Contains(d.Raw, `"CallbackURL":"http://127.0.0.1:`) {
				t.Errorf("%s", d.Raw)
			}
		}
	})
}

// event returns a callback with its objects flattened to dotted names.
func event(t *testing.T, d webhooktest.Delivery) map[string]any {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(d.Raw), &body); err != nil {
		t.Fatal(err)
	}
	return flat(body)
}

func flat(m map[string]any) map[string]any {
	all := map[string]any{}
	for name, value := range m {
		if inner, ok := value.(map[string]any); ok {
			for k, v := range flat(inner) {
				all[name+"."+k] = v
			}
		} else {
			all[name] = value
		}
	}
	return all
}

// describe returns the response of DescribeSnapshotTask, flattened.
func (w world) describe(task string) map[string]any {
	w.Helper()
	req := tiw.NewDescribeSnapshotTaskRequest()
	req.TaskID, req.SdkAppId = common.StringPtr(task), common.Uint64Ptr(app)
	response, err := workertest.API(w, w.sim, tiw.Options{}).DescribeSnapshotTask(w.Context(), req)
	if err != nil {
		w.Fatal(err)
	}
	b, err := json.Marshal(response)
	var m map[string]any
	if err != nil || json.Unmarshal(b, &m) != nil {
		w.Fatalf("%s, %v", b, err)
	}
	delete(m, "RequestId")
	return flat(m)
}

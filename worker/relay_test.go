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
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web/callback"
	"tiwsnap/webhook"
	"tiwsnap/webhook/webhooktest"
	"tiwsnap/worker"
	"tiwsnap/worker/workertest"
)

// callbackLog has the callbacks that Tencent has sent to tiwsnap, by TaskID, and the last one without a TaskID.
type callbackLog struct {
	mu     sync.Mutex
	bodies map[string]string
}

func (h *callbackLog) body(task string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if body, ok := h.bodies[task]; ok {
		return body
	}
	return h.bodies[""]
}

// workWithRelay starts a worker that receives callbacks and may call these receivers. It sends only the webhooks of
// CallbackURLs.
func (w world) workWithRelay(receivers ...webhooktest.Receiver) *callbackLog {
	w.Helper()
	keys := tiw.NewCallbackKeys("0123456789abcdef0123456789abcdef")
	own := callback.NewHandler(callback.Options{Keys: keys, Record: w.ledger.Callback})
	h := &callbackLog{bodies: map[string]string{}}
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

func roomSeq(rooms ...tasks.Room) iter.Seq2[tasks.Room, error] {
	return func(yield func(tasks.Room, error) bool) {
		for _, r := range rooms {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// runBatch enqueues a batch "a" of two rooms, the first with its own CallbackURL, and waits for its end.
func (w world) runBatch(r webhooktest.Receiver) {
	w.Helper()
	_, err := w.queue.Batch(w.Context(), roomSeq(
		tasks.Room{RoomId: 1, CallbackURL: r.URL + "/own?token=S3CR3T"}, tasks.Room{RoomId: 2},
	), enqueue.BatchOptions{ID: "a", Defaults: tasks.Room{SdkAppId: app, CallbackURL: r.URL + "/batch"}})
	if err != nil {
		w.Fatal(err)
	}
	w.waitForEnd("a")
}

func TestRelayedCallbacks(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("have the body that Tencent sent", func(t *testing.T) {
		for _, envelope := range []tiwtest.Envelope{tiwtest.EnvelopeTIW, tiwtest.EnvelopeFlat, tiwtest.EnvelopeResult,
			tiwtest.EnvelopeEmpty} {
			for _, failure := range []float64{0, 1} {
				t.Run(fmt.Sprintf("%s, failure %v", envelope, failure), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, redistest.Client(t), tiwtest.Options{
						Envelope: envelope, CallbackKey: "key", TaskFailure: failure,
					})
					r := webhooktest.NewReceiver(t)
					h := w.workWithRelay(r)
					w.runBatch(r)
					seen := map[string]string{}
					for range 2 {
						d := r.Next(t)
						seen[d.Path] = d.Raw
					}
					want := map[string]string{"/own?token=S3CR3T": h.body(w.snapshot("a.1").TaskID),
						"/batch": h.body(w.snapshot("a.2").TaskID)}
					if diff := cmp.Diff(want, seen); diff != "" || want["/batch"] == "" {
						t.Errorf("callbacks (-want +got):\n%s", diff)
					}
					if tasks := slices.Collect(w.sim.Tasks()); len(tasks) != 2 || strings.Contains(tasks[0].CallbackURL, r.URL) {
						t.Errorf("tasks at Tencent = %+v", tasks)
					}
				})
			}
		}
	})

	t.Run("are made from the result if Tencent's callback was lost", func(t *testing.T) {
		for _, failure := range []float64{0, 1} {
			t.Run(fmt.Sprintf("failure %v", failure), func(t *testing.T) {
				t.Parallel()
				// The callbacks that Tencent sends itself.
				direct := newWorld(t, redistest.Client(t), tiwtest.Options{TaskFailure: failure})
				tencent := webhooktest.NewReceiver(t)
				direct.workWith(worker.Options{})
				direct.runBatch(tencent)

				w := newWorld(t, redistest.Client(t), tiwtest.Options{
					TaskFailure: failure, Faults: tiwtest.Faults{CallbackLost: 1},
				})
				r := webhooktest.NewReceiver(t)
				w.workWithRelay(r)
				w.runBatch(r)
				for range 2 {
					got, want := flatEvent(t, r.Next(t)), flatEvent(t, tencent.Next(t))
					if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
						t.Errorf("fields differ from Tencent's callback (-want +got):\n%s", diff)
					}
					answer := w.describe(got["EventData.TaskID"].(string))
					for field, value := range answer {
						if at, ok := value.(float64); ok && strings.HasSuffix(field, "Time") {
							if d := got["EventData."+field].(float64) - at; d < -1 || d > 30 {
								t.Errorf("%s is %v, want about %v", field, got["EventData."+field], at)
							}
						} else if diff := cmp.Diff(value, got["EventData."+field]); diff != "" {
							t.Errorf("%s (-want +got):\n%s", field, diff)
						}
					}
					if got["EventType"] != want["EventType"] || got["SdkAppId"] != want["SdkAppId"] {
						t.Errorf("callback = %v, want the EventType and SdkAppId of %v", got, want)
					}
				}
			})
		}
	})

	t.Run("report a room that Tencent refuses", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
		r := webhooktest.NewReceiver(t)
		w.workWithRelay(r)
		w.runBatch(r)
		for range 2 {
			d := r.Next(t)
			got := flatEvent(t, d)
			room := 2.0
			if d.Path == "/own?token=S3CR3T" {
				room = 1
			}
			if got["EventData.TaskID"] != "" || got["EventData.RoomId"] != room || got["EventData.Status"] != "Finished" ||
				got["EventData.Result.ErrorCode"] != "InvalidParameter" || got["EventData.Result.ErrorMessage"] == "" {
				t.Errorf("callback to %s = %s", d.Path, d.Raw)
			}
		}
	})

	t.Run("are retried under the same id until the receiver accepts them", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		r := webhooktest.NewReceiver(t)
		r.Answer <- http.StatusServiceUnavailable
		r.Answer <- http.StatusServiceUnavailable
		w.workWithRelay(r)
		w.runBatch(r)
		count := map[string]int{}
		for range 4 {
			d := r.Next(t)
			count[d.Path+" "+d.ID]++
		}
		if len(count) != 2 {
			t.Errorf("requests by path and id = %v, want 2", count)
		}
		webhooktest.WaitForTasks(w, 2, asynq.NewInspectorFromRedisClient(w.rdb).ListCompletedTasks)
	})

	t.Run("become dead letters if the host is not allowed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		r, other := webhooktest.NewReceiver(t), webhooktest.NewReceiver(t)
		w.workWithRelay(other)
		w.runBatch(r)
		for _, info := range webhooktest.WaitForTasks(w, 2, asynq.NewInspectorFromRedisClient(w.rdb).ListArchivedTasks) {
			if want := r.Listener.Addr().String() + ": not among the hosts that webhooks may go to"; info.LastErr != want {
				t.Errorf("LastErr = %q, want %q", info.LastErr, want)
			}
		}
		if len(r.Got)+len(other.Got) > 0 {
			t.Error("a callback was sent to a host that is not allowed")
		}
	})

	t.Run("are left to Tencent if tiwsnap receives no callbacks or sends no webhooks", func(t *testing.T) {
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
				w.runBatch(r)
				w.enqueue("b", 1)
				w.waitForEnd("b")
				paths := []string{r.Next(t).Path, r.Next(t).Path}
				slices.Sort(paths)
				if !slices.Equal(paths, []string{"/batch", "/own?token=S3CR3T"}) {
					t.Errorf("paths of the callbacks = %v", paths)
				}
				var other string
				for task := range w.sim.Tasks() {
					if !strings.HasPrefix(task.CallbackURL, r.URL) {
						other = task.CallbackURL
					}
				}
				if want := o.OtherCallbackURL; o.CallbackURL == nil && other != want ||
					o.CallbackURL != nil && !strings.HasPrefix(other, "http://192.0.2.1/cb/") {
					t.Errorf("CallbackURL of a room without its own = %q", other)
				}
			})
		}
	})

	t.Run("are redacted in webhooks", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		r := webhooktest.NewReceiver(t)
		w.workWithWebhooks(webhooktest.Subscribe(t, r))
		w.runBatch(webhooktest.NewReceiver(t))
		for range 3 {
			d := r.Next(t)
			if strings.Contains(d.Raw, "S3CR3T") ||
				d.Body.Type == tasks.SnapshotEnded && !strings.Contains(d.Raw, `"CallbackURL":"http://127.0.0.1:`) {
				t.Errorf("webhook = %s", d.Raw)
			}
		}
	})
}

// flatEvent returns a callback with its objects flattened to dotted names.
func flatEvent(t *testing.T, d webhooktest.Delivery) map[string]any {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(d.Raw), &body); err != nil {
		t.Fatal(err)
	}
	return flatten(body)
}

func flatten(m map[string]any) map[string]any {
	all := map[string]any{}
	for name, value := range m {
		if inner, ok := value.(map[string]any); ok {
			for k, v := range flatten(inner) {
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
		w.Fatalf("response of DescribeSnapshotTask = %s, %v", b, err)
	}
	delete(m, "RequestId")
	return flatten(m)
}

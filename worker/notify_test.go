package worker_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/internal/guard"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/webhook"
	"tiwsnap/worker"
)

// receiver is a server that webhooks go to.
type receiver struct {
	*httptest.Server
	got    chan delivery
	answer chan int // the status of each answer; 200 where there is none
}

// delivery is one request that came to a receiver.
type delivery struct {
	id, path string
	raw      string
	body     struct {
		Type      string
		Timestamp time.Time
		Data      json.RawMessage
	}
}

func newReceiver(t *testing.T) receiver {
	r := receiver{got: make(chan delivery, 1000), answer: make(chan int, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		d := delivery{id: req.Header.Get("webhook-id"), path: req.URL.RequestURI()}
		b, _ := io.ReadAll(req.Body)
		d.raw = string(b)
		if strings.HasPrefix(d.raw, `{"type":`) || !json.Valid(b) { // else it is a callback
			if err := json.Unmarshal(b, &d.body); err != nil {
				t.Errorf("a body that is not JSON: %v", err)
			}
		}
		select {
		case status := <-r.answer:
			w.WriteHeader(status)
		default:
		}
		r.got <- d
	}))
	t.Cleanup(r.Close)
	return r
}

// next waits for the next delivery.
func (r receiver) next(t *testing.T) delivery {
	t.Helper()
	select {
	case d := <-r.got:
		return d
	case <-time.After(30 * time.Second):
		t.Fatal("no webhook came within 30 s")
		panic("unreachable")
	}
}

// telling is a worker's share that sends webhooks to these receivers, the
// first of which is the default one.
func telling(t *testing.T, receivers ...receiver) worker.Webhooks {
	t.Helper()
	return tellingWithin(t, 0, receivers...)
}

// tellingWithin is telling with a timeout for each request.
func tellingWithin(t *testing.T, timeout time.Duration, receivers ...receiver) worker.Webhooks {
	t.Helper()
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	o := webhook.Options{Secrets: []webhook.Secret{secret}, HTTP: true, Timeout: timeout}
	for _, r := range receivers {
		o.Hosts = append(o.Hosts, r.Listener.Addr().String())
	}
	if o.Private, err = guard.ParsePrivate([]string{"127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	sender, err := webhook.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sender.Close)
	return worker.Webhooks{Sender: sender, URL: receivers[0].URL, Snapshots: true, Batches: true, Schedules: true}
}

// workTelling starts a worker that sends webhooks, until the test ends.
func (w world) workTelling(tell worker.Webhooks) {
	w.Helper()
	w.workWith(worker.Options{Webhooks: tell})
}

// workWith starts a worker with these options and some more, until the test ends.
func (w world) workWith(o worker.Options) {
	w.Helper()
	api, err := tiw.New(tiw.Options{Endpoint: w.sim.URL, Credential: common.NewCredential(tiwtest.DefaultSecret, tiwtest.DefaultSecret)})
	if err != nil {
		w.Fatal(err)
	}
	o.Redis, o.TIW, o.ConfirmAfter = w.rdb, api, 200*time.Millisecond
	o.Log = slog.New(slog.NewTextHandler(w.Output(), nil))
	w.run(o)
}

// webhooks waits until asynq has this many of them in a state.
func (w world) webhooks(n int, list func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)) []*asynq.TaskInfo {
	w.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		infos, err := list(keys.Default.QueueWebhooks(), asynq.PageSize(10000))
		if err == nil && len(infos) == n {
			return infos
		}
		select {
		case <-deadline:
			w.Fatalf("not within 30 s: %d webhooks; there are %v, %v", n, infos, err)
		case <-tick.C:
		}
	}
}

// record makes the record of a batch that has ended.
func (w world) record(id string, ended time.Time) {
	w.Helper()
	if err := w.rdb.HSet(w.Context(), keys.Default.Batch(id), "total", 1, "succeeded", 1, "created_at", 1, "ended_at", ended.UnixMilli()).Err(); err != nil {
		w.Fatal(err)
	}
}

// endedBatches makes records and notices of batches that have ended, to be told
// to a receiver of their own; "" is the one of the settings.
func (w world) endedBatches(name string, n int, url string) {
	w.Helper()
	at := time.Now()
	_, err := w.rdb.Pipelined(w.Context(), func(p redis.Pipeliner) error {
		for i := range n {
			id := fmt.Sprintf("%s-%d", name, i)
			p.HSet(w.Context(), keys.Default.Batch(id), "total", 1, "succeeded", 1, "created_at", 1, "ended_at", at.UnixMilli())
			if url != "" {
				p.HSet(w.Context(), keys.Default.Batch(id), "webhook", url)
			}
			member := fmt.Sprintf("batch:%d:%s", at.UnixMilli(), id)
			p.ZAdd(w.Context(), keys.Default.Notices(), redis.Z{Score: 1, Member: member})
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
}

// put puts a webhook on its queue as the announcer does.
func (w world) put(p tasks.NotifyPayload) {
	w.Helper()
	task, err := p.Task(tasks.DefaultNamespace)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := asynq.NewClientFromRedisClient(w.rdb).Enqueue(task); err != nil {
		w.Fatal(err)
	}
}

func TestEndsAreTold(t *testing.T) {
	t.Run("each of a snapshot and of a batch once, by three workers", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		r := newReceiver(t)
		for range 3 {
			w.workTelling(telling(t, r))
		}
		w.enqueue("a", 20)
		batch := w.ended("a")
		seen := map[string]delivery{}
		for range 21 {
			d := r.next(t)
			if _, twice := seen[d.id]; twice {
				t.Errorf("%s came twice", d.id)
			}
			seen[d.id] = d
		}
		s, err := w.ledger.Snapshot(t.Context(), "a.7")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []struct {
			event, ref string
			at         time.Time
			data       any
		}{
			{tasks.SnapshotEnded, "a.7", s.EndedAt, results.Explain(s)},
			{tasks.BatchEnded, "a", batch.EndedAt, batch},
		} {
			d, ok := seen[tasks.NewNotify(want.event, want.ref, want.at, "").ID]
			data, err := json.Marshal(want.data)
			if err != nil || !ok || d.body.Type != want.event || !d.body.Timestamp.Equal(want.at) {
				t.Errorf("%s %s: told as %+v, %v", want.event, want.ref, d, err)
			}
			if diff := cmp.Diff(string(data), string(d.body.Data)); diff != "" {
				t.Errorf("%s %s:\n%s", want.event, want.ref, diff)
			}
		}
		w.webhooks(21, asynq.NewInspectorFromRedisClient(w.rdb).ListCompletedTasks)
		if n := w.rdb.ZCard(t.Context(), keys.Default.Notices()).Val(); n != 0 || len(r.got) != 0 {
			t.Errorf("%d notices are left, %d webhooks came late", n, len(r.got))
		}
	})

	t.Run("with what a code means, where one failed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
		r := newReceiver(t)
		tell := telling(t, r)
		tell.Batches = false
		w.workTelling(tell)
		w.enqueue("a", 1)
		var data struct{ State, Code, Meaning, Fix string }
		d := r.next(t)
		if err := json.Unmarshal(d.body.Data, &data); err != nil || data.State != "failed" || data.Code != "InvalidParameter" || data.Meaning == "" || data.Fix == "" {
			t.Errorf("%s, %v", d.body.Data, err)
		}
	})

	t.Run("to the receiver that the batch names", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		first, own := newReceiver(t), newReceiver(t)
		tell := telling(t, first, own)
		tell.Snapshots = false
		w.enqueue("a", 1)
		w.enqueue("b", 1)
		w.rdb.HSet(t.Context(), keys.Default.Batch("b"), "webhook", own.URL+"/b")
		w.workTelling(tell)
		if d := own.next(t); d.path != "/b" || d.body.Type != tasks.BatchEnded {
			t.Errorf("%+v", d)
		}
		first.next(t)
		if len(first.got)+len(own.got) != 0 {
			t.Error("more was told")
		}
	})
}

func TestDelivery(t *testing.T) {
	// told is a world with a batch that has ended, and the webhook for it.
	told := func(t *testing.T) (world, tasks.NotifyPayload) {
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		at := time.Now()
		w.record("a", at)
		return w, tasks.NewNotify(tasks.BatchEnded, "a", at, "")
	}

	t.Run("is tried again, under the same id and ever later, until the receiver takes it", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		r := newReceiver(t)
		for _, status := range []int{http.StatusServiceUnavailable, http.StatusNotFound, http.StatusInternalServerError} {
			r.answer <- status
		}
		w.put(p)
		w.workTelling(telling(t, r))
		for range 3 {
			if d := r.next(t); d.id != p.ID {
				t.Errorf("told as %s, not %s", d.id, p.ID)
			}
		}
		inspector := asynq.NewInspectorFromRedisClient(w.rdb)
		info := w.webhooks(1, inspector.ListRetryTasks)[0]
		// 4 to 8 s, in whole seconds.
		if d := info.NextProcessAt.Sub(info.LastFailedAt); d < 3*time.Second || d > 9*time.Second || info.Retried != 3 {
			t.Errorf("after the third try the next one comes in %s: %+v", d, info)
		}
		if err := inspector.RunTask(keys.Default.QueueWebhooks(), p.ID); err != nil {
			t.Fatal(err)
		}
		if d := r.next(t); d.id != p.ID {
			t.Errorf("told as %s, not %s", d.id, p.ID)
		}
		w.webhooks(1, inspector.ListCompletedTasks)
	})

	t.Run("is left alone for as long as the receiver asks", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1800")
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		defer busy.Close()
		w.put(p)
		w.workTelling(telling(t, receiver{Server: busy}))
		info := w.webhooks(1, asynq.NewInspectorFromRedisClient(w.rdb).ListRetryTasks)[0]
		if left := time.Until(info.NextProcessAt); left < 25*time.Minute || left > 31*time.Minute {
			t.Errorf("again in %s", left)
		}
	})

	t.Run("ends as dead where the receiver wants no more, and can be sent again", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		r := newReceiver(t)
		r.answer <- http.StatusGone
		w.put(p)
		w.workTelling(telling(t, r))
		r.next(t)
		inspector := asynq.NewInspectorFromRedisClient(w.rdb)
		info := w.webhooks(1, inspector.ListArchivedTasks)[0]
		if want := r.Listener.Addr().String() + " answered 410 Gone: it wants no more webhooks"; info.LastErr != want || info.ID != p.ID {
			t.Errorf("%+v", info)
		}
		if err := webhook.NewOutbox(w.rdb, keys.Default).ReturnAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := inspector.RunTask(keys.Default.QueueWebhooks(), p.ID); err != nil {
			t.Fatal(err)
		}
		if d := r.next(t); d.id != p.ID {
			t.Errorf("%+v", d)
		}
		w.webhooks(1, inspector.ListCompletedTasks)
	})

	t.Run("ends as dead after a day, and where the URL may not be sent to", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		r := newReceiver(t)
		r.answer <- http.StatusBadGateway
		other, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		w.put(tasks.NewNotify(p.Type, p.Ref, time.Now().Add(-24*time.Hour-time.Second), ""))
		w.put(tasks.NewNotify(p.Type, p.Ref, time.Now(), "http://"+other.Addr().String()))
		w.workTelling(telling(t, r))
		w.webhooks(2, asynq.NewInspectorFromRedisClient(w.rdb).ListArchivedTasks)
		if len(r.got) != 1 {
			t.Errorf("%d webhooks came", len(r.got))
		}
	})

	t.Run("is dropped where the record is gone or goes on", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		r := newReceiver(t)
		w.rdb.HSet(t.Context(), keys.Default.Batch("running"), "total", 1, "created_at", 1)
		w.put(tasks.NewNotify(tasks.BatchEnded, "running", time.Now(), ""))
		w.put(tasks.NewNotify(tasks.BatchEnded, "gone", time.Now(), ""))
		w.put(tasks.NewNotify(tasks.SnapshotEnded, "gone.1", time.Now(), ""))
		w.put(p)
		w.workTelling(telling(t, r))
		w.webhooks(4, asynq.NewInspectorFromRedisClient(w.rdb).ListCompletedTasks)
		if d := r.next(t); d.id != p.ID || len(r.got) != 0 {
			t.Errorf("%+v and %d more came", d, len(r.got))
		}
	})

	t.Run("leaves what a newer release wrote to that", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		r := newReceiver(t)
		payload := []byte(`{"v":2,"id":"w-new","kind":"?"}`)
		if _, err := asynq.NewClientFromRedisClient(w.rdb).Enqueue(asynq.NewTask(tasks.TypeNotify, payload, asynq.Queue(keys.Default.QueueWebhooks()), asynq.TaskID("w-new"))); err != nil {
			t.Fatal(err)
		}
		w.put(p)
		w.workTelling(telling(t, r))
		r.next(t)
		info := w.webhooks(1, asynq.NewInspectorFromRedisClient(w.rdb).ListRetryTasks)[0]
		if info.ID != "w-new" {
			t.Errorf("%+v", info)
		}
	})
}

// While a receiver is away the ends wait in the ledger, where each takes a few
// bytes, and not in asynq; and not for ever.
func TestEndsWaitInTheLedger(t *testing.T) {
	t.Parallel()
	const inAsynq, more = 500, 50
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	r := newReceiver(t)
	tell := telling(t, r)
	tell.Snapshots = false
	// The queue exists once something was put on it.
	w.put(tasks.NewNotify(tasks.BatchEnded, "gone", time.Now(), ""))
	if err := inspector.PauseQueue(keys.Default.QueueWebhooks()); err != nil {
		t.Fatal(err)
	}
	w.endedBatches("new", inAsynq+more, "")
	ended := time.Now().Add(-25 * time.Hour)
	w.record("old", ended)
	w.rdb.ZAdd(t.Context(), keys.Default.Notices(), redis.Z{Score: 1, Member: fmt.Sprintf("batch:%d:old", ended.UnixMilli())})
	w.workTelling(tell)
	w.webhooks(1+inAsynq, inspector.ListPendingTasks)
	notices := func() int64 { return w.rdb.ZCard(t.Context(), keys.Default.Notices()).Val() }
	w.eventually("the others wait in the ledger", func() bool { return notices() == more })

	if err := inspector.UnpauseQueue(keys.Default.QueueWebhooks()); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for range inAsynq + more {
		var data struct{ ID string }
		if err := json.Unmarshal(r.next(t).body.Data, &data); err != nil {
			t.Fatal(err)
		}
		told[data.ID] = true
	}
	w.webhooks(1+inAsynq+more, inspector.ListCompletedTasks)
	if n := notices(); n != 0 || len(told) != inAsynq+more || told["old"] {
		t.Errorf("%d notices are left; told were %d", n, len(told))
	}
	if n := w.rdb.Exists(t.Context(), keys.Default.WebhooksQueued("default")).Val(); n != 0 {
		t.Error("the places of webhooks that were delivered are still taken")
	}
}

// A receiver that hangs has 8 requests at most, and holds up nobody else.
func TestReceiverThatHangs(t *testing.T) {
	t.Parallel()
	const events = 700 // more than may be in asynq for one host
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	healthy := newReceiver(t)
	var underWay, most, ended atomic.Int64
	hanging := receiver{Server: httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n := underWay.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		io.Copy(io.Discard, r.Body) // or the server does not see that the sender has gone
		<-r.Context().Done()
		underWay.Add(-1)
		ended.Add(1)
	}))}
	t.Cleanup(hanging.Close)
	t.Cleanup(hanging.CloseClientConnections)
	w.endedBatches("stuck", events, hanging.URL)
	w.workTelling(tellingWithin(t, 2*time.Minute, healthy, hanging))
	w.eventually("the receiver that hangs has its share", func() bool { return underWay.Load() >= 8 })
	for i := range 5 {
		w.endedBatches(fmt.Sprintf("well-%d", i), 10, "")
		for range 10 {
			healthy.next(t)
		}
	}
	if m := most.Load(); m != 8 || ended.Load() != 0 {
		t.Errorf("%d requests were under way to one host, want 8; %d have ended, want none", m, ended.Load())
	}
}

// A receiver that has answered 410 is sent nothing more of what it said that
// for, until a person has a webhook of it resent.
func TestReceiverIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	outbox := webhook.NewOutbox(w.rdb, keys.Default)
	r, own := newReceiver(t), newReceiver(t)
	tell := telling(t, r, own)
	tell.Snapshots = false
	r.answer <- http.StatusGone
	w.endedBatches("first", 1, "")
	w.workTelling(tell)
	r.next(t)
	first := w.webhooks(1, inspector.ListArchivedTasks)[0]
	w.endedBatches("later", 50, "")
	w.endedBatches("own", 1, own.URL+"/a?key=secret")
	if d := own.next(t); d.path != "/a?key=secret" {
		t.Errorf("%+v", d)
	}
	w.eventually("nothing waits", func() bool {
		return w.rdb.ZCard(t.Context(), keys.Default.Notices()).Val() == 0
	})
	gone, err := outbox.ListGone(t.Context())
	if err != nil || len(gone) != 1 || gone[0].Host != r.Listener.Addr().String() || gone[0].Batch != "" {
		t.Errorf("gone: %+v, %v", gone, err)
	}
	if len(r.got) != 0 {
		t.Errorf("%d webhooks were sent to a receiver that is gone", len(r.got))
	}

	if err := outbox.Return(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := inspector.RunTask(keys.Default.QueueWebhooks(), first.ID); err != nil {
		t.Fatal(err)
	}
	if d := r.next(t); d.id != first.ID {
		t.Errorf("%+v", d)
	}
	w.endedBatches("again", 1, "")
	r.next(t)
}

package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
	"tiwsnap/webhook"
	"tiwsnap/webhook/webhooktest"
)

// site is a Redis with a ledger.
type site struct {
	*testing.T
	rdb       *redis.Client
	ledger    *ledger.Ledger
	inspector *asynq.Inspector
}

func newSite(t *testing.T) site {
	c := redistest.Client(t)
	return site{t, c, ledger.New(c, ledger.Options{}), asynq.NewInspectorFromRedisClient(c)}
}

// dispatch runs a dispatcher until the test ends.
func (w site) dispatch(tell webhook.Subscription) {
	w.Helper()
	d := webhook.NewDispatcher(webhook.DispatcherOptions{
		Redis: w.rdb, Ledger: w.ledger, Subscription: tell, Log: slog.New(slog.NewTextHandler(w.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	d.Subscribe(ctx)
	server := d.Server(ctx)
	if err := server.Start(d.Handler()); err != nil {
		w.Fatal(err)
	}
	var run sync.WaitGroup
	run.Go(func() { d.Run(ctx) })
	w.Cleanup(func() {
		cancel()
		run.Wait()
		server.Shutdown()
	})
}

// eventually waits until done returns true, see redistest.Until.
func (w site) eventually(what string, done func() bool) {
	w.Helper()
	redistest.Until(w, what, done)
}

// record writes the record of an ended batch.
func (w site) record(id string, ended time.Time) {
	w.Helper()
	if err := w.rdb.HSet(w.Context(), keys.Default.Batch(id), "total", 1, "succeeded", 1, "created_at", 1, "ended_at",
		ended.UnixMilli()).Err(); err != nil {
		w.Fatal(err)
	}
}

// endedBatches writes the records and notices of n ended batches. Their receiver is url;
// "" is the receiver of the settings.
func (w site) endedBatches(name string, n int, url string) {
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
			p.ZAdd(w.Context(), keys.Default.Outbox(), redis.Z{Score: 1, Member: member})
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
}

// put enqueues a webhook, as the announcer does.
func (w site) put(p tasks.NotifyPayload) {
	w.Helper()
	task, err := p.Task(tasks.DefaultNamespace)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := asynq.NewClientFromRedisClient(w.rdb).Enqueue(task); err != nil {
		w.Fatal(err)
	}
}

func TestDelivery(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	// told returns a site with an ended batch, and the webhook of its end.
	told := func(t *testing.T) (site, tasks.NotifyPayload) {
		w := newSite(t)
		at := time.Now()
		w.record("a", at)
		return w, tasks.NewNotify(tasks.BatchEnded, "a", at, "")
	}

	t.Run("is tried again, under the same id and ever later, until the receiver takes it", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		r := webhooktest.NewReceiver(t)
		for _, status := range []int{http.StatusServiceUnavailable, http.StatusNotFound, http.StatusInternalServerError} {
			r.Answer <- status
		}
		w.put(p)
		w.dispatch(webhooktest.Subscribe(t, r))
		for range 3 {
			if d := r.Next(t); d.ID != p.ID {
				t.Errorf("told as %s, not %s", d.ID, p.ID)
			}
		}
		inspector := w.inspector
		info := webhooktest.Queued(w, 1, inspector.ListRetryTasks)[0]
		// The backoff is 4 to 8 s, in whole seconds.
		if d := info.NextProcessAt.Sub(info.LastFailedAt); d < 3*time.Second || d > 9*time.Second || info.Retried != 3 {
			t.Errorf("after the third try the next one comes in %s: %+v", d, info)
		}
		if err := inspector.RunTask(keys.Default.QueueWebhooks(), p.ID); err != nil {
			t.Fatal(err)
		}
		if d := r.Next(t); d.ID != p.ID {
			t.Errorf("told as %s, not %s", d.ID, p.ID)
		}
		webhooktest.Queued(w, 1, inspector.ListCompletedTasks)
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
		w.dispatch(webhooktest.Subscribe(t, webhooktest.Receiver{Server: busy}))
		info := webhooktest.Queued(w, 1, w.inspector.ListRetryTasks)[0]
		if left := time.Until(info.NextProcessAt); left < 25*time.Minute || left > 31*time.Minute {
			t.Errorf("again in %s", left)
		}
	})

	t.Run("ends as dead where the receiver wants no more, and can be sent again", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		r := webhooktest.NewReceiver(t)
		r.Answer <- http.StatusGone
		w.put(p)
		w.dispatch(webhooktest.Subscribe(t, r))
		r.Next(t)
		inspector := w.inspector
		info := webhooktest.Queued(w, 1, inspector.ListArchivedTasks)[0]
		if want := r.Listener.Addr().String() + " answered 410 Gone: it wants no more webhooks"; info.LastErr != want ||
			info.ID != p.ID {
			t.Errorf("%+v", info)
		}
		if err := webhook.NewOutbox(w.rdb, keys.Default).ReturnAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := inspector.RunTask(keys.Default.QueueWebhooks(), p.ID); err != nil {
			t.Fatal(err)
		}
		if d := r.Next(t); d.ID != p.ID {
			t.Errorf("%+v", d)
		}
		webhooktest.Queued(w, 1, inspector.ListCompletedTasks)
	})

	t.Run("ends as dead after a day, and where the URL may not be sent to", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		r := webhooktest.NewReceiver(t)
		r.Answer <- http.StatusBadGateway
		other, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		w.put(tasks.NewNotify(p.Type, p.Ref, time.Now().Add(-24*time.Hour-time.Second), ""))
		w.put(tasks.NewNotify(p.Type, p.Ref, time.Now(), "http://"+other.Addr().String()))
		w.dispatch(webhooktest.Subscribe(t, r))
		webhooktest.Queued(w, 2, w.inspector.ListArchivedTasks)
		if len(r.Got) != 1 {
			t.Errorf("%d webhooks came", len(r.Got))
		}
	})

	t.Run("is dropped where the record is gone or goes on", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		r := webhooktest.NewReceiver(t)
		w.rdb.HSet(t.Context(), keys.Default.Batch("running"), "total", 1, "created_at", 1)
		w.put(tasks.NewNotify(tasks.BatchEnded, "running", time.Now(), ""))
		w.put(tasks.NewNotify(tasks.BatchEnded, "gone", time.Now(), ""))
		w.put(tasks.NewNotify(tasks.SnapshotEnded, "gone.1", time.Now(), ""))
		w.put(p)
		w.dispatch(webhooktest.Subscribe(t, r))
		webhooktest.Queued(w, 4, w.inspector.ListCompletedTasks)
		if d := r.Next(t); d.ID != p.ID || len(r.Got) != 0 {
			t.Errorf("%+v and %d more came", d, len(r.Got))
		}
	})

	t.Run("leaves what a newer release wrote to that", func(t *testing.T) {
		t.Parallel()
		w, p := told(t)
		r := webhooktest.NewReceiver(t)
		payload := []byte(`{"v":2,"id":"w-new","kind":"?"}`)
		if _, err := asynq.NewClientFromRedisClient(w.rdb).Enqueue(asynq.NewTask(tasks.TypeNotify, payload,
			asynq.Queue(keys.Default.QueueWebhooks()), asynq.TaskID("w-new"))); err != nil {
			t.Fatal(err)
		}
		w.put(p)
		w.dispatch(webhooktest.Subscribe(t, r))
		r.Next(t)
		info := webhooktest.Queued(w, 1, w.inspector.ListRetryTasks)[0]
		if info.ID != "w-new" {
			t.Errorf("%+v", info)
		}
	})
}

// While a receiver is down, ends wait in the ledger, where each takes a few bytes, and
// not in asynq. They do not wait forever.
func TestEndsWaitInTheLedger(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const inAsynq, more = 500, 50
	w := newSite(t)
	inspector := w.inspector
	r := webhooktest.NewReceiver(t)
	tell := webhooktest.Subscribe(t, r)
	tell.Snapshots = false
	// A queue exists only after a task was enqueued.
	w.put(tasks.NewNotify(tasks.BatchEnded, "gone", time.Now(), ""))
	if err := inspector.PauseQueue(keys.Default.QueueWebhooks()); err != nil {
		t.Fatal(err)
	}
	w.endedBatches("new", inAsynq+more, "")
	ended := time.Now().Add(-25 * time.Hour)
	w.record("old", ended)
	w.rdb.ZAdd(t.Context(), keys.Default.Outbox(), redis.Z{
		Score: 1, Member: fmt.Sprintf("batch:%d:old", ended.UnixMilli()),
	})
	w.dispatch(tell)
	webhooktest.Queued(w, 1+inAsynq, inspector.ListPendingTasks)
	notices := func() int64 { return w.rdb.ZCard(t.Context(), keys.Default.Outbox()).Val() }
	w.eventually("the others wait in the ledger", func() bool { return notices() == more })

	if err := inspector.UnpauseQueue(keys.Default.QueueWebhooks()); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for range inAsynq + more {
		var data struct{ ID string }
		if err := json.Unmarshal(r.Next(t).Body.Data, &data); err != nil {
			t.Fatal(err)
		}
		told[data.ID] = true
	}
	webhooktest.Queued(w, 1+inAsynq+more, inspector.ListCompletedTasks)
	if n := notices(); n != 0 || len(told) != inAsynq+more || told["old"] {
		t.Errorf("%d notices are left; told were %d", n, len(told))
	}
	if n := w.rdb.Exists(t.Context(), keys.Default.WebhooksQueued("default")).Val(); n != 0 {
		t.Error("the places of webhooks that were delivered are still taken")
	}
}

// A receiver that hangs gets at most 8 requests at once, and does not delay the others.
func TestReceiverThatHangs(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const events = 700 // more than may be in asynq for one host
	w := newSite(t)
	healthy := webhooktest.NewReceiver(t)
	var underWay, most, ended atomic.Int64
	atTheEnd := make(chan struct{})
	hang := func(_ http.ResponseWriter, r *http.Request) {
		n := underWay.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		io.Copy(io.Discard, r.Body) // else the server does not notice that the sender disconnects
		select {
		case <-r.Context().Done():
		case <-atTheEnd: // else the dispatcher waits for it before it ends
		}
		underWay.Add(-1)
		ended.Add(1)
	}
	hanging := webhooktest.Receiver{Server: httptest.NewServer(http.HandlerFunc(hang))}
	t.Cleanup(hanging.Close)
	w.endedBatches("stuck", events, hanging.URL)
	w.dispatch(webhooktest.SubscribeWithin(t, 2*time.Minute, healthy, hanging))
	t.Cleanup(func() { close(atTheEnd) })
	w.eventually("the receiver that hangs has its share", func() bool { return underWay.Load() >= 8 })
	for i := range 5 {
		w.endedBatches(fmt.Sprintf("well-%d", i), 10, "")
		for range 10 {
			healthy.Next(t)
		}
	}
	if m := most.Load(); m != 8 || ended.Load() != 0 {
		t.Errorf("%d requests were under way to one host, want 8; %d have ended, want none", m, ended.Load())
	}
}

// A receiver that has answered 410 gets no more webhooks from the settings or the batch
// that named it, until a person resends one.
func TestReceiverIsGone(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newSite(t)
	inspector := w.inspector
	outbox := webhook.NewOutbox(w.rdb, keys.Default)
	r, own := webhooktest.NewReceiver(t), webhooktest.NewReceiver(t)
	tell := webhooktest.Subscribe(t, r, own)
	tell.Snapshots = false
	r.Answer <- http.StatusGone
	w.endedBatches("first", 1, "")
	w.dispatch(tell)
	r.Next(t)
	first := webhooktest.Queued(w, 1, inspector.ListArchivedTasks)[0]
	w.endedBatches("later", 50, "")
	w.endedBatches("own", 1, own.URL+"/a?key=secret")
	if d := own.Next(t); d.Path != "/a?key=secret" {
		t.Errorf("%+v", d)
	}
	w.eventually("nothing waits", func() bool {
		return w.rdb.ZCard(t.Context(), keys.Default.Outbox()).Val() == 0
	})
	gone, err := outbox.ListGone(t.Context())
	if err != nil || len(gone) != 1 || gone[0].Host != r.Listener.Addr().String() || gone[0].Batch != "" {
		t.Errorf("gone: %+v, %v", gone, err)
	}
	if len(r.Got) != 0 {
		t.Errorf("%d webhooks were sent to a receiver that is gone", len(r.Got))
	}

	if err := outbox.Return(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := inspector.RunTask(keys.Default.QueueWebhooks(), first.ID); err != nil {
		t.Fatal(err)
	}
	if d := r.Next(t); d.ID != first.ID {
		t.Errorf("%+v", d)
	}
	w.endedBatches("again", 1, "")
	r.Next(t)
}

func TestFailedTickIsTold(t *testing.T) {
	needs.Time(t)
	s := schedule.Schedule{Name: "s", Cron: "@yearly", Zone: "UTC"}
	// fail records a failed tick.
	fail := func(w site) schedule.Outcome {
		w.Helper()
		at := time.Now().Truncate(time.Millisecond)
		o := schedule.Outcome{Tick: at.Add(-time.Hour), At: at, Result: schedule.Failed, Error: "it answers 404 Not Found"}
		first, err := schedule.NewStore(w.rdb, keys.Default).Settle(w.Context(), s, o)
		if err != nil || !first {
			w.Fatal(first, err)
		}
		return o
	}

	t.Run("also where the receiver is away at first", func(t *testing.T) {
		t.Parallel()
		w := newSite(t)
		r := webhooktest.NewReceiver(t)
		r.Answer <- http.StatusServiceUnavailable
		w.dispatch(webhooktest.Subscribe(t, r))
		o := fail(w)
		d, again := r.Next(t), r.Next(t)
		var data struct {
			Schedule, Result, Error string
			Tick, At                time.Time
		}
		if err := json.Unmarshal(d.Body.Data, &data); err != nil {
			t.Fatal(err)
		}
		if d.Body.Type != tasks.ScheduleFailed || data.Schedule != "s" || data.Result != "failed" || data.Error != o.Error ||
			!data.Tick.Equal(o.Tick) || !data.At.Equal(o.At) || !d.Body.Timestamp.Equal(o.At) {
			t.Errorf("told: %+v %s", d, d.Body.Data)
		}
		if d.ID != again.ID || string(d.Body.Data) != string(again.Body.Data) {
			t.Errorf("told %+v, then %+v", d, again)
		}
	})

	t.Run("but not where nobody wants it", func(t *testing.T) {
		t.Parallel()
		w := newSite(t)
		r := webhooktest.NewReceiver(t)
		tell := webhooktest.Subscribe(t, r)
		tell.Schedules = false
		w.dispatch(tell)
		fail(w)
		if keys := w.rdb.Keys(t.Context(), keys.Default.FailedTick("*")).Val(); len(keys) != 0 {
			t.Errorf("it is kept all the same: %v", keys)
		}
		w.endedBatches("a", 1, "") // the next webhook is that of the next end
		if d := r.Next(t); d.Body.Type != tasks.BatchEnded {
			t.Errorf("told: %+v", d)
		}
	})
}

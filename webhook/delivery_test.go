package webhook_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/tasks"
	"tiwsnap/webhook"
	"tiwsnap/webhook/webhooktest"
)

func TestDelivery(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	// batchEnded returns a site with an ended batch, and the webhook of its end.
	batchEnded := func(t *testing.T) (site, tasks.NotifyPayload) {
		w := newSite(t)
		at := time.Now()
		w.record("a", at)
		return w, tasks.NewNotify(tasks.BatchEnded, "a", at, "")
	}

	t.Run("is retried with backoff, under the same id, until the receiver accepts it", func(t *testing.T) {
		t.Parallel()
		w, p := batchEnded(t)
		r := webhooktest.NewReceiver(t)
		for _, status := range []int{http.StatusServiceUnavailable, http.StatusNotFound, http.StatusInternalServerError} {
			r.Answer <- status
		}
		w.put(p)
		w.dispatch(webhooktest.Subscribe(t, r))
		for range 3 {
			if d := r.Next(t); d.ID != p.ID {
				t.Errorf("webhook-id = %s, want %s", d.ID, p.ID)
			}
		}
		inspector := w.inspector
		info := webhooktest.WaitForTasks(w, 1, inspector.ListRetryTasks)[0]
		// The backoff is 4 to 8 s, in whole seconds.
		if d := info.NextProcessAt.Sub(info.LastFailedAt); d < 3*time.Second || d > 9*time.Second || info.Retried != 3 {
			t.Errorf("after three attempts the next retry is in %s: %+v", d, info)
		}
		if err := inspector.RunTask(keys.Default.QueueWebhooks(), p.ID); err != nil {
			t.Fatal(err)
		}
		if d := r.Next(t); d.ID != p.ID {
			t.Errorf("webhook-id = %s, want %s", d.ID, p.ID)
		}
		webhooktest.WaitForTasks(w, 1, inspector.ListCompletedTasks)
	})

	t.Run("is retried after Retry-After", func(t *testing.T) {
		t.Parallel()
		w, p := batchEnded(t)
		busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1800")
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		defer busy.Close()
		w.put(p)
		w.dispatch(webhooktest.Subscribe(t, webhooktest.Receiver{Server: busy}))
		info := webhooktest.WaitForTasks(w, 1, w.inspector.ListRetryTasks)[0]
		if left := time.Until(info.NextProcessAt); left < 25*time.Minute || left > 31*time.Minute {
			t.Errorf("the next retry is in %s, want 30 min", left)
		}
	})

	t.Run("becomes a dead letter after 410 Gone, and can be resent", func(t *testing.T) {
		t.Parallel()
		w, p := batchEnded(t)
		r := webhooktest.NewReceiver(t)
		r.Answer <- http.StatusGone
		w.put(p)
		w.dispatch(webhooktest.Subscribe(t, r))
		r.Next(t)
		inspector := w.inspector
		info := webhooktest.WaitForTasks(w, 1, inspector.ListArchivedTasks)[0]
		if want := r.Listener.Addr().String() + " answered 410 Gone: it wants no more webhooks"; info.LastErr != want ||
			info.ID != p.ID {
			t.Errorf("task = %+v", info)
		}
		if err := webhook.NewOutbox(w.rdb, keys.Default).ReturnAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := inspector.RunTask(keys.Default.QueueWebhooks(), p.ID); err != nil {
			t.Fatal(err)
		}
		if d := r.Next(t); d.ID != p.ID {
			t.Errorf("webhook-id = %s, want %s", d.ID, p.ID)
		}
		webhooktest.WaitForTasks(w, 1, inspector.ListCompletedTasks)
	})

	t.Run("becomes a dead letter after a day, and if the URL is not allowed", func(t *testing.T) {
		t.Parallel()
		w, p := batchEnded(t)
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
		webhooktest.WaitForTasks(w, 2, w.inspector.ListArchivedTasks)
		if len(r.Got) != 1 {
			t.Errorf("%d webhooks arrived, want 1", len(r.Got))
		}
	})

	t.Run("is dropped if the record has expired or has not ended", func(t *testing.T) {
		t.Parallel()
		w, p := batchEnded(t)
		r := webhooktest.NewReceiver(t)
		w.rdb.HSet(t.Context(), keys.Default.Batch("running"), "total", 1, "created_at", 1)
		w.put(tasks.NewNotify(tasks.BatchEnded, "running", time.Now(), ""))
		w.put(tasks.NewNotify(tasks.BatchEnded, "gone", time.Now(), ""))
		w.put(tasks.NewNotify(tasks.SnapshotEnded, "gone.1", time.Now(), ""))
		w.put(p)
		w.dispatch(webhooktest.Subscribe(t, r))
		webhooktest.WaitForTasks(w, 4, w.inspector.ListCompletedTasks)
		if d := r.Next(t); d.ID != p.ID || len(r.Got) != 0 {
			t.Errorf("%+v and %d more webhooks arrived, want that of %s alone", d, len(r.Got), p.ID)
		}
	})

	t.Run("leaves webhooks of a newer release alone", func(t *testing.T) {
		t.Parallel()
		w, p := batchEnded(t)
		r := webhooktest.NewReceiver(t)
		payload := []byte(`{"v":2,"id":"w-new","kind":"?"}`)
		if _, err := asynq.NewClientFromRedisClient(w.rdb).Enqueue(asynq.NewTask(tasks.TypeNotify, payload,
			asynq.Queue(keys.Default.QueueWebhooks()), asynq.TaskID("w-new"))); err != nil {
			t.Fatal(err)
		}
		w.put(p)
		w.dispatch(webhooktest.Subscribe(t, r))
		r.Next(t)
		info := webhooktest.WaitForTasks(w, 1, w.inspector.ListRetryTasks)[0]
		if info.ID != "w-new" {
			t.Errorf("task = %+v", info)
		}
	})
}

// A receiver that hangs gets at most 8 requests at once, and does not delay the others.
func TestHangingReceiver(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const events = 700 // more than may be in asynq for one host
	w := newSite(t)
	healthy := webhooktest.NewReceiver(t)
	var inFlight, peak, ended atomic.Int64
	testEnds := make(chan struct{})
	hang := func(_ http.ResponseWriter, r *http.Request) {
		n := inFlight.Add(1)
		for m := peak.Load(); n > m && !peak.CompareAndSwap(m, n); m = peak.Load() {
		}
		io.Copy(io.Discard, r.Body) // else the server does not notice that the sender disconnects
		select {
		case <-r.Context().Done():
		case <-testEnds: // else the dispatcher waits for it when it stops
		}
		inFlight.Add(-1)
		ended.Add(1)
	}
	hanging := webhooktest.Receiver{Server: httptest.NewServer(http.HandlerFunc(hang))}
	t.Cleanup(hanging.Close)
	w.endedBatches("stuck", events, hanging.URL)
	w.dispatch(webhooktest.SubscribeWithin(t, 2*time.Minute, healthy, hanging))
	t.Cleanup(func() { close(testEnds) })
	w.eventually("8 requests to the hanging receiver are in flight", func() bool { return inFlight.Load() >= 8 })
	for i := range 5 {
		w.endedBatches(fmt.Sprintf("well-%d", i), 10, "")
		for range 10 {
			healthy.Next(t)
		}
	}
	if m := peak.Load(); m != 8 || ended.Load() != 0 {
		t.Errorf("%d requests to one host in flight, want 8; %d ended, want none", m, ended.Load())
	}
}

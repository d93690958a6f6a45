package worker_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/webhook"
	"tiwsnap/webhook/webhooktest"
	"tiwsnap/worker"
	"tiwsnap/worker/workertest"
)

// workTelling runs a worker that sends webhooks until the test ends.
func (w world) workTelling(tell webhook.Subscription) {
	w.Helper()
	w.workWith(worker.Options{Webhooks: tell})
}

// workWith runs a worker with these options, and those that every test needs, until the test ends.
func (w world) workWith(o worker.Options) {
	w.Helper()
	o.Redis, o.TIW, o.ConfirmAfter = w.rdb, workertest.API(w, w.sim, tiw.Options{}), 200*time.Millisecond
	workertest.Run(w, o)
}

func TestEndsAreTold(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("each of a snapshot and of a batch once, by three workers", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		r := webhooktest.NewReceiver(t)
		for range 3 {
			w.workTelling(webhooktest.Subscribe(t, r))
		}
		w.enqueue("a", 20)
		batch := w.ended("a")
		seen := map[string]webhooktest.Delivery{}
		for range 21 {
			d := r.Next(t)
			if _, twice := seen[d.ID]; twice {
				t.Errorf("%s came twice", d.ID)
			}
			seen[d.ID] = d
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
			if err != nil || !ok || d.Body.Type != want.event || !d.Body.Timestamp.Equal(want.at) {
				t.Errorf("%s %s: told as %+v, %v", want.event, want.ref, d, err)
			}
			if diff := cmp.Diff(string(data), string(d.Body.Data)); diff != "" {
				t.Errorf("%s %s:\n%s", want.event, want.ref, diff)
			}
		}
		webhooktest.WaitForTasks(w, 21, asynq.NewInspectorFromRedisClient(w.rdb).ListCompletedTasks)
		// A worker enqueues a webhook before it removes the event from the outbox. The webhook may be delivered in
		// between.
		w.eventually("no notice is left", func() bool {
			return w.rdb.ZCard(t.Context(), keys.Default.Outbox()).Val() == 0
		})
		if n := len(r.Got); n != 0 {
			t.Errorf("%d webhooks came late", n)
		}
	})

	t.Run("with what a code means, where one failed", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
		r := webhooktest.NewReceiver(t)
		tell := webhooktest.Subscribe(t, r)
		tell.Batches = false
		w.workTelling(tell)
		w.enqueue("a", 1)
		var data struct{ State, Code, Meaning, Fix string }
		d := r.Next(t)
		if err := json.Unmarshal(d.Body.Data, &data); err != nil || data.State != "failed" ||
			data.Code != "InvalidParameter" || data.Meaning == "" || data.Fix == "" {
			t.Errorf("%s, %v", d.Body.Data, err)
		}
	})

	t.Run("to the receiver that the batch names", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		first, own := webhooktest.NewReceiver(t), webhooktest.NewReceiver(t)
		tell := webhooktest.Subscribe(t, first, own)
		tell.Snapshots = false
		w.enqueue("a", 1)
		w.enqueue("b", 1)
		w.rdb.HSet(t.Context(), keys.Default.Batch("b"), "webhook", own.URL+"/b")
		w.workTelling(tell)
		if d := own.Next(t); d.Path != "/b" || d.Body.Type != tasks.BatchEnded {
			t.Errorf("%+v", d)
		}
		first.Next(t)
		if len(first.Got)+len(own.Got) != 0 {
			t.Error("more was told")
		}
	})
}

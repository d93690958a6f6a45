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
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/webhook/webhooktest"
)

func TestWebhooksOfEnds(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("are sent once for each snapshot and batch, by three workers", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		r := webhooktest.NewReceiver(t)
		for range 3 {
			w.workWithWebhooks(webhooktest.Subscribe(t, r))
		}
		w.enqueue("a", 20)
		batch := w.waitForEnd("a")
		seen := map[string]webhooktest.Delivery{}
		for range 21 {
			d := r.Next(t)
			if _, twice := seen[d.ID]; twice {
				t.Errorf("webhook %s arrived twice", d.ID)
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
				t.Errorf("webhook %s of %s = %+v, %v", want.event, want.ref, d, err)
			}
			if diff := cmp.Diff(string(data), string(d.Body.Data)); diff != "" {
				t.Errorf("data of webhook %s of %s (-want +got):\n%s", want.event, want.ref, diff)
			}
		}
		webhooktest.WaitForTasks(w, 21, asynq.NewInspectorFromRedisClient(w.rdb).ListCompletedTasks)
		// A worker enqueues a webhook before it removes the event from the outbox. The webhook may be delivered in
		// between.
		w.eventually("the outbox is empty", func() bool {
			return w.rdb.ZCard(t.Context(), keys.Default.Outbox()).Val() == 0
		})
		if n := len(r.Got); n != 0 {
			t.Errorf("%d extra webhooks", n)
		}
	})

	t.Run("contain the meaning of the code of a failure", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{Faults: tiwtest.Faults{Code: 1, CodeName: "InvalidParameter"}})
		r := webhooktest.NewReceiver(t)
		sub := webhooktest.Subscribe(t, r)
		sub.Batches = false
		w.workWithWebhooks(sub)
		w.enqueue("a", 1)
		var data struct{ State, Code, Meaning, Fix string }
		d := r.Next(t)
		if err := json.Unmarshal(d.Body.Data, &data); err != nil || data.State != "failed" ||
			data.Code != "InvalidParameter" || data.Meaning == "" || data.Fix == "" {
			t.Errorf("data = %s, %v", d.Body.Data, err)
		}
	})

	t.Run("go to the receiver of the batch", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, redistest.Client(t), tiwtest.Options{})
		first, own := webhooktest.NewReceiver(t), webhooktest.NewReceiver(t)
		sub := webhooktest.Subscribe(t, first, own)
		sub.Snapshots = false
		w.enqueue("a", 1)
		w.enqueue("b", 1)
		w.rdb.HSet(t.Context(), keys.Default.Batch("b"), "webhook", own.URL+"/b")
		w.workWithWebhooks(sub)
		if d := own.Next(t); d.Path != "/b" || d.Body.Type != tasks.BatchEnded {
			t.Errorf("webhook = %+v", d)
		}
		first.Next(t)
		if len(first.Got)+len(own.Got) != 0 {
			t.Error("more webhooks arrived")
		}
	})
}

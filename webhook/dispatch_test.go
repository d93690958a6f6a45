package webhook_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
	"tiwsnap/webhook/webhooktest"
)

// While a receiver is down, at most 500 webhooks wait in asynq. The other notices wait in the ledger, where each takes
// a few bytes, for at most a day.
func TestNoticesWaitInTheLedger(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const inAsynq, more = 500, 50
	w := newSite(t)
	inspector := w.inspector
	r := webhooktest.NewReceiver(t)
	sub := webhooktest.Subscribe(t, r)
	sub.Snapshots = false
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
	w.dispatch(sub)
	webhooktest.WaitForTasks(w, 1+inAsynq, inspector.ListPendingTasks)
	notices := func() int64 { return w.rdb.ZCard(t.Context(), keys.Default.Outbox()).Val() }
	w.eventually("the others wait in the ledger", func() bool { return notices() == more })

	if err := inspector.UnpauseQueue(keys.Default.QueueWebhooks()); err != nil {
		t.Fatal(err)
	}
	delivered := map[string]bool{}
	for range inAsynq + more {
		var data struct{ ID string }
		if err := json.Unmarshal(r.Next(t).Body.Data, &data); err != nil {
			t.Fatal(err)
		}
		delivered[data.ID] = true
	}
	webhooktest.WaitForTasks(w, 1+inAsynq+more, inspector.ListCompletedTasks)
	if n := notices(); n != 0 || len(delivered) != inAsynq+more || delivered["old"] {
		t.Errorf("%d notices are left, want none; %d webhooks delivered, want %d", n, len(delivered), inAsynq+more)
	}
	if n := w.rdb.Exists(t.Context(), keys.Default.WebhooksQueued("default")).Val(); n != 0 {
		t.Error("delivered webhooks still count as queued")
	}
}

func TestFailedTick(t *testing.T) {
	needs.Time(t)
	s := schedule.Schedule{Name: "s", Cron: "@yearly", Zone: "UTC"}
	// fail records a failed tick.
	fail := func(w site) schedule.Outcome {
		w.Helper()
		at := time.Now().Truncate(time.Millisecond)
		o := schedule.Outcome{Tick: at.Add(-time.Hour), At: at, Result: schedule.Failed, Error: "it answers 404 Not Found"}
		first, err := schedule.NewStore(w.rdb, keys.Default).Settle(w.Context(), s, o)
		if err != nil || !first {
			w.Fatalf("Settle() = %t, %v, want true", first, err)
		}
		return o
	}

	t.Run("is reported, also after a retry", func(t *testing.T) {
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
			t.Errorf("webhook = %+v %s", d, d.Body.Data)
		}
		if d.ID != again.ID || string(d.Body.Data) != string(again.Body.Data) {
			t.Errorf("first webhook %+v, retry %+v", d, again)
		}
	})

	t.Run("is not reported without a subscription", func(t *testing.T) {
		t.Parallel()
		w := newSite(t)
		r := webhooktest.NewReceiver(t)
		sub := webhooktest.Subscribe(t, r)
		sub.Schedules = false
		w.dispatch(sub)
		fail(w)
		if keys := w.rdb.Keys(t.Context(), keys.Default.FailedTick("*")).Val(); len(keys) != 0 {
			t.Errorf("keys of failed ticks: %v, want none", keys)
		}
		w.endedBatches("a", 1, "") // the next webhook is that of the next end
		if d := r.Next(t); d.Body.Type != tasks.BatchEnded {
			t.Errorf("webhook = %+v, want that of the batch", d)
		}
	})
}

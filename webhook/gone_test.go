package webhook_test

import (
	"net/http"
	"testing"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/webhook"
	"tiwsnap/webhook/webhooktest"
)

// A receiver that has answered 410 Gone gets no more webhooks of the settings or the batch that named it, until a
// person resends one.
func TestGoneReceiver(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newSite(t)
	inspector := w.inspector
	outbox := webhook.NewOutbox(w.rdb, keys.Default)
	r, own := webhooktest.NewReceiver(t), webhooktest.NewReceiver(t)
	sub := webhooktest.Subscribe(t, r, own)
	sub.Snapshots = false
	r.Answer <- http.StatusGone
	w.endedBatches("first", 1, "")
	w.dispatch(sub)
	r.Next(t)
	first := webhooktest.WaitForTasks(w, 1, inspector.ListArchivedTasks)[0]
	w.endedBatches("later", 50, "")
	w.endedBatches("own", 1, own.URL+"/a?key=secret")
	if d := own.Next(t); d.Path != "/a?key=secret" {
		t.Errorf("webhook = %+v, want path /a?key=secret", d)
	}
	w.eventually("the outbox is empty", func() bool {
		return w.rdb.ZCard(t.Context(), keys.Default.Outbox()).Val() == 0
	})
	gone, err := outbox.ListGone(t.Context())
	if err != nil || len(gone) != 1 || gone[0].Host != r.Listener.Addr().String() || gone[0].Batch != "" {
		t.Errorf("ListGone() = %+v, %v", gone, err)
	}
	if len(r.Got) != 0 {
		t.Errorf("%d webhooks were sent to a gone receiver", len(r.Got))
	}

	if err := outbox.Return(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := inspector.RunTask(keys.Default.QueueWebhooks(), first.ID); err != nil {
		t.Fatal(err)
	}
	if d := r.Next(t); d.ID != first.ID {
		t.Errorf("webhook-id = %s, want %s", d.ID, first.ID)
	}
	w.endedBatches("again", 1, "")
	r.Next(t)
}

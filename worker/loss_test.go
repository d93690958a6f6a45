package worker_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/enqueue"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/webhook/webhooktest"
	"tiwsnap/worker"
)

// Redis loses all data while a worker runs. A webhook reports the loss and the missing batches. The same list can be
// enqueued again at any time, and its batch ends with correct counts. Extra tasks at Tencent are counted. The worker
// does not repeat requests whose task it knows.
func TestRedisIsEmptied(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	for when, wait := range map[string]func(w world, lost <-chan struct{}){
		"at once":              func(world, <-chan struct{}) {},
		"after the webhook":    func(_ world, lost <-chan struct{}) { <-lost },
		"when nothing is sent": func(w world, lost <-chan struct{}) { <-lost; w.waitUntilQuiet() },
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			const n = 40
			w := newWorld(t, redistest.Client(t), tiwtest.Options{Latency: 200 * time.Millisecond})
			r := webhooktest.NewReceiver(t)
			w.options = func(o *worker.Options) {
				o.Webhooks = webhooktest.Subscribe(t, r)
				o.Webhooks.Snapshots = false
			}
			w.spool = t.TempDir()
			w.enqueue("monday", n)
			w.work()
			w.waitForBatch("monday", "is in progress", func(b ledger.Batch) bool { return b.Succeeded > 5 })
			w.rdb.FlushDB(t.Context())

			lost := make(chan struct{})
			webhooks := make(chan webhooktest.Delivery, 10)
			go func() {
				for {
					var d webhooktest.Delivery
					select {
					case d = <-r.Got:
					case <-t.Context().Done():
						return
					}
					if d.Body.Type == tasks.DataLost {
						close(lost)
					}
					webhooks <- d
					if d.Body.Type == tasks.BatchEnded {
						return
					}
				}
			}()
			wait(w, lost)
			w.enqueue("monday", n)
			b := w.waitForEnd("monday")
			want := ledger.Batch{Total: n, Succeeded: n}
			got := ledger.Batch{Total: b.Total, Succeeded: b.Succeeded, Failed: b.Failed, Queued: b.Queued, Accepted: b.Accepted,
				Sending: b.Sending, Unknown: b.Unknown, Canceled: b.Canceled}
			if !cmp.Equal(got, want) {
				t.Errorf("batch = %+v, want %+v", got, want)
			}
			w.eventually("every extra task is counted", func() bool {
				extra, _ := w.rdb.HGet(t.Context(), w.ns.Totals(), "extra_tasks").Int()
				made := 0
				for range w.sim.Tasks() {
					made++
				}
				return n+extra == made && (when == "at once" || extra == 0)
			})
			var types []string
			for len(types) < 2 {
				select {
				case d := <-webhooks:
					types = append(types, d.Body.Type)
					var data struct {
						Kind    string
						Missing []string
						Fix     string
					}
					if d.Body.Type != tasks.DataLost {
						continue
					}
					if err := json.Unmarshal(d.Body.Data, &data); err != nil {
						t.Fatal(err)
					}
					if data.Kind != ledger.Emptied || !strings.Contains(data.Fix, "enqueue again") ||
						when != "at once" && !slices.Equal(data.Missing, []string{"monday"}) {
						t.Errorf("webhook = %s", d.Raw)
					}
				case <-time.After(time.Minute):
					t.Fatalf("webhooks within a minute = %q, want two", types)
				}
			}
			slices.Sort(types)
			if !slices.Equal(types, []string{tasks.BatchEnded, tasks.DataLost}) {
				t.Errorf("webhooks = %q", types)
			}
		})
	}
}

// A different list is enqueued under the name of the lost one. The worker sends its rooms, not those that it has read
// before.
func TestOtherRoomsAfterALoss(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const n = 40
	w := newWorld(t, redistest.Client(t), tiwtest.Options{})
	w.spool = t.TempDir()
	w.enqueue("monday", n)
	w.work()
	w.waitForBatch("monday", "is in progress", func(b ledger.Batch) bool { return b.Succeeded > 5 })
	w.rdb.FlushDB(t.Context())
	w.eventually("the loss is detected", func() bool {
		loss, err := w.ledger.LastLoss(t.Context())
		return err == nil && loss != nil
	})
	w.waitUntilQuiet()

	others := func(yield func(tasks.Room, error) bool) {
		for room, err := range rooms(n) {
			if room.RoomId += 1000; !yield(room, err) {
				return
			}
		}
	}
	if _, err := w.queue.Batch(t.Context(), others, enqueue.BatchOptions{ID: "monday"}); err != nil {
		t.Fatal(err)
	}
	if b := w.waitForEnd("monday"); b.Succeeded != n {
		t.Errorf("batch = %+v, want %d succeeded", b, n)
	}
	sent := map[uint64]bool{}
	for task := range w.sim.Tasks() {
		if task.RoomId > 1000 {
			sent[task.RoomId] = true
		}
	}
	if len(sent) != n {
		t.Errorf("%d of %d new rooms were sent, want all", len(sent), n)
	}
}

// waitUntilQuiet waits until no request has arrived for three seconds.
func (w world) waitUntilQuiet() {
	w.Helper()
	last, since := int64(-1), time.Now()
	w.eventually("no request arrives any more", func() bool {
		if n := w.sim.State().Requests; n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 3*time.Second
	})
}

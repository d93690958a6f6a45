package asynqmon_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/hibiken/asynq"

	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
	"tiwsnap/web/webtest"
)

// everyState adds a snapshot in each state of asynq to the bulk queue, named after the state, and an archived webhook
// to the webhooks queue. A server runs the active snapshot; it serves the interactive queue, too.
func everyState(w *webtest.Installation) (webhook string) {
	w.Helper()
	c, bulk := asynq.NewClientFromRedisClient(w.Redis), keys.Default.QueueBulk()
	enqueue := func(state string, opts ...asynq.Option) {
		w.Helper()
		p := tasks.SnapshotPayload{
			ID: tasks.RowID("class-7b-"+state, 1), Batch: "class-7b-" + state,
			Room: tasks.Room{SdkAppId: 1400123480, RoomId: 7},
		}
		task, err := p.Task(append(opts, asynq.Queue(bulk))...)
		if err == nil {
			_, err = c.EnqueueContext(w.Context(), task)
		}
		if err != nil {
			w.Fatal(err)
		}
	}
	enqueue("scheduled", asynq.ProcessIn(time.Hour))
	enqueue("archived", asynq.ProcessIn(time.Hour))
	inspector := asynq.NewInspectorFromRedisClient(w.Redis)
	if err := inspector.ArchiveTask(bulk, "class-7b-archived.1"); err != nil {
		w.Fatal(err)
	}
	webhook = w.DeadWebhook("class-7b")
	enqueue("retry", asynq.MaxRetry(3))
	enqueue("completed", asynq.Retention(time.Hour))
	enqueue("active")
	enqueue("pending")
	busy := make(chan struct{})
	srv := asynq.NewServerFromRedisClient(w.Redis, asynq.Config{
		Concurrency: 1, LogLevel: asynq.FatalLevel, TaskCheckInterval: 10 * time.Millisecond, ShutdownTimeout: time.Second,
		Queues:         map[string]int{bulk: 1, keys.Default.QueueInteractive(): 1, keys.Default.QueueWebhooks(): 1},
		StrictPriority: true,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour },
	})
	err := srv.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		switch id := task.ResultWriter().TaskID(); {
		case strings.Contains(id, "retry"):
			return errors.New("Tencent is away")
		case strings.Contains(id, "active"):
			close(busy)
			<-w.Context().Done()
		}
		return nil
	}))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(srv.Shutdown)
	select {
	case <-busy:
	case <-time.After(time.Minute):
		w.Fatal("the server does not get to the active task")
	}
	return webhook
}

// unharmed waits until a page of asynqmon shows the words. It checks that there is no error and that the link back is
// on top.
func unharmed(b *webtest.Browser, words string) {
	b.Helper()
	b.Until(fmt.Sprintf(`document.querySelector('main')?.innerText.includes(%q)`, words))
	wrong := `[...document.querySelectorAll('main .MuiAlert-standardError, main .MuiAlert-standardWarning')]
		.map((e) => e.innerText).join() + (document.body.innerText.includes('Page Not Found') ? 'not found' : '')`
	if said := b.Text(wrong); said != "" {
		b.Errorf("%s says %s", b.Text(`location.href`), said)
	}
	b.Until(`(() => { const back = document.querySelector('.tiwsnap-back'), at = back.getBoundingClientRect();
		return document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2) === back; })()`)
}

// Every link of asynqmon leads to a page with content, complete ids and a link back.
func TestAsynqmonInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := webtest.NewInstallation(t, nil)
	webhook := everyState(w)
	for _, test := range []struct {
		who     string
		entries []string
	}{
		{"ada", []string{"Queues", "Servers", "Settings", "Send Feedback"}},
		{"bob", []string{"Queues", "Servers", "Redis", "Settings", "Send Feedback"}},
	} {
		t.Run(test.who, func(t *testing.T) {
			b := webtest.NewBrowser(t, w.URL)
			b.LogIn(w.URL, test.who)
			b.Do(chromedp.Navigate(w.URL + "/asynqmon/"))
			unharmed(b, "tiwsnap-webhooks")
			b.Shots("asynqmon-" + test.who)
			offered := b.Text(`[...document.querySelectorAll('.MuiDrawer-root a')].filter((e) => e.checkVisibility())
				.map((e) => e.innerText.trim()).join()`)
			if got := strings.Split(offered, ","); !slices.Equal(got, test.entries) {
				t.Errorf("it offers %q, want %q", got, test.entries)
			}
			words := map[string]string{
				"Queues": "Tasks Processed", "Servers": "Queues", "Redis": "Command Output", "Settings": "Polling Interval",
			}
			for _, entry := range test.entries {
				if words[entry] != "" {
					b.Click(".MuiDrawer-root a", entry)
					unharmed(b, words[entry])
				}
			}

			for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
				id := "class-7b-" + state + ".1"
				b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-bulk?status=" + state))
				b.Until(fmt.Sprintf(`document.querySelector('tbody th')?.innerText.trim() === %q`, id))
				unharmed(b, "SdkAppId")
				b.Shots("asynqmon-" + test.who + "-" + state)
				b.Do(chromedp.Click(chromedp.CSS(`tbody tr td:nth-last-child(3)`)))
				b.Until(fmt.Sprintf(`location.pathname === '/asynqmon/queues/tiwsnap-bulk/tasks/%s'`, id))
				unharmed(b, id)
			}
			b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-bulk?status=aggregating"))
			unharmed(b, "No aggregating tasks")
			b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-webhooks?status=archived"))
			b.Until(fmt.Sprintf(`document.querySelector('tbody th')?.innerText.trim() === %q`, webhook))
			b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-webhooks/tasks/" + webhook))
			unharmed(b, webhook)

			b.Do(chromedp.Navigate(w.URL + "/asynqmon/servers"))
			b.Click(`[aria-label="expand row"]`, "")
			unharmed(b, "class-7b-active.1")
			b.Click("main a", "tiwsnap-interactive") // the queue has always been empty
			unharmed(b, "No active tasks")

			b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-bulk/tasks/class-7b-done.1"))
			b.Until(`document.querySelector('main')?.innerText.includes('at /find?q=class-7b-done.1')`)
			b.Expected("getTaskInfoAsync")
			b.Expected("404")

			b.Do(chromedp.Navigate(w.URL + "/asynqmon/schedulers"))
			b.Until(`location.pathname === '/schedules' && document.querySelector('main')`)
			b.Do(chromedp.Navigate(w.URL + "/asynqmon/settings"))
			b.Click(".tiwsnap-back", "")
			b.Until(`location.pathname === '/' && document.querySelector('#now')`)
		})
	}
}

func TestAsynqmonLeadsToOurPages(t *testing.T) {
	m := newMon(t)
	for _, role := range []string{"view", "operate"} {
		got := m.as(role, "GET", "/schedulers")
		if at := got.Header().Get("Location"); got.Code != http.StatusFound || at != "/schedules" {
			t.Errorf("%s: schedulers: got %d to %q", role, got.Code, at)
		}
	}
}

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
	"tiwsnap/internal/needs"
	"tiwsnap/tasks"
	"tiwsnap/web/webtest"
)

// addEveryState adds a snapshot in each state of asynq to the bulk queue, named after the state, and an archived
// webhook to the webhooks queue. A server runs the active snapshot; it serves the interactive queue, too.
func addEveryState(w *webtest.Installation) (webhook string) {
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
		w.Fatal("the server has not started the active task within a minute")
	}
	return webhook
}

// checkPage waits until a page of asynqmon contains the words. It checks that there is no error and that the link back
// is on top.
func checkPage(b *webtest.Browser, words string) {
	b.Helper()
	b.Until(fmt.Sprintf(`document.querySelector('main')?.innerText.includes(%q)`, words))
	errorTexts := `[...document.querySelectorAll('main .MuiAlert-standardError, main .MuiAlert-standardWarning')]
		.map((e) => e.innerText).join() + (document.body.innerText.includes('Page Not Found') ? 'not found' : '')`
	if text := b.Text(errorTexts); text != "" {
		b.Errorf("%s shows the error %s", b.Text(`location.href`), text)
	}
	b.Until(`(() => { const back = document.querySelector('.tiwsnap-back'), at = back.getBoundingClientRect();
		return document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2) === back; })()`)
}

// Every link of asynqmon leads to a page with content, complete ids and a link back.
func TestPagesInBrowser(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, nil)
	webhook := addEveryState(w)
	for _, test := range []struct {
		user    string
		entries []string
	}{
		{"ada", []string{"Queues", "Servers", "Settings", "Send Feedback"}},
		{"bob", []string{"Queues", "Servers", "Redis", "Settings", "Send Feedback"}},
	} {
		t.Run(test.user, func(t *testing.T) {
			b := webtest.NewBrowser(t, w.URL)
			b.LogIn(w.URL, test.user)
			b.Do(chromedp.Navigate(w.URL + "/asynqmon/"))
			checkPage(b, "tiwsnap-webhooks")
			b.Shots("asynqmon-" + test.user)
			menu := b.Text(`[...document.querySelectorAll('.MuiDrawer-root a')].filter((e) => e.checkVisibility())
				.map((e) => e.innerText.trim()).join()`)
			if got := strings.Split(menu, ","); !slices.Equal(got, test.entries) {
				t.Errorf("the menu has %q, want %q", got, test.entries)
			}
			words := map[string]string{
				"Queues": "Tasks Processed", "Servers": "Queues", "Redis": "Command Output", "Settings": "Polling Interval",
			}
			for _, entry := range test.entries {
				if words[entry] != "" {
					b.Click(".MuiDrawer-root a", entry)
					checkPage(b, words[entry])
				}
			}

			for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
				id := "class-7b-" + state + ".1"
				b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-bulk?status=" + state))
				b.Until(fmt.Sprintf(`document.querySelector('tbody th')?.innerText.trim() === %q`, id))
				checkPage(b, "SdkAppId")
				b.Shots("asynqmon-" + test.user + "-" + state)
				b.Do(chromedp.Click(chromedp.CSS(`tbody tr td:nth-last-child(3)`)))
				b.Until(fmt.Sprintf(`location.pathname === '/asynqmon/queues/tiwsnap-bulk/tasks/%s'`, id))
				checkPage(b, id)
			}
			b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-bulk?status=aggregating"))
			checkPage(b, "No aggregating tasks")
			b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-webhooks?status=archived"))
			b.Until(fmt.Sprintf(`document.querySelector('tbody th')?.innerText.trim() === %q`, webhook))
			b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-webhooks/tasks/" + webhook))
			checkPage(b, webhook)

			b.Do(chromedp.Navigate(w.URL + "/asynqmon/servers"))
			b.Click(`[aria-label="expand row"]`, "")
			checkPage(b, "class-7b-active.1")
			b.Click("main a", "tiwsnap-interactive") // the queue has always been empty
			checkPage(b, "No active tasks")

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

func TestRedirectToSchedules(t *testing.T) {
	m := newTestSite(t)
	for _, role := range []string{"view", "operate"} {
		got := m.askAs(role, "GET", "/schedulers")
		if at := got.Header().Get("Location"); got.Code != http.StatusFound || at != "/schedules" {
			t.Errorf("role %s: status %d, Location %q, want 302 to /schedules", role, got.Code, at)
		}
	}
}

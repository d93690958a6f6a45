package pages_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/hibiken/asynq"

	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web/webtest"
)

func TestPagesInABrowser(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, &tiwtest.Options{
		Latency: 60 * time.Millisecond, TaskDuration: time.Second, TaskSigma: 0.4, TaskFailure: 0.04,
	})
	b := webtest.NewBrowser(t, w.URL)
	b.Do(chromedp.Navigate(w.URL+"/"), chromedp.WaitVisible(chromedp.CSS(`#password`)))
	b.Shots("login")

	w.Batch("class-7b-2026-11-24", 400)
	w.Batch("evening-school", 60)
	w.Batch("math-olympiad-finals", 1500)
	b.LogIn(w.URL, "bob")
	b.Until(`[...document.querySelectorAll('.batches tbody th')].length === 3`)
	done := `Number(document.querySelector('.batches [data-label=done]').innerText.replace(',', ''))`
	b.Until(done + ` > 0`)
	first, err := chromedp.Run(b.Ctx, chromedp.Evaluate[int](done))
	if err != nil {
		t.Fatal(err)
	}
	b.Until(done + fmt.Sprintf(` > %d`, first)) // without loading the page again
	b.Until(`document.querySelector('#now .figure').innerText.includes('of 20')`)
	if os.Getenv(webtest.ShotsEnv) != "" {
		b.Until(done + ` > 100`)
	}
	b.Shots("overview")

	t.Run("the queues of a running batch in asynqmon, with their icons", func(t *testing.T) {
		b.Do(chromedp.Navigate(w.URL + "/asynqmon/"))
		b.Until(`document.body.innerText.includes('bulk')`)
		// Icons are drawn: no element shows the name of one in its place.
		b.Until(`document.querySelectorAll('svg.MuiSvgIcon-root').length >= 6`)
		b.Until(`[...document.querySelectorAll('svg.MuiSvgIcon-root')].filter(icon => icon.getClientRects().length > 0).
			every(icon => icon.querySelector('path') && icon.getBoundingClientRect().width >= 16)`)
		b.Until(`document.querySelectorAll('.material-icons, .MuiIcon-root').length === 0`)
		b.Shots("asynqmon-queues")
		b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-bulk?status=active"))
		b.Until(`document.body.innerText.includes('SdkAppId')`)
		b.Shots("asynqmon-tasks")
		for _, path := range []string{"/asynqmon/servers", "/asynqmon/redis", "/asynqmon/schedulers", "/asynqmon/settings"} {
			b.Do(chromedp.Navigate(w.URL + path))
			b.Until(`document.querySelector('main')?.innerText.length > 10`)
		}
	})

	t.Run("the role operate pauses a queue in asynqmon", func(t *testing.T) {
		b.Do(chromedp.Navigate(w.URL + "/asynqmon/"))
		b.Until(`fetch('/asynqmon/api/queues/tiwsnap-bulk:pause', {method: 'POST'})`)
		inspector := asynq.NewInspectorFromRedisClient(w.Redis)
		paused := func() bool {
			info, err := inspector.GetQueueInfo("tiwsnap-bulk")
			return err == nil && info.Paused
		}
		for deadline := time.Now().Add(10 * time.Second); !paused() && time.Now().Before(deadline); {
			b.Until(`true`)
		}
		if !paused() {
			t.Error("the queue tiwsnap-bulk is not paused")
		}
		if err := inspector.UnpauseQueue("tiwsnap-bulk"); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a form of another site pauses no queue", func(t *testing.T) {
		pause := w.URL + "/asynqmon/api/queues/tiwsnap-bulk:pause"
		evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(rw,
				`<!doctype html><link rel="icon" href="data:,"><form method=post `+
					`action=%q></form><script>document.forms[0].submit()</script>`, pause)
		}))
		defer evil.Close()
		elsewhere := strings.Replace(evil.URL, "127.0.0.1", "localhost", 1) // another site than 127.0.0.1
		b.Do(chromedp.Navigate(elsewhere))
		b.Until(`location.pathname.endsWith(':pause')`)
		b.Expected("a request to " + elsewhere)
		b.Expected("403")
		b.Mu.Lock()
		status := b.Statuses[pause]
		b.Mu.Unlock()
		if info, err := asynq.NewInspectorFromRedisClient(w.Redis).GetQueueInfo("tiwsnap-bulk"); err != nil ||
			info.Paused || status != 403 {
			t.Errorf("POST from another site: status %d, want 403; the queue is %+v, %v, want it not paused", status, info,
				err)
		}
	})

	t.Run("a logout ends the session in asynqmon, too", func(t *testing.T) {
		b.Do(chromedp.Navigate(w.URL+"/"), chromedp.WaitVisible(chromedp.CSS(`#now`)),
			chromedp.Click(chromedp.CSS(`.who button`)), chromedp.WaitVisible(chromedp.CSS(`#password`)),
			chromedp.Navigate(w.URL+"/asynqmon/"))
		b.Until(`location.pathname === '/login'`)
	})
}

// The role operate stops and starts all sending. The role view sees that it is stopped, by whom, and why.
func TestStopAndStartInABrowser(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, nil)
	b := webtest.NewBrowser(t, w.URL)
	b.LogIn(w.URL, "bob")
	b.Do(
		chromedp.Click(chromedp.CSS(`details.stop summary`)),
		chromedp.WaitVisible(chromedp.CSS(`#reason`)),
		chromedp.SendKeys(chromedp.CSS(`#reason`), "maintenance until 6"),
		chromedp.Submit(chromedp.CSS(`#reason`)),
	)
	b.Until(`document.querySelector('.trouble')?.innerText.includes('topped by bob: maintenance until 6')`)
	b.Shots("stopped")
	b.Do(chromedp.Click(chromedp.CSS(`.who button`)), chromedp.WaitVisible(chromedp.CSS(`#password`)))
	b.LogIn(w.URL, "ada")
	b.Until(`document.querySelector('.trouble')?.innerText.includes('Sending is stopped')`)
	b.Until(`!document.querySelector('main form')`)
	b.Do(chromedp.Click(chromedp.CSS(`.who button`)), chromedp.WaitVisible(chromedp.CSS(`#password`)))
	b.LogIn(w.URL, "bob")
	b.Do(chromedp.Click(chromedp.CSS(`.trouble form[action="/start"] button`)))
	b.Until(`document.querySelector('#now') &&
		[...document.querySelectorAll('.trouble h2')].map((h) => h.innerText).join() === 'No worker is running'`)
	if log := w.Log.String(); !strings.Contains(log,
		`msg="all sending stopped by a person" by=bob reason="maintenance until 6"`) ||
		!strings.Contains(log, `msg="all sending started by a person" by=bob before=person`) {
		t.Errorf("the log lacks who stopped and started sending:\n%s", log)
	}
}

func TestHostileTextInABrowser(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, nil) // no worker probes the account
	b := webtest.NewBrowser(t, w.URL)
	l := ledger.New(w.Redis, ledger.Options{})
	// A failure and a stop with hostile text.
	p := tasks.SnapshotPayload{ID: "s-hostile",
		Room: tasks.Room{SdkAppId: 1, RoomId: 1, Label: map[string]string{webtest.Hostile[:20]: webtest.Hostile}}}
	intent, err := l.Begin(t.Context(), p, "token", "")
	if err == nil {
		err = l.Outcome(t.Context(), p.ID, intent.Attempt, ledger.Outcome{
			State: ledger.Failed, Code: webtest.Hostile, Message: webtest.Hostile,
		})
	}
	webtest.StopSending(t, w.Redis, webtest.Hostile)
	if err == nil {
		_, err = asynq.NewClientFromRedisClient(w.Redis).
			Enqueue(asynq.NewTask(webtest.Hostile, []byte(webtest.Hostile)), asynq.Queue("other"), asynq.TaskID(webtest.Hostile))
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Batch("monday", 5)
	b.LogIn(w.URL, "ada")
	b.Until(`document.querySelector('.trouble')?.innerText.includes('onerror=alert') && ` +
		`document.querySelector('#failures').innerText.includes('onerror=alert')`)
	b.Shots("trouble")
	b.Do(chromedp.Navigate(w.URL + "/asynqmon/queues/other?status=pending"))
	b.Until(`document.body.innerText.includes('onerror=alert')`)
	b.Do(chromedp.Navigate(w.URL + "/login?next=" + url.QueryEscape(webtest.Hostile)))
	b.Until(`location.pathname === '/'`) // logged in already
	b.Do(chromedp.Click(chromedp.CSS(`.who button`)), chromedp.WaitVisible(chromedp.CSS(`#password`)))
	b.Do(chromedp.SendKeys(chromedp.CSS(`#name`), webtest.Hostile), chromedp.SendKeys(chromedp.CSS(`#password`), "wrong"),
		chromedp.Submit(chromedp.CSS(`#password`)), chromedp.WaitVisible(chromedp.CSS(`.fault`)))
	b.Until(`document.querySelector('#name').value.includes('onerror')`)
	b.Expected("401")
}

func TestPagesWithoutJavaScript(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, &tiwtest.Options{Latency: 50 * time.Millisecond, TaskDuration: 300 * time.Millisecond})
	b := webtest.NewBrowser(t, w.URL)
	b.Do(webtest.Call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	w.Batch("monday", 600)
	b.Do(
		chromedp.Navigate(w.URL+"/"), chromedp.WaitVisible(chromedp.CSS(`#password`)),
		chromedp.SendKeys(chromedp.CSS(`#name`), "ada"), chromedp.SendKeys(chromedp.CSS(`#password`), webtest.Password),
		chromedp.Submit(chromedp.CSS(`#password`)), chromedp.WaitVisible(chromedp.CSS(`.batches`)),
	)
	// The page reloads itself, sometimes while an expression is evaluated.
	done := `document.querySelector('.batches [data-label=done]')?.innerText`
	var first string
	for first == "" {
		b.Until(done)
		first, _ = chromedp.Run(b.Ctx, chromedp.Evaluate[string](done+` ?? ''`))
	}
	b.Until(done + ` && ` + done + ` !== '` + first + `'`)
}

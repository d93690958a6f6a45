package pages_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web/webtest"
)

// An administrator logs in, starts a batch from a list, views the images, shares a link with a teacher, and finds a
// room. The teacher views the images.
func TestAnAdministratorAndATeacherInABrowser(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, &tiwtest.Options{Latency: 30 * time.Millisecond, TaskDuration: 200 * time.Millisecond})
	b := webtest.NewBrowser(t, w.URL)
	b.LogIn(w.URL, "bob")
	b.Do(
		chromedp.Click(chromedp.CSS(`.side a[href="/batches"]`)),
		chromedp.WaitVisible(chromedp.CSS(`a[href="/batches/new"]`)),
		chromedp.Click(chromedp.CSS(`a[href="/batches/new"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#text`)),
		chromedp.SendKeys(chromedp.CSS(`#app`), "1400123480"),
		chromedp.SendKeys(chromedp.CSS(`#text`), "RoomId,Label.Class\n20101,3B\n20102,3B\nx,3B\n20103,3C\n"),
		chromedp.Click(chromedp.CSS(`.form button`)),
		chromedp.WaitVisible(chromedp.CSS(`.faults-list`)),
	)
	b.Until(`document.querySelector('#verdict').innerText === '3 rooms are valid, 1 row is wrong'`)
	b.Do(chromedp.Click(chromedp.CSS(`form[action$="/enqueue"] button`)), chromedp.WaitVisible(chromedp.CSS(`.said`)))
	b.Until(`document.querySelector('.said').innerText.includes('3 rooms are enqueued')`)
	b.Until(`document.querySelector('h1 .pill').innerText === 'ended'`) // live
	b.Do(chromedp.Click(chromedp.CSS(`a[href$="/images"]`)), chromedp.WaitVisible(chromedp.CSS(`.wall img`)))
	b.Until(`[...document.querySelectorAll('.wall img')].slice(0, 2).every((i) => i.complete && i.naturalWidth > 0)`)

	// An image opens in full size. The arrow keys show the others.
	b.Do(chromedp.Click(chromedp.CSS(`.wall a[data-image]`)))
	b.Until(`document.querySelector('dialog.viewer[open] img').naturalWidth >= 640`)
	first, err := chromedp.Run(b.Ctx, chromedp.Evaluate[string](`document.querySelector('.viewer img').src`))
	if err != nil {
		t.Fatal(err)
	}
	key := func(name string) {
		b.Until(`document.querySelector('.viewer').dispatchEvent(
			new KeyboardEvent('keydown', {key: '` + name + `', bubbles: true})) || true`)
	}
	if n, _ := chromedp.Run(b.Ctx, chromedp.Evaluate[int](`document.querySelectorAll('a[data-image]').length`)); n > 1 {
		key("ArrowRight")
		b.Until(`document.querySelector('.viewer img').src !== '` + first + `'`)
		key("ArrowLeft")
		b.Until(`document.querySelector('.viewer img').src === '` + first + `'`)
		// Buttons do the same without a keyboard, as on a phone.
		b.Until(`document.querySelector('.viewer p').innerText.includes('20101 · Image 1 (1/')`)
		b.Until(`document.querySelector('.viewer [data-step="-1"]').disabled`)
		b.Click(".viewer button", "›")
		b.Until(`document.querySelector('.viewer img').src !== '` + first + `'`)
		b.Click(".viewer button", "‹")
		b.Until(`document.querySelector('.viewer img').src === '` + first + `'`)
	}
	b.Click(".viewer button", "Close")
	b.Until(`!document.querySelector('.viewer[open]')`)

	// The teacher, who has no login, gets a link.
	b.Do(
		chromedp.Click(chromedp.CSS(`details.ask summary`)),
		chromedp.Click(chromedp.CSS(`form[action$="/share"] button`)),
		chromedp.WaitVisible(chromedp.CSS(`#link`)),
	)
	link, err := chromedp.Run(b.Ctx, chromedp.Evaluate[string](`document.querySelector('#link').value`))
	if err != nil {
		t.Fatal(err)
	}
	b.Do(chromedp.Click(chromedp.CSS(`[data-copy]`)))
	b.Until(`document.querySelector('[data-copy]').innerText === 'Copied'`)
	batch, _ := chromedp.Run(b.Ctx, chromedp.Evaluate[string](`location.pathname.split('/')[2]`))

	b.Do(
		chromedp.SendKeys(chromedp.CSS(`#find`), "20102"),
		chromedp.Submit(chromedp.CSS(`#find`)),
		chromedp.WaitVisible(chromedp.CSS(`.rooms tbody a`)),
		chromedp.Click(chromedp.CSS(`.rooms tbody a`)),
		chromedp.WaitVisible(chromedp.CSS(`.timeline`)),
	)
	b.Until(`document.querySelector('.timeline').innerText.includes('Accepted by Tencent')`)

	b.Do(chromedp.Click(chromedp.CSS(`.who button`)), chromedp.WaitVisible(chromedp.CSS(`#password`)))
	b.Do(chromedp.Navigate(link))
	b.Until(`document.querySelector('.wall img')?.naturalWidth > 0 && !document.querySelector('.side')`)
	b.Do(chromedp.Navigate(w.URL + "/batches/" + batch))
	b.Until(`location.pathname === '/login'`)
}

// Every page is checked in each size, colour scheme and language: axe finds no violation, user input stays text, and no
// other host gets a request.
func TestEveryPageInABrowser(t *testing.T) {
	needs.Time(t)
	source, err := os.ReadFile("testdata/node/node_modules/axe-core/axe.min.js")
	if err != nil {
		needs.Skip(t, "no axe-core (npm ci --prefix web/pages/testdata/node)")
	}
	w := webtest.NewInstallation(t, &tiwtest.Options{
		Latency: 30 * time.Millisecond, TaskDuration: 300 * time.Millisecond, TaskFailure: 0.05,
	})
	class := "高二（3）班"
	if os.Getenv(webtest.ShotsEnv) == "" {
		class = webtest.Hostile
	}
	school := func(id string, n int) {
		rooms := func(yield func(tasks.Room, error) bool) {
			for i := range n {
				label := map[string]string{"Class": class, "Teacher": "王芳"}
				if !yield(tasks.Room{SdkAppId: 1400123480, RoomId: uint64(20101 + i), Label: label}, nil) {
					return
				}
			}
		}
		o := enqueue.BatchOptions{ID: id, By: "user bob"}
		if _, err := enqueue.New(w.Redis, keys.Default).Batch(t.Context(), rooms, o); err != nil {
			t.Fatal(err)
		}
	}
	school("class-3b-monday", 40)
	l := ledger.New(w.Redis, ledger.Options{})
	for i, code := range []string{"InvalidParameter.SdkAppIdNotFound", class} {
		p := tasks.SnapshotPayload{ID: fmt.Sprintf("s-broken-%d", i), Room: tasks.Room{
			SdkAppId: 1400123480, RoomId: uint64(301 + i), Label: map[string]string{"Class": class},
		}}
		intent, err := l.Begin(t.Context(), p, "token"+p.ID, "")
		if err == nil {
			err = l.Outcome(t.Context(), p.ID, intent.Attempt, ledger.Outcome{State: ledger.Failed, Code: code, Message: class})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.Hold("s-held", 303)
	w.DeadWebhook("class-3b-evening-by-hand-20261128t111106z")
	b := webtest.NewBrowser(t, w.URL)
	for _, look := range webtest.Looks[:2] {
		b.Do(chromedp.Navigate(w.URL + "/login"))
		b.As(look)
		b.Do(chromedp.Navigate(w.URL + "/login"))
		b.Axe(string(source), "login")
		b.Picture("login", look)
	}
	b.As(webtest.Looks[0])
	b.LogIn(w.URL, "bob")
	b.Do(chromedp.Navigate(w.URL + "/batches/class-3b-monday"))
	b.Until(`document.querySelector('h1 .pill')?.innerText === 'ended'`)
	school("class-3c-evening", 3000)       // still running when the last picture is taken
	if os.Getenv(webtest.ShotsEnv) != "" { // wait until the screenshot of the chart has data
		b.Do(chromedp.Navigate(w.URL + "/batches/class-3c-evening"))
		b.Until(`document.querySelector('#chart .line')?.getAttribute('d').length > 200`)
	}

	pages := []struct{ name, path, has string }{
		{"batches", "/batches", `.list`},
		{"batch", "/batches/class-3b-monday", `#chart .line`},
		{"batch-running", "/batches/class-3c-evening", `#chart .line`},
		{"images", "/batches/class-3b-monday/images", `.wall img`},
		{"snapshot", "/snapshots/class-3b-monday.1", `.timeline`},
		{"snapshot-failed", "/snapshots/s-broken-0", `.trouble`},
		{"new", "/batches/new", `.form`},
		{"find", "/find?q=20102", `.rooms`},
		{"failures", "/failures", `.failures`},
		{"held", "/held", `#list`},
		{"schedules", "/schedules", `#schedules`},
		{"webhooks", "/webhooks", `#webhooks table`},
		{"limit", "/limit", `.chart`},
		{"workers", "/workers", `.card`},
		{"redis", "/redis", `#weight`},
		{"audit", "/audit", `h1`},
		{"now", "/", `.chart`},
		{"problem", "/batches/nobody", `.login`},
	}
	for i, look := range webtest.Looks {
		b.As(look)
		for _, p := range pages {
			b.Do(chromedp.Navigate(w.URL + p.path))
			b.Until(fmt.Sprintf(`document.querySelector(%q) && document.documentElement.lang === %q`, p.has, look.Lang))
			if p.name == "problem" {
				b.Expected("404")
			}
			if i < 2 || os.Getenv(webtest.ShotsEnv) != "" {
				b.Axe(string(source), fmt.Sprintf("%s in %s", p.name, look.Lang))
			}
			// Nothing is wider than the page.
			b.Until(`document.documentElement.scrollWidth <= innerWidth`)
			// No column of a table is so narrow that words break into letters.
			thin := b.Text(`[...document.querySelectorAll('main tbody :is(td, th):not(.act)')]
				.filter((e) => e.checkVisibility() && e.innerText.trim().length > 8 && e.clientWidth < 64)
				.map((e) => e.outerHTML.slice(0, 200)).join()`)
			if thin != "" {
				t.Errorf("%s at %d px: %s", p.name, look.Width, thin)
			}
			b.Picture(p.name, look)
		}
	}
	if class == webtest.Hostile {
		b.Do(chromedp.Navigate(w.URL + "/failures"))
		b.Until(`document.querySelector('.failures').innerText.includes('onerror=alert')`)
	}
}

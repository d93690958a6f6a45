package pages_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tiwsnap/internal/needs"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web/webtest"
)

// An operator is called at night. The first page says what is wrong, and the button beside each problem fixes it. Then
// the problem disappears.
func TestOperatorFixesProblemsInABrowser(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, &tiwtest.Options{Latency: 20 * time.Millisecond, TaskDuration: 100 * time.Millisecond})
	fault := func(f tiwtest.Faults) {
		if err := w.Simulator.SetFaults(f); err != nil {
			t.Fatal(err)
		}
	}
	fault(tiwtest.Faults{Code: 1, CodeName: "ResourceUnavailable.ServiceExpired"})
	w.Rooms("evening", 20)
	b := webtest.NewBrowser(t, w.URL)
	b.LogIn(w.URL, "bob")
	gone := `document.querySelector('#now') && !document.querySelector('.trouble')`

	// The account is in arrears. After the payment the operator starts sending and does not wait for the probe.
	b.Until(`document.querySelector('.trouble h2')?.innerText === 'Sending is stopped'`)
	b.Until(`document.querySelector('.trouble').innerText.includes('arrears') && document.querySelector('.trouble time')`)
	b.Until(`document.querySelector('#now').innerText.includes('20 rooms')`)
	fault(tiwtest.Faults{RoomCodes: map[uint64]string{3: "InvalidParameter.Width", 7: "InvalidParameter.Width"}})
	b.Click(".trouble button", "Start sending")
	b.Until(`document.querySelector('.said')?.innerText === 'Sending is started.'`)
	b.Until(gone)

	// Two rooms failed with an error code. After its cause is fixed they are retried.
	b.Until(`document.querySelector('#ended .failed')?.innerText === '2'`)
	fault(tiwtest.Faults{})
	b.Until(`document.querySelector('#failures tbody td.n')?.innerText === '2'`)
	b.Click("#failures tbody a", "InvalidParameter.Width")
	b.Until(`document.querySelectorAll('#list tbody tr').length === 2`)
	b.Click("#codes td.act button", "Retry all")
	b.Until(`document.querySelector('.said')?.innerText === '2 snapshots are queued again.'`)
	b.Click(".side a", "Now")
	b.Until(`document.querySelector('#failures .none')`)

	// A snapshot is held for review. The operator views it first.
	w.Hold("s-held", 99)
	b.Until(`document.querySelector('.trouble h2')?.innerText === '1 snapshot is held for review'`)
	b.Click(".trouble a", "Held for review")
	b.Click("#list tbody th a", "99")
	b.Until(`document.querySelector('.next')?.innerText.includes('held for review')`)
	b.Click(".head summary", "Retry")
	b.Click(".head .ask button", "Retry")
	b.Until(`document.querySelector('h1 .pill')?.innerText === 'succeeded'`)
	b.Click(".side a", "Now")
	b.Until(gone)

	// One person stops sending, and another starts it.
	b.Click("details.stop summary", "Stop all sending")
	b.Do(chromedp.SendKeys(chromedp.CSS("#reason"), "exam"))
	b.Click("details.stop button", "Stop")
	b.Until(`document.querySelector('.trouble')?.innerText.includes('exam')`)
	b.Click(".trouble button", "Start sending")
	b.Until(gone)

	// The rate limit is set for all workers, and reset.
	b.Click(".side a", "Rate limit")
	b.Until(`document.querySelector('#limit')`)
	b.Do(chromedp.SetValue(chromedp.CSS("#limit"), "5"))
	b.Click(".inline button", "Set")
	b.Until(`document.querySelector('#tiles .figure')?.innerText.startsWith('5 ')`)
	b.Click(".card button", "Set as configured")
	b.Until(`document.querySelector('#tiles .figure')?.innerText.startsWith('20 ')`)
	b.Until(`[...document.querySelectorAll('#changes tbody tr')].length === 2 &&
		document.querySelector('#changes').innerText.includes('bob')`)
}

// A developer has a RequestId from a log of Tencent. They find the snapshot, read its timeline and JSON, view the
// queues, and return.
func TestDeveloperTracesARequestInABrowser(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, &tiwtest.Options{Latency: 20 * time.Millisecond, TaskDuration: 100 * time.Millisecond})
	w.Rooms("monday", 3)
	b := webtest.NewBrowser(t, w.URL)
	b.LogIn(w.URL, "ada")
	b.Do(chromedp.Navigate(w.URL + "/snapshots/monday.2"))
	b.Until(`document.querySelector('h1 .pill')?.innerText === 'succeeded'`)
	request := b.Text(`[...document.querySelectorAll('.facts dt')]
		.find((e) => e.innerText === 'RequestId').nextElementSibling.innerText`)
	b.Do(
		chromedp.Navigate(w.URL+"/"),
		chromedp.WaitVisible(chromedp.CSS("#find")),
		chromedp.SendKeys(chromedp.CSS("#find"), request+kb.Enter),
	)
	b.Until(`document.querySelector('.rooms tbody a')?.pathname === '/snapshots/monday.2' ||
		location.pathname === '/snapshots/monday.2'`)
	if b.Text(`location.pathname`) == "/find" {
		b.Click(".rooms tbody a", "2")
	}
	b.Until(`document.querySelector('.timeline')?.innerText.includes('Accepted by Tencent')`)
	b.Until(fmt.Sprintf(`document.querySelector('.timeline').innerText.includes(%q)`, request))
	b.Click("details.act summary", "")
	var shown string
	b.Until(`document.querySelector('details.act pre')?.checkVisibility()`)
	shown = b.Text(`JSON.parse(document.querySelector('details.act pre').innerText).request_id`)
	if shown != request {
		t.Errorf("the JSON has the RequestId %q, want %q", shown, request)
	}
	b.Click("details.act a", "/v1/snapshots/monday.2")
	b.Until(`JSON.parse(document.body.innerText).id === 'monday.2'`)
	b.Do(chromedp.Navigate(w.URL + "/"))
	b.Click(".side a", "Queues")
	b.Until(`location.pathname.startsWith('/asynqmon') && document.body.innerText.includes('tiwsnap-bulk')`)
	b.Text(`history.back() ?? ''`) // from the cache of Chromium, without the load event that NavigateBack waits for
	b.Until(`document.querySelector('#now')`)
}

// Everything is reachable with the keyboard alone, and the focus is visible.
func TestPagesByKeyboard(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, &tiwtest.Options{Latency: 20 * time.Millisecond, TaskDuration: 100 * time.Millisecond})
	w.Rooms("monday", 8)
	b := webtest.NewBrowser(t, w.URL)
	b.LogIn(w.URL, "bob")
	b.Do(chromedp.Navigate(w.URL + "/batches"))
	b.Until(`document.querySelector('.list tbody a')`)

	// The first Tab focuses a link that skips the navigation.
	b.Press(kb.Tab, 1)
	b.Until(`document.activeElement.matches('.skip') && document.activeElement.getBoundingClientRect().height > 20`)
	b.Press(kb.Enter, 1)
	b.Until(`document.activeElement.matches('main') || location.hash === '#main'`)

	// Tab focuses each control once, in the order of the page, with a visible outline.
	for _, path := range []string{"/", "/batches/monday", "/batches/new", "/limit"} {
		b.Do(chromedp.Navigate(w.URL + path))
		b.Until(`document.querySelector('main h1')`)
		b.Until(`(window.stops = [], document.addEventListener('focusin', (e) => window.stops.push(e.target)), true)`)
		n := 0
		for ; n < 80; n++ {
			b.Press(kb.Tab, 1)
			if b.Text(`(document.activeElement === document.body ||
				window.stops.indexOf(document.activeElement) < window.stops.length - 1) ? 'end' : ''`) != "" {
				break
			}
			seen := b.Text(`(() => { const e = document.activeElement; const s = getComputedStyle(e);
				const box = (e.matches('#menu') ? e.nextElementSibling : e).getBoundingClientRect();
				const seen = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1 && box.width > 1;
				return seen ? '' : e.outerHTML.slice(0, 200); })()`)
			if seen != "" {
				t.Errorf("%s: the focus is not visible on %s", path, seen)
			}
		}
		if order := b.Text(`window.stops.every((e, i) => !i || !e.isConnected || !window.stops[i - 1].isConnected ||
			window.stops[i - 1].compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING ||
			i === window.stops.length - 1) ? '' : 'no'`); order != "" || n < 15 {
			t.Errorf("%s: Tab stops %d times, in order: %q", path, n, order)
		}
	}

	// On the page of images Enter opens an image, the arrow keys show the others, and Esc returns the focus.
	b.Do(chromedp.Navigate(w.URL + "/batches/monday/images"))
	b.Until(`document.querySelectorAll('a[data-image]').length > 2`)
	b.Until(`(document.querySelector('a[data-image]').focus(), true)`)
	b.Press(kb.Enter, 1)
	b.Until(`document.querySelector('dialog.viewer[open] img').naturalWidth >= 640`)
	first := b.Text(`document.querySelector('.viewer img').src`)
	b.Press(kb.ArrowRight, 2)
	b.Until(`document.querySelector('.viewer img').src === document.querySelectorAll('a[data-image]')[2].href`)
	b.Press(kb.ArrowLeft, 3)
	b.Until(fmt.Sprintf(`document.querySelector('.viewer img').src === %q`, first))
	b.Press(kb.ArrowRight, 1)
	b.Press(kb.Escape, 1)
	b.Until(`!document.querySelector('dialog.viewer[open]') &&
		document.activeElement === document.querySelectorAll('a[data-image]')[1]`)

	// Enter opens a menu, and Esc closes it.
	b.Do(chromedp.Navigate(w.URL + "/batches/monday"))
	b.Until(`(document.querySelector('details.menu summary')?.focus(),
		document.activeElement.matches('details.menu summary'))`)
	b.Press(kb.Enter, 1)
	b.Until(`document.querySelector('details.menu[open] a')?.checkVisibility()`)
	b.Press(kb.Tab, 1)
	b.Press(kb.Escape, 1)
	b.Until(`!document.querySelector('details.menu[open]') && document.activeElement.matches('details.menu summary')`)
}

// A list can be dropped anywhere on the form.
func TestDropAListInABrowser(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, nil)
	b := webtest.NewBrowser(t, w.URL)
	list := filepath.Join(t.TempDir(), "class-3b.csv")
	if err := os.WriteFile(list, []byte("SdkAppId,RoomId,Label.Class\n7,20101,3B\n7,x,3B\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.LogIn(w.URL, "bob")
	b.Do(chromedp.Navigate(w.URL+"/batches/new"), chromedp.WaitVisible(chromedp.CSS("#file")))
	for _, kind := range []input.DispatchDragEventType{"dragEnter", "dragOver", "drop"} {
		b.Do(webtest.Call(input.DispatchDragEvent, input.DispatchDragEventParams{
			Type: kind, X: 500, Y: 420, Data: &input.DragData{Files: []string{list}, DragOperationsMask: 1},
		}))
		if kind == "dragOver" {
			b.Until(`document.querySelector('form.over')`)
		}
	}
	b.Until(`document.querySelector('#file').files[0]?.name === 'class-3b.csv' && !document.querySelector('form.over')`)
	b.Click(".form button", "Check")
	b.Until(`document.querySelector('#verdict')?.innerText === '1 room is valid, 1 row is wrong'`)
	b.Until(`document.querySelector('.meta').innerText.includes('class-3b.csv')`)
}

// Printed pages have the images and their labels, and no navigation.
func TestPrintedPagesInABrowser(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, &tiwtest.Options{Latency: 20 * time.Millisecond, TaskDuration: 100 * time.Millisecond})
	w.Rooms("monday", 12)
	b := webtest.NewBrowser(t, w.URL)
	b.LogIn(w.URL, "bob")
	b.Do(chromedp.Navigate(w.URL + "/batches/monday"))
	b.Until(`document.querySelector('h1 .pill')?.innerText === 'ended'`)
	b.Do(chromedp.Navigate(w.URL+"/batches/monday/images"),
		webtest.Call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Media: "print", Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
		}))
	b.Until(`document.querySelector('.wall img')?.checkVisibility()`)
	for _, none := range []string{".side", ".find", ".who", "footer", ".buttons", ".crumbs", ".pager", ".skip"} {
		b.Until(fmt.Sprintf(`![...document.querySelectorAll(%q)].some((e) => e.checkVisibility())`, none))
	}
	b.Until(`[...document.querySelectorAll('.wall > li h2')].every((e) => /^Class \d+\s+\d+$/.test(e.innerText))`)
	// Images below the fold are loaded, too. An image that a busy server refused is requested again.
	b.Until(`[...document.querySelectorAll('.wall img')].
		filter((i) => i.complete && i.naturalWidth === 0 && (i.src = i.src)).length === 0 &&
		[...document.querySelectorAll('.wall img')].every((i) => i.complete && i.naturalWidth > 0)`)
	b.Until(`getComputedStyle(document.querySelector('.wall > li')).breakInside === 'avoid'`)
	b.Until(`getComputedStyle(document.body).color === 'rgb(23, 33, 43)'`) // in the dark colour scheme, too
}

// Without JavaScript a batch can be started from a file, retried, canceled and found.
func TestBatchesWithoutJavaScript(t *testing.T) {
	needs.Time(t)
	w := webtest.NewInstallation(t, &tiwtest.Options{
		Latency: 20 * time.Millisecond, TaskDuration: 100 * time.Millisecond,
		Faults: tiwtest.Faults{RoomCodes: map[uint64]string{20102: "InvalidParameter.Width"}},
	})
	b := webtest.NewBrowser(t, w.URL)
	b.Do(webtest.Call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	list := filepath.Join(t.TempDir(), "class-3b.csv")
	if err := os.WriteFile(list, []byte("SdkAppId,RoomId\n1400123480,20101\n1400123480,20102\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Do(
		chromedp.Navigate(w.URL+"/batches/new"), chromedp.WaitVisible(chromedp.CSS("#password")),
		chromedp.SendKeys(chromedp.CSS("#name"), "bob"),
		chromedp.SendKeys(chromedp.CSS("#password"), webtest.Password+kb.Enter),
		chromedp.WaitVisible(chromedp.CSS("#file")),
		chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{list}),
		chromedp.Click(chromedp.CSS(".form button")),
		chromedp.WaitVisible(chromedp.CSS("#verdict")),
		chromedp.Click(chromedp.CSS(`form[action$="/enqueue"] button`)),
		chromedp.WaitVisible(chromedp.CSS(".said")),
	)
	batch := b.Text(`location.pathname`)
	if !strings.HasPrefix(batch, "/batches/class-3b-") {
		t.Fatalf("the form redirects to %s, want a batch", batch)
	}
	// The page reloads itself until the batch has ended.
	b.Until(`document.querySelector('h1 .pill')?.innerText === 'ended'`)
	if err := w.Simulator.SetFaults(tiwtest.Faults{}); err != nil {
		t.Fatal(err)
	}
	b.Do(chromedp.Click(chromedp.CSS(`#progress form[action$="/retry"] button`)))
	b.Until(`document.querySelector('.said')?.innerText === '1 snapshot is queued again.'`)
	b.Until(`document.querySelector('.figure')?.innerText === '100 %' && !document.querySelector('#failures')`)

	if err := w.Simulator.SetFaults(tiwtest.Faults{Code: 1, CodeName: "ResourceUnavailable.ServiceExpired"}); err != nil {
		t.Fatal(err)
	}
	w.Rooms("monday", 30)
	b.Do(
		chromedp.Navigate(w.URL+"/batches/monday"),
		chromedp.Click(chromedp.CSS(`#progress details.ask summary`)),
		chromedp.Click(chromedp.CSS(`form[action$="/cancel"] button`)),
	)
	b.Until(`document.querySelector('.said')?.innerText.startsWith('Canceled:')`)
	b.Do(
		chromedp.Navigate(w.URL+"/find?q="+url.QueryEscape("20102")),
		chromedp.WaitVisible(chromedp.CSS(".rooms tbody a")),
		chromedp.Click(chromedp.CSS(".rooms tbody a")),
		chromedp.WaitVisible(chromedp.CSS(".timeline")),
	)
}

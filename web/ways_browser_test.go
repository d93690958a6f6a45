package web_test

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

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// rooms enqueues a batch of rooms 1 to n of a class.
func (w *whole) rooms(id string, n int) {
	w.Helper()
	rooms := func(yield func(tasks.Room, error) bool) {
		for i := range n {
			label := map[string]string{"Class": fmt.Sprintf("Class %d", i+1)}
			if !yield(tasks.Room{SdkAppId: 1400123480, RoomId: uint64(i + 1), Label: label}, nil) {
				return
			}
		}
	}
	o := enqueue.BatchOptions{ID: id, By: "user bob"}
	if _, err := enqueue.New(w.rdb, keys.Default).Batch(w.Context(), rooms, o); err != nil {
		w.Fatal(err)
	}
}

// hold leaves a snapshot whose outcome nobody knows to a person.
func (w *whole) hold(id string, room uint64) {
	w.Helper()
	l := ledger.New(w.rdb, ledger.Options{Hold: true})
	p := tasks.SnapshotPayload{ID: id, Room: tasks.Room{SdkAppId: 1400123480, RoomId: room}}
	intent, err := l.Begin(w.Context(), p, "token"+id, "")
	if err == nil {
		err = l.Outcome(w.Context(), id, intent.Attempt, ledger.Outcome{State: ledger.Unknown, Code: "InternalError"})
	}
	if err == nil { // a worker that finds it so again leaves it to a person
		_, err = l.Begin(w.Context(), p, "token"+id, "")
	}
	if s, read := l.Snapshot(w.Context(), id); err != nil || read != nil || !s.Held {
		w.Fatalf("%s is not held: %+v, %v, %v", id, s, err, read)
	}
}

// click clicks on what is named so in words, in what the selector finds.
func (b *browser) click(selector, words string) {
	b.Helper()
	b.until(fmt.Sprintf(`(() => { const found = [...document.querySelectorAll(%q)]
		.find((e) => e.innerText.trim().startsWith(%q) && e.checkVisibility());
		found?.click(); return found; })()`, selector, words))
}

// text is what a JavaScript expression is.
func (b *browser) text(expression string) string {
	b.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// An operator is woken at night: the first page says what is wrong in words, and
// each trouble is mended by its button and is seen to go.
func TestAnOperatorAtNightInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := newWhole(t, &tiwtest.Options{Latency: 20 * time.Millisecond, TaskDuration: 100 * time.Millisecond})
	fault := func(f tiwtest.Faults) {
		if err := w.sim.SetFaults(f); err != nil {
			t.Fatal(err)
		}
	}
	fault(tiwtest.Faults{Code: 1, CodeName: "ResourceUnavailable.ServiceExpired"})
	w.rooms("evening", 20)
	b := newBrowser(t, w.URL)
	b.logIn(w.URL, "bob")
	gone := `document.querySelector('#now') && !document.querySelector('.trouble')`

	// The account is in arrears. It is paid, and a person does not wait for the probe.
	b.until(`document.querySelector('.trouble h2')?.innerText === 'Sending is stopped'`)
	b.until(`document.querySelector('.trouble').innerText.includes('arrears') && document.querySelector('.trouble time')`)
	b.until(`document.querySelector('#now').innerText.includes('20 rooms')`)
	fault(tiwtest.Faults{RoomCodes: map[uint64]string{3: "InvalidParameter.Width", 7: "InvalidParameter.Width"}})
	b.click(".trouble button", "Start sending")
	b.until(`document.querySelector('.said')?.innerText === 'Sending is started.'`)
	b.until(gone)

	// Two rooms have failed with a code, which is mended at its source.
	b.until(`document.querySelector('#ended .failed')?.innerText === '2'`)
	fault(tiwtest.Faults{})
	b.until(`document.querySelector('#failures tbody td.n')?.innerText === '2'`)
	b.click("#failures tbody a", "InvalidParameter.Width")
	b.until(`document.querySelectorAll('#list tbody tr').length === 2`)
	b.click("#codes td.act button", "Retry all")
	b.until(`document.querySelector('.said')?.innerText === '2 snapshots are queued again.'`)
	b.click(".side a", "Now")
	b.until(`document.querySelector('#failures .none')`)

	// One waits for a person, who looks at it first.
	w.hold("s-held", 99)
	b.until(`document.querySelector('.trouble h2')?.innerText === '1 snapshot is held for review'`)
	b.click(".trouble a", "Held for review")
	b.click("#list tbody th a", "99")
	b.until(`document.querySelector('.next')?.innerText.includes('A person decides')`)
	b.click(".head summary", "Retry")
	b.click(".head .ask button", "Retry")
	b.until(`document.querySelector('h1 .pill')?.innerText === 'succeeded'`)
	b.click(".side a", "Now")
	b.until(gone)

	// A person has stopped it, and another one starts it.
	b.click("details.act summary", "Stop all sending")
	b.do(chromedp.SendKeys(chromedp.CSS("#reason"), "exam"))
	b.click("details.act button", "Stop")
	b.until(`document.querySelector('.trouble')?.innerText.includes('exam')`)
	b.click(".trouble button", "Start sending")
	b.until(gone)

	// The rate limit is set for all workers, and given back.
	b.click(".side a", "Rate limit")
	b.until(`document.querySelector('#limit')`)
	b.do(chromedp.SetValue(chromedp.CSS("#limit"), "5"))
	b.click(".inline button", "Set")
	b.until(`document.querySelector('#tiles .figure')?.innerText.startsWith('5 ')`)
	b.click(".card button", "Set as configured")
	b.until(`document.querySelector('#tiles .figure')?.innerText.startsWith('20 ')`)
	b.until(`[...document.querySelectorAll('#changes tbody tr')].length === 2 &&
		document.querySelector('#changes').innerText.includes('bob')`)
}

// A developer has a RequestId from a log of Tencent's: they find its snapshot,
// read its timeline and its JSON, and look at the queues and come back.
func TestADeveloperInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := newWhole(t, &tiwtest.Options{Latency: 20 * time.Millisecond, TaskDuration: 100 * time.Millisecond})
	w.rooms("monday", 3)
	b := newBrowser(t, w.URL)
	b.logIn(w.URL, "ada")
	b.do(chromedp.Navigate(w.URL + "/snapshots/monday.2"))
	b.until(`document.querySelector('h1 .pill')?.innerText === 'succeeded'`)
	request := b.text(`[...document.querySelectorAll('.facts dt')]
		.find((e) => e.innerText === 'RequestId').nextElementSibling.innerText`)
	b.do(
		chromedp.Navigate(w.URL+"/"),
		chromedp.WaitVisible(chromedp.CSS("#find")),
		chromedp.SendKeys(chromedp.CSS("#find"), request+kb.Enter),
	)
	b.until(`document.querySelector('.rooms tbody a')?.pathname === '/snapshots/monday.2' ||
		location.pathname === '/snapshots/monday.2'`)
	if b.text(`location.pathname`) == "/find" {
		b.click(".rooms tbody a", "2")
	}
	b.until(`document.querySelector('.timeline')?.innerText.includes('Accepted by Tencent')`)
	b.until(fmt.Sprintf(`document.querySelector('.timeline').innerText.includes(%q)`, request))
	b.click("details.act summary", "")
	var shown string
	b.until(`document.querySelector('details.act pre')?.checkVisibility()`)
	shown = b.text(`JSON.parse(document.querySelector('details.act pre').innerText).request_id`)
	if shown != request {
		t.Errorf("the JSON has the RequestId %q, want %q", shown, request)
	}
	b.click("details.act a", "/v1/snapshots/monday.2")
	b.until(`JSON.parse(document.body.innerText).id === 'monday.2'`)
	b.do(chromedp.Navigate(w.URL + "/"))
	b.click(".side a", "Queues")
	b.until(`location.pathname.startsWith('/asynqmon') && document.body.innerText.includes('tiwsnap-bulk')`)
	b.text(`history.back() ?? ''`) // a page that Chromium has kept loads nothing, for which NavigateBack would wait
	b.until(`document.querySelector('#now')`)
}

// press presses a key, as often as is said.
func (b *browser) press(key string, times int, modifiers ...chromedp.Modifier) {
	b.Helper()
	for range times {
		b.do(chromedp.KeyEvent(key, chromedp.KeyModifiers(modifiers...)))
	}
}

// All is reached by the keyboard alone, and what has the focus is seen.
func TestPagesByKeyboard(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := newWhole(t, &tiwtest.Options{Latency: 20 * time.Millisecond, TaskDuration: 100 * time.Millisecond})
	w.rooms("monday", 8)
	b := newBrowser(t, w.URL)
	b.logIn(w.URL, "bob")
	b.do(chromedp.Navigate(w.URL + "/batches"))
	b.until(`document.querySelector('.list tbody a')`)

	// The first Tab leads to a link over the navigation, and then comes the content.
	b.press(kb.Tab, 1)
	b.until(`document.activeElement.matches('.skip') && document.activeElement.getBoundingClientRect().height > 20`)
	b.press(kb.Enter, 1)
	b.until(`document.activeElement.matches('main') || location.hash === '#main'`)

	// From one end to the other Tab stops at each thing once, in the order in which
	// they stand there, and a frame shows where.
	for _, path := range []string{"/", "/batches/monday", "/batches/new", "/limit"} {
		b.do(chromedp.Navigate(w.URL + path))
		b.until(`document.querySelector('main h1')`)
		b.until(`(window.stops = [], document.addEventListener('focusin', (e) => window.stops.push(e.target)), true)`)
		n := 0
		for ; n < 80; n++ {
			b.press(kb.Tab, 1)
			if b.text(`(document.activeElement === document.body ||
				window.stops.indexOf(document.activeElement) < window.stops.length - 1) ? 'end' : ''`) != "" {
				break
			}
			seen := b.text(`(() => { const e = document.activeElement; const s = getComputedStyle(e);
				const box = (e.matches('#menu') ? e.nextElementSibling : e).getBoundingClientRect();
				const seen = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1 && box.width > 1;
				return seen ? '' : e.outerHTML.slice(0, 200); })()`)
			if seen != "" {
				t.Errorf("%s: nobody sees that this has the focus: %s", path, seen)
			}
		}
		if order := b.text(`window.stops.every((e, i) => !i || !e.isConnected || !window.stops[i - 1].isConnected ||
			window.stops[i - 1].compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING ||
			i === window.stops.length - 1) ? '' : 'no'`); order != "" || n < 15 {
			t.Errorf("%s: Tab stops %d times, in order: %q", path, n, order)
		}
	}

	// The wall: Enter opens a picture, the arrows lead on, Esc leads back to it.
	b.do(chromedp.Navigate(w.URL + "/batches/monday/pictures"))
	b.until(`document.querySelectorAll('a[data-picture]').length > 2`)
	b.until(`(document.querySelector('a[data-picture]').focus(), true)`)
	b.press(kb.Enter, 1)
	b.until(`document.querySelector('dialog.viewer[open] img').naturalWidth >= 640`)
	first := b.text(`document.querySelector('.viewer img').src`)
	b.press(kb.ArrowRight, 2)
	b.until(`document.querySelector('.viewer img').src === document.querySelectorAll('a[data-picture]')[2].href`)
	b.press(kb.ArrowLeft, 3)
	b.until(fmt.Sprintf(`document.querySelector('.viewer img').src === %q`, first))
	b.press(kb.ArrowRight, 1)
	b.press(kb.Escape, 1)
	b.until(`!document.querySelector('dialog.viewer[open]') &&
		document.activeElement === document.querySelectorAll('a[data-picture]')[1]`)

	// A menu opens by Enter and shuts by Esc.
	b.do(chromedp.Navigate(w.URL + "/batches/monday"))
	b.until(`(document.querySelector('details.menu summary')?.focus(),
		document.activeElement.matches('details.menu summary'))`)
	b.press(kb.Enter, 1)
	b.until(`document.querySelector('details.menu[open] a')?.checkVisibility()`)
	b.press(kb.Tab, 1)
	b.press(kb.Escape, 1)
	b.until(`!document.querySelector('details.menu[open]') && document.activeElement.matches('details.menu summary')`)
}

// A list is dropped on the form, anywhere.
func TestAListIsDroppedInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := newWhole(t, nil)
	b := newBrowser(t, w.URL)
	list := filepath.Join(t.TempDir(), "class-3b.csv")
	if err := os.WriteFile(list, []byte("SdkAppId,RoomId,Label.Class\n7,20101,3B\n7,x,3B\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.logIn(w.URL, "bob")
	b.do(chromedp.Navigate(w.URL+"/batches/new"), chromedp.WaitVisible(chromedp.CSS("#file")))
	for _, kind := range []input.DispatchDragEventType{"dragEnter", "dragOver", "drop"} {
		b.do(call(input.DispatchDragEvent, input.DispatchDragEventParams{
			Type: kind, X: 500, Y: 420, Data: &input.DragData{Files: []string{list}, DragOperationsMask: 1},
		}))
		if kind == "dragOver" {
			b.until(`document.querySelector('form.over')`)
		}
	}
	b.until(`document.querySelector('#file').files[0]?.name === 'class-3b.csv' && !document.querySelector('form.over')`)
	b.click(".form button", "Check")
	b.until(`document.querySelector('#verdict')?.innerText === '1 room is in order, 1 row is wrong'`)
	b.until(`document.querySelector('.meta').innerText.includes('class-3b.csv')`)
}

// On paper there are the pictures with their labels and no navigation.
func TestPicturesOnPaper(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := newWhole(t, &tiwtest.Options{Latency: 20 * time.Millisecond, TaskDuration: 100 * time.Millisecond})
	w.rooms("monday", 30)
	b := newBrowser(t, w.URL)
	b.logIn(w.URL, "bob")
	b.do(chromedp.Navigate(w.URL + "/batches/monday"))
	b.until(`document.querySelector('h1 .pill')?.innerText === 'ended'`)
	b.do(chromedp.Navigate(w.URL+"/batches/monday/pictures"),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Media: "print", Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
		}))
	b.until(`document.querySelector('.wall img')?.checkVisibility()`)
	for _, none := range []string{".side", ".find", ".who", "footer", ".buttons", ".crumbs", ".pager", ".skip"} {
		b.until(fmt.Sprintf(`![...document.querySelectorAll(%q)].some((e) => e.checkVisibility())`, none))
	}
	b.until(`[...document.querySelectorAll('.wall > li h2')].every((e) => /^Class \d+\s+\d+$/.test(e.innerText))`)
	// Those that were not scrolled to are there, too. One that a busy machine has refused is asked for again.
	b.until(`[...document.querySelectorAll('.wall img')].
		filter((i) => i.complete && i.naturalWidth === 0 && (i.src = i.src)).length === 0 &&
		[...document.querySelectorAll('.wall img')].every((i) => i.complete && i.naturalWidth > 0)`)
	b.until(`getComputedStyle(document.querySelector('.wall > li')).breakInside === 'avoid'`)
	b.until(`getComputedStyle(document.body).color === 'rgb(23, 33, 43)'`) // who likes it dark, too
}

// Without JavaScript a batch is started from a file, retried, canceled and found.
func TestTheMainWaysWithoutJavaScript(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := newWhole(t, &tiwtest.Options{
		Latency: 20 * time.Millisecond, TaskDuration: 100 * time.Millisecond,
		Faults: tiwtest.Faults{RoomCodes: map[uint64]string{20102: "InvalidParameter.Width"}},
	})
	b := newBrowser(t, w.URL)
	b.do(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	list := filepath.Join(t.TempDir(), "class-3b.csv")
	if err := os.WriteFile(list, []byte("SdkAppId,RoomId\n1400123480,20101\n1400123480,20102\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.do(
		chromedp.Navigate(w.URL+"/batches/new"), chromedp.WaitVisible(chromedp.CSS("#password")),
		chromedp.SendKeys(chromedp.CSS("#name"), "bob"), chromedp.SendKeys(chromedp.CSS("#password"), word+kb.Enter),
		chromedp.WaitVisible(chromedp.CSS("#file")),
		chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{list}),
		chromedp.Click(chromedp.CSS(".form button")),
		chromedp.WaitVisible(chromedp.CSS("#verdict")),
		chromedp.Click(chromedp.CSS(`form[action$="/enqueue"] button`)),
		chromedp.WaitVisible(chromedp.CSS(".said")),
	)
	batch := b.text(`location.pathname`)
	if !strings.HasPrefix(batch, "/batches/class-3b-") {
		t.Fatalf("it leads to %s", batch)
	}
	// It loads itself again, until the batch has ended.
	b.until(`document.querySelector('h1 .pill')?.innerText === 'ended'`)
	if err := w.sim.SetFaults(tiwtest.Faults{}); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Click(chromedp.CSS(`#progress form[action$="/retry"] button`)))
	b.until(`document.querySelector('.said')?.innerText === '1 snapshot is queued again.'`)
	b.until(`document.querySelector('.figure')?.innerText === '100 %' && !document.querySelector('#failures')`)

	if err := w.sim.SetFaults(tiwtest.Faults{Code: 1, CodeName: "ResourceUnavailable.ServiceExpired"}); err != nil {
		t.Fatal(err)
	}
	w.rooms("monday", 30)
	b.do(
		chromedp.Navigate(w.URL+"/batches/monday"),
		chromedp.Click(chromedp.CSS(`#progress details.ask summary`)),
		chromedp.Click(chromedp.CSS(`form[action$="/cancel"] button`)),
	)
	b.until(`document.querySelector('.said')?.innerText.startsWith('Canceled:')`)
	b.do(
		chromedp.Navigate(w.URL+"/find?q="+url.QueryEscape("20102")),
		chromedp.WaitVisible(chromedp.CSS(".rooms tbody a")),
		chromedp.Click(chromedp.CSS(".rooms tbody a")),
		chromedp.WaitVisible(chromedp.CSS(".timeline")),
	)
}

package web_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// axe looks for barriers on the page that is shown.
// https://github.com/dequelabs/axe-core/blob/develop/doc/API.md
func (b *browser) axe(source, name string) {
	b.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](source+`; window.found = null;
		axe.run(document, {resultTypes: ['violations']})
		.then((r) => { window.found = JSON.stringify(r.violations.map((v) =>
			v.id + ': ' + v.nodes.map((n) => n.target + ' ' + n.failureSummary).join('; '))); }); true`)); err != nil {
		b.Fatal(err)
	}
	b.until(`window.found`)
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`window.found`))
	if err != nil {
		b.Fatal(err)
	}
	var found []string
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		b.Fatal(err)
	}
	for _, v := range found {
		b.Errorf("%s: axe finds %.600s", name, v)
	}
}

// look is a form in which people see a page.
type look struct {
	width, height int64
	scheme, lang  string
}

// looks are such that each width, colour scheme and language is there.
var looks = []look{
	{1280, 900, "light", "en"}, {1280, 900, "dark", "zh-CN"}, {390, 844, "light", "zh-CN"}, {390, 844, "dark", "en"},
}

// looks at the page that is shown in a form.
func (b *browser) as(l look) {
	b.Helper()
	b.do(
		call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.width < 600,
		}),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}},
		}),
	)
	b.until(`document.cookie = 'tiwsnap_lang=` + l.lang + `; path=/'`)
}

// picture writes what is shown to the folder of the pictures, small.
func (b *browser) picture(name string, l look) {
	b.Helper()
	dir := os.Getenv(shotsEnv)
	if dir == "" {
		return
	}
	b.until(`[...document.images].every((i) => i.complete || i.getBoundingClientRect().top > innerHeight)`)
	b.do(chromedp.Sleep(700 * time.Millisecond)) // what moves comes to rest; only pictures wait for it
	shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.Fatal(err)
	}
	full, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, fmt.Sprintf("%s-%d-%s-%s.png", name, l.width, l.scheme, l.lang[:2]))
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, fewColours(full)); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
}

// fewColours is the image with 64 of its colours: the most frequent ones, and of
// the others those that differ, so that a rare red is not lost among greys.
func fewColours(full image.Image) *image.Paletted {
	count := map[color.RGBA]int{}
	area := full.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(full.At(x, y)).(color.RGBA) }
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	all := make([]color.RGBA, 0, len(count))
	for c := range count {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b color.RGBA) int { return count[b] - count[a] })
	palette := color.Palette{}
	taken := map[color.RGBA]bool{}
	for far := 64; far > 0; far /= 2 {
		for _, c := range all {
			near := func(p color.Color) bool { return distance(p.(color.RGBA), c) < far }
			if len(palette) < 64 && !taken[c] && (len(palette) < 32 || !slices.ContainsFunc(palette, near)) {
				palette, taken[c] = append(palette, c), true
			}
		}
	}
	out := image.NewPaletted(area, palette)
	near := map[color.RGBA]uint8{}
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			c := at(x, y)
			i, ok := near[c]
			if !ok {
				i = uint8(palette.Index(c))
				near[c] = i
			}
			out.SetColorIndex(x, y, i)
		}
	}
	return out
}

// distance is how much two colours differ, in the channel in which they do most.
func distance(a, b color.RGBA) int {
	return max(abs(int(a.R)-int(b.R)), abs(int(a.G)-int(b.G)), abs(int(a.B)-int(b.B)))
}

func abs(n int) int { return max(n, -n) }

// An administrator logs in, starts a batch from a list, looks at the pictures,
// gives a teacher a link, and finds a room. The teacher sees the pictures.
func TestAnAdministratorAndATeacherInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := newWhole(t, &tiwtest.Options{Latency: 30 * time.Millisecond, TaskDuration: 200 * time.Millisecond})
	b := newBrowser(t, w.URL)
	b.logIn(w.URL, "bob")
	b.do(
		chromedp.Click(chromedp.CSS(`.side a[href="/batches"]`)),
		chromedp.WaitVisible(chromedp.CSS(`a[href="/batches/new"]`)),
		chromedp.Click(chromedp.CSS(`a[href="/batches/new"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#text`)),
		chromedp.SendKeys(chromedp.CSS(`#app`), "1400123480"),
		chromedp.SendKeys(chromedp.CSS(`#text`), "RoomId,Label.Class\n20101,3B\n20102,3B\nx,3B\n20103,3C\n"),
		chromedp.Click(chromedp.CSS(`.form button`)),
		chromedp.WaitVisible(chromedp.CSS(`.faults-list`)),
	)
	b.until(`document.querySelector('#verdict').innerText === '3 rooms are in order, 1 row is wrong'`)
	b.do(chromedp.Click(chromedp.CSS(`form[action$="/enqueue"] button`)), chromedp.WaitVisible(chromedp.CSS(`.said`)))
	b.until(`document.querySelector('.said').innerText.includes('3 rooms are enqueued')`)
	b.until(`document.querySelector('h1 .pill').innerText === 'ended'`) // live
	b.do(chromedp.Click(chromedp.CSS(`a[href$="/pictures"]`)), chromedp.WaitVisible(chromedp.CSS(`.wall img`)))
	b.until(`[...document.querySelectorAll('.wall img')].slice(0, 2).every((i) => i.complete && i.naturalWidth > 0)`)

	// A picture in full size, and on by the keys.
	b.do(chromedp.Click(chromedp.CSS(`.wall a[data-picture]`)))
	b.until(`document.querySelector('dialog.viewer[open] img').naturalWidth >= 640`)
	first, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.querySelector('.viewer img').src`))
	if err != nil {
		t.Fatal(err)
	}
	key := func(name string) {
		b.until(`document.querySelector('.viewer').dispatchEvent(
			new KeyboardEvent('keydown', {key: '` + name + `', bubbles: true})) || true`)
	}
	if n, _ := chromedp.Run(b.ctx, chromedp.Evaluate[int](`document.querySelectorAll('a[data-picture]').length`)); n > 1 {
		key("ArrowRight")
		b.until(`document.querySelector('.viewer img').src !== '` + first + `'`)
		key("ArrowLeft")
		b.until(`document.querySelector('.viewer img').src === '` + first + `'`)
		// Who has no keys, as on a phone, has buttons.
		b.until(`document.querySelector('.viewer p').innerText.includes('20101 · Image 1 (1/')`)
		b.until(`document.querySelector('.viewer [data-step="-1"]').disabled`)
		b.click(".viewer button", "›")
		b.until(`document.querySelector('.viewer img').src !== '` + first + `'`)
		b.click(".viewer button", "‹")
		b.until(`document.querySelector('.viewer img').src === '` + first + `'`)
	}
	b.click(".viewer button", "Close")
	b.until(`!document.querySelector('.viewer[open]')`)

	// A link for the teacher, who has no login.
	b.do(
		chromedp.Click(chromedp.CSS(`details.ask summary`)),
		chromedp.Click(chromedp.CSS(`form[action$="/share"] button`)),
		chromedp.WaitVisible(chromedp.CSS(`#link`)),
	)
	link, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.querySelector('#link').value`))
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Click(chromedp.CSS(`[data-copy]`)))
	b.until(`document.querySelector('[data-copy]').innerText === 'Copied'`)
	batch, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.pathname.split('/')[2]`))

	b.do(
		chromedp.SendKeys(chromedp.CSS(`#find`), "20102"),
		chromedp.Submit(chromedp.CSS(`#find`)),
		chromedp.WaitVisible(chromedp.CSS(`.rooms tbody a`)),
		chromedp.Click(chromedp.CSS(`.rooms tbody a`)),
		chromedp.WaitVisible(chromedp.CSS(`.timeline`)),
	)
	b.until(`document.querySelector('.timeline').innerText.includes('Accepted by Tencent')`)

	b.do(chromedp.Click(chromedp.CSS(`.who button`)), chromedp.WaitVisible(chromedp.CSS(`#password`)))
	b.do(chromedp.Navigate(link))
	b.until(`document.querySelector('.wall img')?.naturalWidth > 0 && !document.querySelector('.side')`)
	b.do(chromedp.Navigate(w.URL + "/batches/" + batch))
	b.until(`location.pathname === '/login'`)
}

// Every page is looked at in each form: axe finds no barrier, text of others
// stays text in both languages, and nothing is asked of another host.
func TestEveryPageInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser and a minute")
	}
	source, err := os.ReadFile("testdata/node/node_modules/axe-core/axe.min.js")
	if err != nil {
		needs.Skip(t, "no axe-core (npm ci --prefix web/testdata/node)")
	}
	w := newWhole(t, &tiwtest.Options{
		Latency: 30 * time.Millisecond, TaskDuration: 300 * time.Millisecond, TaskFailure: 0.05,
	})
	class := "高二（3）班"
	if os.Getenv(shotsEnv) == "" {
		class = hostile
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
		if _, err := enqueue.New(w.rdb, keys.Default).Batch(t.Context(), rooms, o); err != nil {
			t.Fatal(err)
		}
	}
	school("class-3b-monday", 40)
	l := ledger.New(w.rdb, ledger.Options{})
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
	w.hold("s-held", 303)
	w.deadWebhook("class-3b-evening-by-hand-20261128t111106z")
	b := newBrowser(t, w.URL)
	for _, look := range looks[:2] {
		b.do(chromedp.Navigate(w.URL + "/login"))
		b.as(look)
		b.do(chromedp.Navigate(w.URL + "/login"))
		b.axe(string(source), "login")
		b.picture("login", look)
	}
	b.as(looks[0])
	b.logIn(w.URL, "bob")
	b.do(chromedp.Navigate(w.URL + "/batches/class-3b-monday"))
	b.until(`document.querySelector('h1 .pill')?.innerText === 'ended'`)
	school("class-3c-evening", 900)
	if os.Getenv(shotsEnv) != "" { // a picture of its chart has something to show
		b.do(chromedp.Navigate(w.URL + "/batches/class-3c-evening"))
		b.until(`document.querySelector('#chart .line')?.getAttribute('d').length > 200`)
	}

	pages := []struct{ name, path, has string }{
		{"batches", "/batches", `.list`},
		{"batch", "/batches/class-3b-monday", `#chart .line`},
		{"batch-running", "/batches/class-3c-evening", `#chart .line`},
		{"pictures", "/batches/class-3b-monday/pictures", `.wall img`},
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
	for i, look := range looks {
		b.as(look)
		for _, p := range pages {
			b.do(chromedp.Navigate(w.URL + p.path))
			b.until(fmt.Sprintf(`document.querySelector(%q) && document.documentElement.lang === %q`, p.has, look.lang))
			if p.name == "problem" {
				b.expected("404")
			}
			if i < 2 || os.Getenv(shotsEnv) != "" {
				b.axe(string(source), fmt.Sprintf("%s in %s", p.name, look.lang))
			}
			// Nothing sticks out of the page.
			b.until(`document.documentElement.scrollWidth <= innerWidth`)
			// No column of a table is so narrow that its words come letter by letter.
			thin := b.text(`[...document.querySelectorAll('main tbody :is(td, th):not(.act)')]
				.filter((e) => e.checkVisibility() && e.innerText.trim().length > 8 && e.clientWidth < 64)
				.map((e) => e.outerHTML.slice(0, 200)).join()`)
			if thin != "" {
				t.Errorf("%s at %d px: %s", p.name, look.width, thin)
			}
			b.picture(p.name, look)
		}
	}
	if class == hostile {
		b.do(chromedp.Navigate(w.URL + "/failures"))
		b.until(`document.querySelector('.failures').innerText.includes('onerror=alert')`)
	}
}

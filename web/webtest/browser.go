package webtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	cdpruntime "github.com/chromedp/cdproto/runtime"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"tiwsnap/internal/needs"
)

// Browser is a Chromium with its own profile.
type Browser struct {
	*testing.T
	Ctx  context.Context
	host string // the only host that it may connect to

	dialogs chan string // open dialogs

	Mu       sync.Mutex
	faults   []string
	Statuses map[string]int64 // of responses, by URL
}

// NewBrowser starts a Chromium for one test, or skips the test if there is none. The test fails if there is a warning
// or an error on the console, a dialog, a violation of the content security policy, or a request to another host.
func NewBrowser(t *testing.T, site string) *Browser {
	t.Helper()
	program := needs.Program(t, "chromium")
	at, err := url.Parse(site)
	if err != nil {
		t.Fatal(err)
	}
	var options []chromedp.ExecAllocatorOption
	for _, flag := range []string{
		"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "no-default-browser-check",
		"hide-scrollbars", "disable-dev-shm-usage",
		"disable-background-networking", "disable-component-update", "disable-sync", "disable-default-apps",
		"disable-extensions",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	b := &Browser{T: t, host: at.Host, Statuses: map[string]int64{}, dialogs: make(chan string, 100)}
	// t.Context ends before the cleanups, which close the browser gracefully.
	alloc, stop := chromedp.NewExecAllocator(context.Background(),
		append(options, chromedp.ExecPath(program), chromedp.WindowSize(1280, 900))...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithListener(b.event))
	t.Cleanup(cancel)
	b.Ctx = ctx
	b.Do(enable(network.Enable), enable(cdplog.Enable), enable(page.Enable))
	limit := 3 * time.Minute
	if os.Getenv(ShotsEnv) != "" {
		limit = 15 * time.Minute
	}
	b.Ctx, cancel = context.WithTimeout(ctx, limit)
	t.Cleanup(cancel)
	go func() {
		for message := range b.dialogs {
			b.fault("the page opened a dialog: %s", message)
			chromedp.Do(ctx, Call(page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true}))
		}
	}()
	t.Cleanup(func() { close(b.dialogs) })
	t.Cleanup(func() {
		b.Mu.Lock()
		defer b.Mu.Unlock()
		for _, fault := range b.faults {
			t.Error(fault)
		}
	})
	return b
}

func (b *Browser) fault(format string, args ...any) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

func (b *Browser) event(e any) {
	switch e := e.(type) {
	case *network.EventRequestWillBeSent:
		if at, err := url.Parse(e.Request.URL); err != nil ||
			at.Host != b.host && at.Scheme != "data" && at.Scheme != "blob" {
			b.fault("the page sent a request to %s", e.Request.URL)
		}
	case *network.EventResponseReceived:
		b.Mu.Lock()
		b.Statuses[e.Response.URL] = e.Response.Status
		b.Mu.Unlock()
	case *cdplog.EventEntryAdded: // includes violations of the content security policy
		if os.Getenv(ShotsEnv) != "" && strings.Contains(e.Entry.Text, "A negative value is not valid") {
			return // a chart of asynqmon in a narrow window
		}
		if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
			b.fault("the console has: %s %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *cdpruntime.EventConsoleAPICalled:
		if e.Type == cdpruntime.ConsoleAPICalledTypeError || e.Type == cdpruntime.ConsoleAPICalledTypeWarning {
			b.fault("the console has: %s %s", e.Type, e.Args[0].Value)
		}
	case *cdpruntime.EventExceptionThrown:
		b.fault("exception: %s", e.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening:
		b.dialogs <- e.Message
	}
}

// Expected removes a fault that the test has provoked.
func (b *Browser) Expected(part string) {
	b.Helper()
	b.Mu.Lock()
	defer b.Mu.Unlock()
	for i, fault := range b.faults {
		if strings.Contains(fault, part) {
			b.faults = append(b.faults[:i], b.faults[i+1:]...)
			return
		}
	}
	b.Errorf("the browser has not reported %q, but %q", part, b.faults)
}

// Call returns an action that sends a command of the DevTools protocol.
func Call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

func enable[P, R any](command cdp.Command[P, R]) chromedp.Action[chromedp.Void] {
	var params P
	return Call(command, params)
}

// Do runs actions in the browser. It fails the test on an error.
func (b *Browser) Do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.Ctx, actions...); err != nil {
		b.shot("failed")
		b.Fatal(err)
	}
}

// Until waits until a JavaScript expression is true. The page may change meanwhile.
func (b *Browser) Until(expression string) {
	b.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		ok, err := chromedp.Run(b.Ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if ok && err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			text, _ := chromedp.Run(b.Ctx, chromedp.Evaluate[string](`document.body.innerText.slice(0, 2000)`))
			b.shot("failed")
			b.Fatalf("not true within a minute: %s: %v; the page is\n%s", expression, err, text)
		}
	}
}

// ShotsEnv is the environment variable with a folder for screenshots.
const ShotsEnv = "TIWSNAP_TEST_SHOTS"

// shot takes a screenshot if ShotsEnv is set.
func (b *Browser) shot(name string) {
	dir := os.Getenv(ShotsEnv)
	if dir == "" {
		return
	}
	if png, err := chromedp.Run(b.Ctx, chromedp.CaptureScreenshot()); err == nil {
		os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
}

// Shots takes screenshots in each size and colour scheme.
func (b *Browser) Shots(name string) {
	if os.Getenv(ShotsEnv) == "" {
		return
	}
	for _, form := range []struct {
		name          string
		width, height int64
	}{{"desktop", 1280, 900}, {"phone", 390, 844}} {
		for _, scheme := range []string{"light", "dark"} {
			b.Do(
				Call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
					Width: form.width, Height: form.height, DeviceScaleFactor: 1, Mobile: form.name == "phone",
				}),
				Call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				}),
				chromedp.Sleep(500*time.Millisecond), // for animations; only screenshots wait for them
			)
			b.shot(name + "-" + form.name + "-" + scheme)
		}
	}
	b.Do(enable(emulation.ClearDeviceMetricsOverride), enable(emulation.SetEmulatedMedia))
}

// LogIn fills in the login form.
func (b *Browser) LogIn(site, name string) {
	b.Helper()
	b.Do(
		chromedp.Navigate(site+"/"),
		chromedp.WaitVisible(chromedp.CSS(`#password`)),
		chromedp.SendKeys(chromedp.CSS(`#name`), name),
		chromedp.SendKeys(chromedp.CSS(`#password`), Password),
		chromedp.Submit(chromedp.CSS(`#password`)),
		chromedp.WaitVisible(chromedp.CSS(`#now`)),
	)
}

// Click clicks the element that a selector and its text identify.
func (b *Browser) Click(selector, words string) {
	b.Helper()
	b.Until(fmt.Sprintf(`(() => { const found = [...document.querySelectorAll(%q)]
		.find((e) => e.innerText.trim().startsWith(%q) && e.checkVisibility());
		found?.click(); return found; })()`, selector, words))
}

// Text returns the value of a JavaScript expression.
func (b *Browser) Text(expression string) string {
	b.Helper()
	s, err := chromedp.Run(b.Ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// Press presses a key several times.
func (b *Browser) Press(key string, times int, modifiers ...chromedp.Modifier) {
	b.Helper()
	for range times {
		b.Do(chromedp.KeyEvent(key, chromedp.KeyModifiers(modifiers...)))
	}
}

// Axe checks the accessibility of the page: https://github.com/dequelabs/axe-core/blob/develop/doc/API.md
func (b *Browser) Axe(source, name string) {
	b.Helper()
	if _, err := chromedp.Run(b.Ctx, chromedp.Evaluate[bool](source+`; window.found = null;
		axe.run(document, {resultTypes: ['violations']})
		.then((r) => { window.found = JSON.stringify(r.violations.map((v) =>
			v.id + ': ' + v.nodes.map((n) => n.target + ' ' + n.failureSummary).join('; '))); }); true`)); err != nil {
		b.Fatal(err)
	}
	b.Until(`window.found`)
	text, err := chromedp.Run(b.Ctx, chromedp.Evaluate[string](`window.found`))
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

// Look is a window size, a colour scheme and a language.
type Look struct {
	Width, height int64
	scheme, Lang  string
}

// Looks cover each size, colour scheme and language.
var Looks = []Look{
	{1280, 900, "light", "en"}, {1280, 900, "dark", "zh-CN"}, {390, 844, "light", "zh-CN"}, {390, 844, "dark", "en"},
}

// As shows the page in a look.
func (b *Browser) As(l Look) {
	b.Helper()
	b.Do(
		Call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: l.Width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.Width < 600,
		}),
		Call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}},
		}),
	)
	b.Until(`document.cookie = 'tiwsnap_lang=` + l.Lang + `; path=/'`)
}

// Picture takes a screenshot with a small file size.
func (b *Browser) Picture(name string, l Look) {
	b.Helper()
	dir := os.Getenv(ShotsEnv)
	if dir == "" {
		return
	}
	b.Until(`[...document.images].every((i) => i.complete || i.getBoundingClientRect().top > innerHeight)`)
	b.Do(chromedp.Sleep(700 * time.Millisecond)) // for animations; only screenshots wait for them
	shot, err := chromedp.Run(b.Ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.Fatal(err)
	}
	full, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(dir, fmt.Sprintf("%s-%d-%s-%s.png", name, l.Width, l.scheme, l.Lang[:2]))
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, fewColours(full)); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
}

// fewColours reduces an image to 64 colours: the most frequent ones, and rare ones that differ from them. A rare red is
// therefore not lost among greys.
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

// distance returns the greatest difference of two colours in a channel.
func distance(a, b color.RGBA) int {
	return max(abs(int(a.R)-int(b.R)), abs(int(a.G)-int(b.G)), abs(int(a.B)-int(b.B)))
}

func abs(n int) int { return max(n, -n) }

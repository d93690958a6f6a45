package web_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web"
	"tiwsnap/worker"
)

// browser is a Chromium with a profile of its own, and what it complained of.
type browser struct {
	*testing.T
	ctx  context.Context
	host string // the only one that it may talk to

	dialogs chan string // that are open

	mu       sync.Mutex
	faults   []string
	statuses map[string]int64 // of what was loaded, by URL
}

// newBrowser starts a Chromium for one test, or leaves the test out where the
// machine has none. When the test ends it fails for every message on the
// console, dialog, report of the policy and request to another host.
func newBrowser(t *testing.T, site string) *browser {
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
	b := &browser{T: t, host: at.Host, statuses: map[string]int64{}, dialogs: make(chan string, 100)}
	// Not t.Context, which ends before the cleanups: the browser is closed in order.
	alloc, stop := chromedp.NewExecAllocator(context.Background(),
		append(options, chromedp.ExecPath(program), chromedp.WindowSize(1280, 900))...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithListener(b.event))
	t.Cleanup(cancel)
	b.ctx = ctx
	b.do(enable(network.Enable), enable(cdplog.Enable), enable(page.Enable))
	limit := 3 * time.Minute
	if os.Getenv(shotsEnv) != "" {
		limit = 15 * time.Minute
	}
	b.ctx, cancel = context.WithTimeout(ctx, limit)
	t.Cleanup(cancel)
	go func() {
		for message := range b.dialogs {
			b.fault("a dialog: %s", message)
			chromedp.Do(ctx, call(page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true}))
		}
	}()
	t.Cleanup(func() { close(b.dialogs) })
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, fault := range b.faults {
			t.Error(fault)
		}
	})
	return b
}

func (b *browser) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

func (b *browser) event(e any) {
	switch e := e.(type) {
	case *network.EventRequestWillBeSent:
		if at, err := url.Parse(e.Request.URL); err != nil ||
			at.Host != b.host && at.Scheme != "data" && at.Scheme != "blob" {
			b.fault("a request to %s", e.Request.URL)
		}
	case *network.EventResponseReceived:
		b.mu.Lock()
		b.statuses[e.Response.URL] = e.Response.Status
		b.mu.Unlock()
	case *cdplog.EventEntryAdded: // also the reports of the policy
		if os.Getenv(shotsEnv) != "" && strings.Contains(e.Entry.Text, "A negative value is not valid") {
			return // asynqmon's charts, where they are as small as for a picture of a phone
		}
		if e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning {
			b.fault("the console says: %s %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *cdpruntime.EventConsoleAPICalled:
		if e.Type == cdpruntime.ConsoleAPICalledTypeError || e.Type == cdpruntime.ConsoleAPICalledTypeWarning {
			b.fault("the console says: %s %s", e.Type, e.Args[0].Value)
		}
	case *cdpruntime.EventExceptionThrown:
		b.fault("exception: %s", e.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening:
		b.dialogs <- e.Message
	}
}

// expected takes back a fault that the test has provoked.
func (b *browser) expected(part string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, fault := range b.faults {
		if strings.Contains(fault, part) {
			b.faults = append(b.faults[:i], b.faults[i+1:]...)
			return
		}
	}
	b.Errorf("the browser does not complain of %q but of %q", part, b.faults)
}

// call is an action that sends a command of the protocol.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

func enable[P, R any](command cdp.Command[P, R]) chromedp.Action[chromedp.Void] {
	var params P
	return call(command, params)
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.shot("failed")
		b.Fatal(err)
	}
}

// until waits until a JavaScript expression is true, also over a change of
// pages.
func (b *browser) until(expression string) {
	b.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if ok && err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.body.innerText.slice(0, 2000)`))
			b.shot("failed")
			b.Fatalf("not within a minute: %s: %v; the page is\n%s", expression, err, text)
		}
	}
}

// shotsEnv names a folder for pictures of what the browser shows.
const shotsEnv = "TIWSNAP_TEST_SHOTS"

// shot takes a picture, if pictures are wanted.
func (b *browser) shot(name string) {
	dir := os.Getenv(shotsEnv)
	if dir == "" {
		return
	}
	if png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot()); err == nil {
		os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
}

// shots takes pictures in every form that people see a page in.
func (b *browser) shots(name string) {
	if os.Getenv(shotsEnv) == "" {
		return
	}
	for _, form := range []struct {
		name          string
		width, height int64
	}{{"desktop", 1280, 900}, {"phone", 390, 844}} {
		for _, scheme := range []string{"light", "dark"} {
			b.do(
				call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
					Width: form.width, Height: form.height, DeviceScaleFactor: 1, Mobile: form.name == "phone",
				}),
				call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				}),
				chromedp.Sleep(500*time.Millisecond), // what moves comes to rest; only pictures wait for it
			)
			b.shot(name + "-" + form.name + "-" + scheme)
		}
	}
	b.do(enable(emulation.ClearDeviceMetricsOverride), enable(emulation.SetEmulatedMedia))
}

// logIn fills in the form of the login page.
func (b *browser) logIn(site, name string) {
	b.Helper()
	b.do(
		chromedp.Navigate(site+"/"),
		chromedp.WaitVisible(chromedp.CSS(`#password`)),
		chromedp.SendKeys(chromedp.CSS(`#name`), name),
		chromedp.SendKeys(chromedp.CSS(`#password`), word),
		chromedp.Submit(chromedp.CSS(`#password`)),
		chromedp.WaitVisible(chromedp.CSS(`#now`)),
	)
}

// whole is the whole thing: Redis, simulator, worker, and a site with ada, who
// views, and bob, who operates.
type whole struct {
	*testing.T
	URL string
	rdb *redis.Client
	log *buffer
	sim *tiwtest.Server // where it was started
}

// newWhole starts all of it, or without options no simulator and no worker.
func newWhole(t *testing.T, o *tiwtest.Options) *whole {
	t.Helper()
	w := &whole{T: t, rdb: redistest.Client(t), log: new(buffer)}
	apiOptions := web.APIOptions{Redis: w.rdb, Ledger: ledger.New(w.rdb, ledger.Options{})}
	withSimulator(t)(&apiOptions)
	withSchedules(t)(&apiOptions)
	if o != nil {
		apiOptions.Limiters = w.work(*o).Limiters()
	}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	auth, err := web.NewAuth(web.AuthOptions{
		Redis: w.rdb, Log: log,
		Users: []web.User{
			{Name: "ada", Hash: hash, Roles: []web.Role{web.RoleView}},
			{Name: "bob", Hash: hash, Roles: []web.Role{web.RoleOperate}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	apiOptions.Log = log
	api := web.NewAPI(apiOptions)
	pages := web.NewPages(web.PagesOptions{Auth: auth, API: api, Log: log})
	handler := web.NewHandler(web.HandlerOptions{Auth: auth, Log: log},
		slices.Concat(pages.Routes(), api.Routes(), web.NewAsynqmon(web.AsynqmonOptions{Redis: w.rdb, Log: log}).Routes())...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.URL = "http://" + l.Addr().String()
	srv := &http.Server{Handler: handler}
	srv.RegisterOnShutdown(api.Close)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("open pages keep the server from shutting down: %v", err)
			srv.Close()
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return w
}

// work starts a simulator and a worker.
func (w *whole) work(o tiwtest.Options) *worker.Worker {
	w.Helper()
	w.sim = tiwtest.Start(w.T, o)
	key := common.NewCredential(tiwtest.DefaultSecret, tiwtest.DefaultSecret)
	api, err := tiw.New(tiw.Options{Endpoint: w.sim.URL, Credential: key})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { api.Close() })
	wk, err := worker.New(worker.Options{Redis: w.rdb, TIW: api, ConfirmAfter: 500 * time.Millisecond})
	if err != nil {
		w.Fatal(err)
	}
	ctx, stop := context.WithCancel(w.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- wk.Run(ctx) }()
	w.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			w.Error(err)
		}
	})
	return wk
}

// hostile is text that does harm wherever it is taken for HTML or JavaScript.
const hostile = `"'><img src=x onerror=alert(1)><script>alert(2)</script></script><svg ` +
	`onload=alert(3)>{{.}}${alert(4)}javascript:alert(5)`

// batch enqueues n rooms that hold hostile text wherever text may be.
func (w *whole) batch(id string, n int) {
	w.Helper()
	rooms := func(yield func(tasks.Room, error) bool) {
		for i := range n {
			room := tasks.Room{
				SdkAppId: 1400123480, RoomId: uint64(i + 1), Label: map[string]string{"class": hostile},
				Whiteboard: &tasks.Whiteboard{InitParams: `{"a":"<img src=x onerror=alert(6)>"}`},
			}
			if !yield(room, nil) {
				return
			}
		}
	}
	if _, err := enqueue.New(w.rdb, keys.Default).Batch(w.Context(), rooms, enqueue.BatchOptions{ID: id}); err != nil {
		w.Fatal(err)
	}
}

func TestPagesInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser and half a minute")
	}
	w := newWhole(t, &tiwtest.Options{
		Latency: 60 * time.Millisecond, TaskDuration: time.Second, TaskSigma: 0.4, TaskFailure: 0.04,
	})
	b := newBrowser(t, w.URL)
	b.do(chromedp.Navigate(w.URL+"/"), chromedp.WaitVisible(chromedp.CSS(`#password`)))
	b.shots("login")

	w.batch("class-7b-2026-11-24", 400)
	w.batch("evening-school", 60)
	w.batch("math-olympiad-finals", 1500)
	b.logIn(w.URL, "bob")
	b.until(`[...document.querySelectorAll('.batches tbody th')].length === 3`)
	done := `Number(document.querySelector('.batches [data-label=done]').innerText.replace(',', ''))`
	b.until(done + ` > 0`)
	first, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](done))
	if err != nil {
		t.Fatal(err)
	}
	b.until(done + fmt.Sprintf(` > %d`, first)) // without loading the page again
	b.until(`document.querySelector('#now .figure').innerText.includes('of 20')`)
	if os.Getenv(shotsEnv) != "" {
		b.until(done + ` > 100`)
	}
	b.shots("overview")

	t.Run("the queues of a running batch in asynqmon, with their icons", func(t *testing.T) {
		b.do(chromedp.Navigate(w.URL + "/asynqmon/"))
		b.until(`document.body.innerText.includes('bulk')`)
		// Icons are drawn: no element shows the name of one in its place.
		b.until(`document.querySelectorAll('svg.MuiSvgIcon-root').length >= 6`)
		b.until(`[...document.querySelectorAll('svg.MuiSvgIcon-root')].filter(icon => icon.getClientRects().length > 0).
			every(icon => icon.querySelector('path') && icon.getBoundingClientRect().width >= 16)`)
		b.until(`document.querySelectorAll('.material-icons, .MuiIcon-root').length === 0`)
		b.shots("asynqmon-queues")
		b.do(chromedp.Navigate(w.URL + "/asynqmon/queues/tiwsnap-bulk?status=active"))
		b.until(`document.body.innerText.includes('SdkAppId')`)
		b.shots("asynqmon-tasks")
		for _, path := range []string{"/asynqmon/servers", "/asynqmon/redis", "/asynqmon/schedulers", "/asynqmon/settings"} {
			b.do(chromedp.Navigate(w.URL + path))
			b.until(`document.querySelector('main')?.innerText.length > 10`)
		}
	})

	t.Run("who operates pauses a queue there", func(t *testing.T) {
		b.do(chromedp.Navigate(w.URL + "/asynqmon/"))
		b.until(`fetch('/asynqmon/api/queues/tiwsnap-bulk:pause', {method: 'POST'})`)
		inspector := asynq.NewInspectorFromRedisClient(w.rdb)
		paused := func() bool {
			info, err := inspector.GetQueueInfo("tiwsnap-bulk")
			return err == nil && info.Paused
		}
		for deadline := time.Now().Add(10 * time.Second); !paused() && time.Now().Before(deadline); {
			b.until(`true`)
		}
		if !paused() {
			t.Error("it is not paused")
		}
		if err := inspector.UnpauseQueue("tiwsnap-bulk"); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("a page of another site pauses nothing", func(t *testing.T) {
		pause := w.URL + "/asynqmon/api/queues/tiwsnap-bulk:pause"
		evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(rw,
				`<!doctype html><link rel="icon" href="data:,"><form method=post `+
					`action=%q></form><script>document.forms[0].submit()</script>`, pause)
		}))
		defer evil.Close()
		elsewhere := strings.Replace(evil.URL, "127.0.0.1", "localhost", 1) // another site than 127.0.0.1
		b.do(chromedp.Navigate(elsewhere))
		b.until(`location.pathname.endsWith(':pause')`)
		b.expected("a request to " + elsewhere)
		b.expected("403")
		b.mu.Lock()
		status := b.statuses[pause]
		b.mu.Unlock()
		if info, err := asynq.NewInspectorFromRedisClient(w.rdb).GetQueueInfo("tiwsnap-bulk"); err != nil ||
			info.Paused || status != 403 {
			t.Errorf("status %d, %+v, %v", status, info, err)
		}
	})

	t.Run("and ends the session", func(t *testing.T) {
		b.do(chromedp.Navigate(w.URL+"/"), chromedp.WaitVisible(chromedp.CSS(`#now`)),
			chromedp.Click(chromedp.CSS(`.who button`)), chromedp.WaitVisible(chromedp.CSS(`#password`)),
			chromedp.Navigate(w.URL+"/asynqmon/"))
		b.until(`location.pathname === '/login'`)
	})
}

// Who operates stops all sending and starts it; who views sees that it is
// stopped, by whom, and why.
func TestStopAndStartInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := newWhole(t, nil)
	b := newBrowser(t, w.URL)
	b.logIn(w.URL, "bob")
	b.do(
		chromedp.Click(chromedp.CSS(`details.act summary`)),
		chromedp.WaitVisible(chromedp.CSS(`#reason`)),
		chromedp.SendKeys(chromedp.CSS(`#reason`), "maintenance until 6"),
		chromedp.Submit(chromedp.CSS(`#reason`)),
	)
	b.until(`document.querySelector('.trouble')?.innerText.includes('topped by bob: maintenance until 6')`)
	b.shots("stopped")
	b.do(chromedp.Click(chromedp.CSS(`.who button`)), chromedp.WaitVisible(chromedp.CSS(`#password`)))
	b.logIn(w.URL, "ada")
	b.until(`document.querySelector('.trouble')?.innerText.includes('Sending is stopped')`)
	b.until(`!document.querySelector('main form')`)
	b.do(chromedp.Click(chromedp.CSS(`.who button`)), chromedp.WaitVisible(chromedp.CSS(`#password`)))
	b.logIn(w.URL, "bob")
	b.do(chromedp.Click(chromedp.CSS(`.trouble form[action="/start"] button`)))
	b.until(`document.querySelector('#now') &&
		[...document.querySelectorAll('.trouble h2')].map((h) => h.innerText).join() === 'No worker is running'`)
	if log := w.log.String(); !strings.Contains(log,
		`msg="all sending stopped by a person" by=bob reason="maintenance until 6"`) ||
		!strings.Contains(log, `msg="all sending started by a person" by=bob before=person`) {
		t.Errorf("the log does not keep who that was:\n%s", log)
	}
}

func TestHostileTextInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := newWhole(t, nil) // no worker probes the account
	b := newBrowser(t, w.URL)
	l := ledger.New(w.rdb, ledger.Options{})
	// A failure and a stop whose words were made to do harm.
	p := tasks.SnapshotPayload{ID: "s-hostile",
		Room: tasks.Room{SdkAppId: 1, RoomId: 1, Label: map[string]string{hostile[:20]: hostile}}}
	intent, err := l.Begin(t.Context(), p, "token", "")
	if err == nil {
		err = l.Outcome(t.Context(), p.ID, intent.Attempt, ledger.Outcome{
			State: ledger.Failed, Code: hostile, Message: hostile,
		})
	}
	stopped(t, w.rdb, hostile)
	if err == nil {
		_, err = asynq.NewClientFromRedisClient(w.rdb).
			Enqueue(asynq.NewTask(hostile, []byte(hostile)), asynq.Queue("other"), asynq.TaskID(hostile))
	}
	if err != nil {
		t.Fatal(err)
	}
	w.batch("monday", 5)
	b.logIn(w.URL, "ada")
	b.until(`document.querySelector('.trouble')?.innerText.includes('onerror=alert') && ` +
		`document.querySelector('#failures').innerText.includes('onerror=alert')`)
	b.shots("trouble")
	b.do(chromedp.Navigate(w.URL + "/asynqmon/queues/other?status=pending"))
	b.until(`document.body.innerText.includes('onerror=alert')`)
	b.do(chromedp.Navigate(w.URL + "/login?next=" + url.QueryEscape(hostile)))
	b.until(`location.pathname === '/'`) // logged in already
	b.do(chromedp.Click(chromedp.CSS(`.who button`)), chromedp.WaitVisible(chromedp.CSS(`#password`)))
	b.do(chromedp.SendKeys(chromedp.CSS(`#name`), hostile), chromedp.SendKeys(chromedp.CSS(`#password`), "wrong"),
		chromedp.Submit(chromedp.CSS(`#password`)), chromedp.WaitVisible(chromedp.CSS(`.fault`)))
	b.until(`document.querySelector('#name').value.includes('onerror')`)
	b.expected("401")
}

func TestPagesWithoutJavaScript(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: it takes a browser")
	}
	w := newWhole(t, &tiwtest.Options{Latency: 50 * time.Millisecond, TaskDuration: 300 * time.Millisecond})
	b := newBrowser(t, w.URL)
	b.do(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	w.batch("monday", 600)
	b.do(
		chromedp.Navigate(w.URL+"/"), chromedp.WaitVisible(chromedp.CSS(`#password`)),
		chromedp.SendKeys(chromedp.CSS(`#name`), "ada"), chromedp.SendKeys(chromedp.CSS(`#password`), word),
		chromedp.Submit(chromedp.CSS(`#password`)), chromedp.WaitVisible(chromedp.CSS(`.batches`)),
	)
	// It loads itself again, now and then in the middle of a look.
	done := `document.querySelector('.batches [data-label=done]')?.innerText`
	var first string
	for first == "" {
		b.until(done)
		first, _ = chromedp.Run(b.ctx, chromedp.Evaluate[string](done+` ?? ''`))
	}
	b.until(done + ` && ` + done + ` !== '` + first + `'`)
}

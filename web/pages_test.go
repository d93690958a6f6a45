package web_test

import (
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/audit"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/roster"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
	"tiwsnap/web"
)

// pagesOf is the pages and the API over a Redis, open to this machine.
func pagesOf(t *testing.T, rdb redis.UniversalClient, change ...func(*web.APIOptions)) http.Handler {
	t.Helper()
	auth, err := web.NewAuth(web.AuthOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := web.APIOptions{Redis: rdb, Ledger: ledger.New(rdb, ledger.Options{})}
	for _, f := range change {
		f(&o)
	}
	api := web.NewAPI(o)
	pages := web.NewPages(web.PagesOptions{Auth: auth, API: api})
	t.Cleanup(api.Close)
	return web.NewHandler(web.HandlerOptions{Auth: auth}, slices.Concat(pages.Routes(), api.Routes())...)
}

// school enqueues a batch of rooms with labels, of which some have ended.
func school(t *testing.T, rdb redis.UniversalClient, id string, n int) {
	t.Helper()
	rooms := func(yield func(tasks.Room, error) bool) {
		for i := range n {
			label := map[string]string{"Class": fmt.Sprintf("高二（%d）班", i%4+1), "Teacher": "王芳"}
			if !yield(tasks.Room{SdkAppId: 1400123480, RoomId: uint64(20101 + i), Label: label}, nil) {
				return
			}
		}
	}
	if _, err := enqueue.New(rdb, "").Batch(t.Context(), rooms, enqueue.BatchOptions{ID: id}); err != nil {
		t.Fatal(err)
	}
	l := ledger.New(rdb, ledger.Options{})
	for i, code := range []string{"", "InternalErr", "ClientError.NoImage", "AuthFailure", "InvalidParameter.Width"} {
		if i >= n {
			return
		}
		room := tasks.Room{SdkAppId: 1400123480, RoomId: uint64(20101 + i)}
		p := tasks.SnapshotPayload{ID: tasks.RowID(id, i+1), Batch: id, Room: room}
		intent, err := l.Begin(t.Context(), p, "token"+p.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		o := ledger.Outcome{State: ledger.Accepted, TaskID: "task-" + p.ID, RequestID: "request-" + p.ID}
		result := ledger.Result{State: ledger.Succeeded, Code: code}
		switch i {
		case 0:
			result.Images = []string{"https://cos.example/1.png", "https://cos.example/2.png"}
		case 1:
			result.State, result.Message = ledger.Failed, "render failed"
		case 3, 4:
			o = ledger.Outcome{State: ledger.Failed, Code: code, Message: "no"}
		}
		if err := l.Outcome(t.Context(), p.ID, intent.Attempt, o); err != nil {
			t.Fatal(err)
		}
		if o.State == ledger.Accepted {
			if err := l.Settle(t.Context(), p.ID, o.TaskID, result); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Every page is shown in each language, whole, and with a time zone of the
// viewer.
func TestEveryPageIsShown(t *testing.T) {
	rdb := redistest.Client(t)
	school(t, rdb, "monday", 60)
	h := pagesOf(t, rdb, withLimiter(t, rdb), withSchedules(t))
	one := roster.Worker{ID: "w", Host: "snap-1", Settings: map[string]string{"rate.limit": "20"}}
	if err := roster.Tell(t.Context(), rdb, "", one); err != nil {
		t.Fatal(err)
	}
	ask(t, h, "POST", "/batches/monday/pause", "Accept", "text/html")
	for path, wants := range map[string][2]string{
		"/":                             {"Open batches", "未结束的批次"},
		"/batches":                      {"monday", "monday"},
		"/batches?state=open":           {"monday", "monday"},
		"/batches?state=ended":          {"No batch matches.", "没有匹配的批次。"},
		"/batches?q=teacher":            {"monday", "monday"}, // the name of a label
		"/batches?day=2020-01-01":       {"No batch matches.", "没有匹配的批次。"},
		"/batches/monday":               {"Failures by code", "按错误码统计的失败"},
		"/batches/monday?state=failed":  {"20102", "20102"},
		"/batches/monday?from=51":       {"20160", "20160"},
		"/snapshots/monday.1":           {"Timeline", "经过"},
		"/snapshots/monday.2":           {"failed to render the whiteboard", "生成白板快照失败"},
		"/snapshots/monday.50":          {"Its batch is paused", "所属批次已暂停"},
		"/?span=24h":                    {"Requests a second", "每秒请求数"},
		"/batches/new":                  {"Check the list", "检查名单"},
		"/batches/monday/pictures":      {"高二（1）班", "分享链接"},
		"/failures":                     {"AuthFailure", "密钥被拒绝"},
		"/failures?code=InternalErr":    {"20102", "20102"},
		"/held":                         {"Nothing is held for review.", "没有需要人工确认的。"},
		"/schedules":                    {"Next ticks", "接下来的运行时间"},
		"/webhooks":                     {"Every webhook was delivered", "所有通知均已送达"},
		"/webhooks?state=waiting":       {"No webhook waits", "没有等待重试的通知"},
		"/limit?span=7d":                {"Set the limit", "设置限制"},
		"/workers":                      {"snap-1", "snap-1"},
		"/redis":                        {"Clock ahead", "时钟比本机快"},
		"/audit":                        {"pause-batch", "pause-batch"},
		"/find?q=20102":                 {"/snapshots/monday.2", "/snapshots/monday.2"},
		"/find?q=request-monday.1":      {"/snapshots/monday.1", "/snapshots/monday.1"},
		"/find?q=nothing":               {"Nothing found.", "没有找到。"},
		"/docs":                         {"POST /v1/batches", "POST /v1/batches"},
		"/login?next=%2Fbatches%2Fnone": {"", ""},
	} {
		for i, lang := range []string{"en-US,en;q=0.9", "zh-CN,zh;q=0.9,en;q=0.5"} {
			w := ask(t, h, "GET", path, "Accept", "text/html", "Accept-Language", lang, "Cookie", "tiwsnap_zone=Asia%2FShanghai")
			body := w.Body.String()
			if strings.HasPrefix(path, "/login") {
				continue
			}
			if w.Code != 200 || !strings.Contains(body, wants[i]) || !strings.HasSuffix(strings.TrimSpace(body), "</html>") {
				t.Errorf("%s in %s: %d, want %q in\n%s", path, lang, w.Code, wants[i], body)
			}
			if m := regexp.MustCompile(`%!|&lt;no value|\[\[|%s|%d`).FindString(body); m != "" {
				t.Errorf("%s in %s has %q", path, lang, m)
			}
			if want := [2]string{`<html lang="en">`, `<html lang="zh-CN">`}[i]; !strings.Contains(body, want) {
				t.Errorf("%s: no %s", path, want)
			}
			if !strings.Contains(body, "Asia/Shanghai") {
				t.Errorf("%s: the time zone is not the viewer's", path)
			}
		}
	}
	for _, path := range []string{"/batches/nobody", "/snapshots/nobody", "/batches?day=x", "/batches/monday?state=x"} {
		w := ask(t, h, "GET", path, "Accept", "text/html")
		if w.Code != 404 && w.Code != 422 || !strings.Contains(w.Body.String(), "<h1>") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// picture lets a row of a batch succeed with an image.
func picture(t *testing.T, l *ledger.Ledger, batch string, row int, urls ...string) {
	t.Helper()
	room := tasks.Room{SdkAppId: 1400123480, RoomId: uint64(20100 + row)}
	p := tasks.SnapshotPayload{ID: tasks.RowID(batch, row), Batch: batch, Room: room}
	intent, err := l.Begin(t.Context(), p, "token"+p.ID, "")
	if err == nil {
		err = l.Outcome(t.Context(), p.ID, intent.Attempt, ledger.Outcome{State: ledger.Accepted, TaskID: "task-" + p.ID})
	}
	if err == nil {
		err = l.Settle(t.Context(), p.ID, "task-"+p.ID, ledger.Result{State: ledger.Succeeded, Images: urls})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// send sends a form to a handler, with headers: name, value, …
func send(t *testing.T, h http.Handler, path string, values url.Values, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "http://127.0.0.1"+path, strings.NewReader(values.Encode()))
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// withLimiter gives the API the rate limit of a worker.
func withLimiter(t *testing.T, rdb redis.UniversalClient) func(*web.APIOptions) {
	l, err := ratelimit.New(ratelimit.Options{Redis: rdb, Key: keys.Default.Limit(gate.ActionCreate)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(context.Background()) })
	return func(o *web.APIOptions) { o.Limiters = map[string]*ratelimit.Limiter{gate.ActionCreate: l} }
}

// withSchedules gives the API a schedule of two rooms.
func withSchedules(t *testing.T) func(*web.APIOptions) {
	spec, err := schedule.ParseSpec("45 10 * * 1-5", "Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	return func(o *web.APIOptions) {
		o.Schedules = []schedule.Schedule{{
			Name: "after-class", Cron: "45 10 * * 1-5", Zone: "Asia/Shanghai", Spec: spec,
			Source: schedule.List("SdkAppId,RoomId\n7,1\n7,2\n7,x\n"),
		}}
	}
}

// A schedule whose list cannot be read is a trouble of the first page.
func TestTheFirstPageSaysThatAScheduleFails(t *testing.T) {
	rdb := redistest.Client(t)
	var o web.APIOptions
	withSchedules(t)(&o)
	store := schedule.NewStore(rdb, keys.Default)
	if _, _, err := store.Begin(t.Context(), o.Schedules[0]); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	reason := "rooms of https://portal.example.com: it answers 503"
	try := schedule.Trying{Tick: now, Begun: now, Failures: 3, Error: reason}
	if err := store.Try(t.Context(), o.Schedules[0], try); err != nil {
		t.Fatal(err)
	}
	body := ask(t, pagesOf(t, rdb, withSchedules(t)), "GET", "/", "Accept", "text/html").Body.String()
	for _, want := range []string{"Schedule after-class fails", reason, `href="/schedules">Schedules`} {
		if !strings.Contains(body, want) {
			t.Errorf("it does not say %q:\n%s", want, body)
		}
	}
}

// A list is uploaded, what is wrong with it is shown, and only then is it
// enqueued, once.
func TestABatchIsStartedOnAPage(t *testing.T) {
	rdb := redistest.Client(t)
	h := pagesOf(t, rdb)
	upload := func(fields map[string]string, file, list string) *httptest.ResponseRecorder {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		for name, value := range fields {
			if name != "text" { // which is the last one
				form.WriteField(name, value)
			}
		}
		part, err := form.CreateFormFile("file", file)
		if err != nil {
			t.Fatal(err)
		}
		part.Write([]byte(list))
		form.WriteField("text", fields["text"])
		form.Close()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "http://127.0.0.1/batches/new", &body)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Content-Type", form.FormDataContentType())
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	batches := func() int {
		n, err := rdb.ZCard(t.Context(), keys.Default.Batches()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}

	w := upload(nil, "高二 Class 3B.csv", "RoomId,Label.Class\n20101,3B\n20102,3B\nx,3B\n20101,3B\n")
	draft := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(draft, "/drafts/") {
		t.Fatalf("%d %s %s", w.Code, draft, w.Body)
	}
	show := func() string {
		w := ask(t, h, "GET", draft, "Accept", "text/html")
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	if body := show(); !strings.Contains(body, "Nothing can be enqueued") || !strings.Contains(body, "SdkAppId") ||
		strings.Contains(body, "/enqueue") {
		t.Errorf("without an SdkAppId it shows %s", body)
	}
	if w := send(t, h, draft+"/defaults", url.Values{"SdkAppId": {"1400123480"}}); w.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if body := show(); !strings.Contains(body, "2 rooms are in order") || !strings.Contains(body, "2 rows are wrong") ||
		!strings.Contains(body, "Enqueue 2 rooms") {
		t.Errorf("it shows %s", body)
	}
	if batches() != 0 {
		t.Error("a list that was only looked at is enqueued")
	}
	w = send(t, h, draft+"/enqueue", nil)
	to := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(to, "/batches/class-3b-") || batches() != 1 {
		t.Errorf("%d %s %s, %d batches", w.Code, to, w.Body, batches())
	}
	if w := send(t, h, draft+"/enqueue", nil); w.Code != http.StatusNotFound || batches() != 1 {
		t.Errorf("a second time: %d, %d batches", w.Code, batches())
	}

	// Pasted, and no file.
	w = upload(map[string]string{"SdkAppId": "7", "text": "RoomId\tLabel.Class\n1\t3B\n"}, "", "")
	draft = w.Header().Get("Location")
	if body := show(); !strings.Contains(body, "1 room is in order") {
		t.Errorf("pasted: %s", body)
	}
	if w := upload(nil, "", ""); w.Code != 422 || !strings.Contains(w.Body.String(), "choose a file or paste rows") {
		t.Errorf("nothing: %d %s", w.Code, w.Body)
	}
	big := "RoomId\n" + strings.Repeat("1234567890\n", 17<<20/11)
	if w := upload(nil, "big.csv", big); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large one: %d", w.Code)
	}
}

// Each change on a page does it, says so, and is kept with who has made it.
func TestChangesOnPages(t *testing.T) {
	rdb := redistest.Client(t)
	school(t, rdb, "monday", 60)
	h := pagesOf(t, rdb, withLimiter(t, rdb), withSchedules(t))
	for _, step := range []struct{ path, form, to, said, action string }{
		{"/batches/monday/pause", "", "/batches/monday", "Paused.", "pause-batch"},
		{"/batches/monday/resume", "", "/batches/monday", "Resumed.", "resume-batch"},
		{"/batches/monday/retry", "code=InternalErr", "/batches/monday", "1 snapshot is queued again.", "retry-batch"},
		{"/snapshots/monday.4/retry", "", "/snapshots/monday.4", "Queued again.", "retry-snapshot"},
		{
			"/failures/retry", "id=monday.5&id=monday.1&id=nobody", "/failures", "1 snapshot is queued again.",
			"retry-snapshot",
		},
		{"/batches/monday/again", "name=tuesday", "/batches/tuesday", "60 rooms of monday", "again-batch"},
		{"/snapshots/tuesday.9/cancel", "", "/snapshots/tuesday.9", "Canceled.", "cancel-snapshot"},
		{"/batches/tuesday/cancel", "", "/batches/tuesday", "Canceled: 59 rooms", "cancel-batch"},
		{"/failures/retry", "all=true&code=AuthFailure", "/failures", "0 snapshots", "cancel-batch"},
		{"/limit", "limit=10", "/limit", "10 a second", "set-limit"},
		{"/limit", "default=true", "/limit", "as configured", "set-limit"},
		{"/schedules/after-class/pause", "", "/schedules", "is paused", "pause-schedule"},
		{"/schedules/after-class/resume", "", "/schedules", "is resumed", "resume-schedule"},
		{"/schedules/after-class/run", "", "/batches/after-class-",
			"2 rooms are enqueued. Left out as wrong: 1.", "run-schedule"},
		{"/webhooks/resend", "", "/webhooks", "0 webhooks", "run-schedule"},
		{"/stop", "reason=exam", "/", "Sending is stopped.", "stop-sending"},
		{"/start", "", "/", "Sending is started.", "start-sending"},
	} {
		form, err := url.ParseQuery(step.form)
		if err != nil {
			t.Fatal(err)
		}
		w := send(t, h, step.path, form)
		to := w.Header().Get("Location")
		if w.Code != http.StatusSeeOther || !strings.HasPrefix(to, step.to) || step.to == "/" && to != "/" {
			t.Errorf("%s %s: %d %s %s", step.path, step.form, w.Code, to, w.Body)
			continue
		}
		var cookie string
		for _, c := range w.Result().Cookies() {
			cookie += c.Name + "=" + c.Value + "; "
		}
		page := ask(t, h, "GET", to, "Accept", "text/html", "Cookie", cookie)
		if page.Code != 200 || !strings.Contains(page.Body.String(), step.said) {
			t.Errorf("%s %s: then %s is %d and does not say %q:\n%s", step.path, step.form, to, page.Code, step.said, page.Body)
		}
		all, _, err := audit.New(rdb, "").Page(t.Context(), "", 1)
		if err != nil || len(all) != 1 || all[0].Action != step.action || all[0].By != "anonymous" ||
			all[0].Via != audit.Page || all[0].From == "" {
			t.Errorf("%s: the audit log has %+v, %v", step.path, all, err)
		}
	}
	for path, form := range map[string]string{
		"/limit": "limit=0", "/schedules/none/run": "", "/webhooks/none/resend": "", "/batches/none/again": "",
		"/snapshots/monday.1/retry": "",
	} {
		values, err := url.ParseQuery(form)
		if err != nil {
			t.Fatal(err)
		}
		w := send(t, h, path, values)
		if w.Code < 400 || w.Code >= 500 || !strings.Contains(w.Body.String(), "<h1>") {
			t.Errorf("%s %s: %d %s", path, form, w.Code, w.Body)
		}
	}
}

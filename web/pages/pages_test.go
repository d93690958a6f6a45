package pages_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/audit"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/roster"
	"tiwsnap/ledger"
	"tiwsnap/schedule"
	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/web/webtest"
)

// Every page renders completely in each language, with the time zone of the viewer.
func TestEveryPageRendersInBothLanguages(t *testing.T) {
	rdb := redistest.Client(t)
	webtest.School(t, rdb, "monday", 60)
	h := webtest.NewPages(t, rdb, webtest.WithLimiter(t, rdb), webtest.WithSchedules(t))
	one := roster.Worker{ID: "w", Host: "snap-1", Settings: map[string]string{"rate.limit": "20"}}
	if err := roster.Heartbeat(t.Context(), rdb, "", one); err != nil {
		t.Fatal(err)
	}
	webtest.Ask(t, h, "POST", "/batches/monday/pause", "Accept", "text/html")
	for path, wants := range map[string][2]string{
		"/":                             {"Open batches", "未结束的批次"},
		"/batches":                      {"monday", "monday"},
		"/batches?state=open":           {"monday", "monday"},
		"/batches?state=ended":          {"No batch matches.", "没有匹配的批次。"},
		"/batches?q=teacher":            {"monday", "monday"}, // a label name
		"/batches?day=2020-01-01":       {"No batch matches.", "没有匹配的批次。"},
		"/batches/monday":               {"Failures by code", "按错误码统计的失败"},
		"/batches/monday?state=failed":  {"20102", "20102"},
		"/batches/monday?from=51":       {"20160", "20160"},
		"/snapshots/monday.1":           {"Timeline", "经过"},
		"/snapshots/monday.2":           {"failed to render the whiteboard", "生成白板快照失败"},
		"/snapshots/monday.50":          {"Its batch is paused", "所属批次已暂停"},
		"/?span=24h":                    {"Requests a second", "每秒请求数"},
		"/batches/new":                  {"Check the list", "检查名单"},
		"/batches/monday/images":        {"高二（1）班", "分享链接"},
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
			w := webtest.Ask(t, h, "GET", path, "Accept", "text/html", "Accept-Language", lang,
				"Cookie", "tiwsnap_zone=Asia%2FShanghai")
			body := w.Body.String()
			if strings.HasPrefix(path, "/login") {
				continue
			}
			if w.Code != 200 || !strings.Contains(body, wants[i]) || !strings.HasSuffix(strings.TrimSpace(body), "</html>") {
				t.Errorf("GET %s in %s: status %d, want 200 and %q:\n%s", path, lang, w.Code, wants[i], body)
			}
			if m := regexp.MustCompile(`%!|&lt;no value|\[\[|%s|%d`).FindString(body); m != "" {
				t.Errorf("GET %s in %s has the placeholder %q", path, lang, m)
			}
			if want := [2]string{`<html lang="en">`, `<html lang="zh-CN">`}[i]; !strings.Contains(body, want) {
				t.Errorf("GET %s lacks %s", path, want)
			}
			if !strings.Contains(body, "Asia/Shanghai") {
				t.Errorf("GET %s lacks the time zone of the viewer", path)
			}
		}
	}
	for _, path := range []string{"/batches/nobody", "/snapshots/nobody", "/batches?day=x", "/batches/monday?state=x"} {
		w := webtest.Ask(t, h, "GET", path, "Accept", "text/html")
		if w.Code != 404 && w.Code != 422 || !strings.Contains(w.Body.String(), "<h1>") {
			t.Errorf("GET %s: status %d, want 404 or 422 as a page:\n%s", path, w.Code, w.Body)
		}
	}
}

// The first page reports a schedule whose list cannot be read.
func TestFirstPageShowsAFailingSchedule(t *testing.T) {
	rdb := redistest.Client(t)
	var o api.Options
	webtest.WithSchedules(t)(&o)
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
	h := webtest.NewPages(t, rdb, webtest.WithSchedules(t))
	body := webtest.Ask(t, h, "GET", "/", "Accept", "text/html").Body.String()
	for _, want := range []string{"Schedule after-class fails", reason, `href="/schedules">Schedules`} {
		if !strings.Contains(body, want) {
			t.Errorf("the first page lacks %q:\n%s", want, body)
		}
	}
}

// An uploaded list is first checked, and its errors are shown. After the confirmation it is enqueued once.
func TestStartABatchFromAnUpload(t *testing.T) {
	rdb := redistest.Client(t)
	h := webtest.NewPages(t, rdb)
	upload := func(fields map[string]string, file, list string) *httptest.ResponseRecorder {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		for name, value := range fields {
			if name != "text" { // the last field
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
		t.Fatalf("upload: status %d, Location %s, want 303 to /drafts/:\n%s", w.Code, draft, w.Body)
	}
	show := func() string {
		w := webtest.Ask(t, h, "GET", draft, "Accept", "text/html")
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
	if body := show(); !strings.Contains(body, "Nothing can be enqueued") || !strings.Contains(body, "SdkAppId") ||
		strings.Contains(body, "/enqueue") {
		t.Errorf("without an SdkAppId the draft shows %s", body)
	}
	if w := webtest.Send(t, h, draft+"/defaults", url.Values{"SdkAppId": {"1400123480"}}); w.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if body := show(); !strings.Contains(body, "2 rooms are valid") || !strings.Contains(body, "2 rows are wrong") ||
		!strings.Contains(body, "Enqueue 2 rooms") {
		t.Errorf("the draft shows %s, want 2 valid and 2 wrong rows", body)
	}
	if batches() != 0 {
		t.Error("a list is enqueued before the confirmation")
	}
	w = webtest.Send(t, h, draft+"/enqueue", nil)
	to := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(to, "/batches/class-3b-") || batches() != 1 {
		t.Errorf("enqueue: status %d, Location %s, %d batches, want 303 to 1 batch:\n%s", w.Code, to, batches(), w.Body)
	}
	if w := webtest.Send(t, h, draft+"/enqueue", nil); w.Code != http.StatusNotFound || batches() != 1 {
		t.Errorf("a second enqueue: status %d, %d batches, want 404 and 1", w.Code, batches())
	}

	// Pasted text instead of a file.
	w = upload(map[string]string{"SdkAppId": "7", "text": "RoomId\tLabel.Class\n1\t3B\n"}, "", "")
	draft = w.Header().Get("Location")
	if body := show(); !strings.Contains(body, "1 room is valid") {
		t.Errorf("the draft of pasted text shows %s", body)
	}
	if w := upload(nil, "", ""); w.Code != 422 || !strings.Contains(w.Body.String(), "choose a file or paste rows") {
		t.Errorf("an empty form: status %d, want 422 and what to do:\n%s", w.Code, w.Body)
	}
	big := "RoomId\n" + strings.Repeat("1234567890\n", 17<<20/11)
	if w := upload(nil, "big.csv", big); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a list of 17 MB: status %d, want 413", w.Code)
	}
}

// Each action on a page takes effect, is confirmed, and is in the audit log with its user.
func TestActionsAreConfirmedAndAudited(t *testing.T) {
	rdb := redistest.Client(t)
	webtest.School(t, rdb, "monday", 60)
	h := webtest.NewPages(t, rdb, webtest.WithLimiter(t, rdb), webtest.WithSchedules(t))
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
		{"/limit", "limit=10", "/limit", "is 10 requests a second.", "set-limit"},
		{"/limit", "limit=1", "/limit", "is 1 request a second.", "set-limit"},
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
		w := webtest.Send(t, h, step.path, form)
		to := w.Header().Get("Location")
		if w.Code != http.StatusSeeOther || !strings.HasPrefix(to, step.to) || step.to == "/" && to != "/" {
			t.Errorf("POST %s %s: status %d, Location %s, want 303 to %s:\n%s", step.path, step.form, w.Code, to, step.to,
				w.Body)
			continue
		}
		var cookie string
		for _, c := range w.Result().Cookies() {
			cookie += c.Name + "=" + c.Value + "; "
		}
		page := webtest.Ask(t, h, "GET", to, "Accept", "text/html", "Cookie", cookie)
		if page.Code != 200 || !strings.Contains(page.Body.String(), step.said) {
			t.Errorf("POST %s %s: GET %s has status %d, want 200 and %q:\n%s", step.path, step.form, to, page.Code,
				step.said, page.Body)
		}
		all, _, err := audit.New(rdb, "").Page(t.Context(), "", 1)
		if err != nil || len(all) != 1 || all[0].Action != step.action || all[0].By != "anonymous" ||
			all[0].Via != audit.Page || all[0].From == "" {
			t.Errorf("POST %s: the audit log has %+v, %v, want %s", step.path, all, err, step.action)
		} else if step.path == "/start" && all[0].Detail != "it was stopped by a person" {
			t.Errorf("the detail of the start is %q, want who had stopped sending", all[0].Detail)
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
		w := webtest.Send(t, h, path, values)
		if w.Code < 400 || w.Code >= 500 || !strings.Contains(w.Body.String(), "<h1>") {
			t.Errorf("POST %s %s: status %d, want 4xx as a page:\n%s", path, form, w.Code, w.Body)
		}
	}
}

// The role produce is limited to its own batches on the pages, too.
func TestRoleProduceSeesOnlyItsOwnBatches(t *testing.T) {
	rdb := redistest.Client(t)
	webtest.School(t, rdb, "monday", 10)
	auth, err := web.NewAuth(web.AuthOptions{Tokens: []web.Token{
		{Name: "erp", Hash: password.HashToken("tiw_produce"), Roles: []web.Role{web.RoleProduce}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	h, stop := webtest.Handler(auth, api.Options{Redis: rdb, Ledger: ledger.New(rdb, ledger.Options{})})
	t.Cleanup(stop)
	get := func(path string) (int, string, string) {
		w := webtest.Ask(t, h, "GET", path, "Accept", "text/html", "Authorization", "Bearer tiw_produce")
		return w.Code, w.Header().Get("Location"), w.Body.String()
	}
	if code, to, _ := get("/"); code != http.StatusSeeOther || to != "/batches" {
		t.Errorf("GET /: status %d, Location %s, want 303 to /batches", code, to)
	}
	if code, _, body := get("/batches"); code != 200 || strings.Contains(body, "monday") ||
		strings.Contains(body, "/audit") {
		t.Errorf("GET /batches: status %d, want 200 without monday and the audit log:\n%s", code, body)
	}
	for _, path := range []string{"/batches/monday", "/snapshots/monday.1", "/batches/monday/images"} {
		if code, _, _ := get(path); code != 404 {
			t.Errorf("GET %s: status %d, want 404", path, code)
		}
	}
	if code, _, body := get("/find?q=20102"); code != 200 || strings.Contains(body, "monday.2") {
		t.Errorf("GET /find: status %d, want 200 without monday.2:\n%s", code, body)
	}
}

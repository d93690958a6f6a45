package web_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
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
	t.Cleanup(pages.Close)
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
		p := tasks.SnapshotPayload{ID: tasks.RowID(id, i+1), Batch: id, Room: tasks.Room{SdkAppId: 1400123480, RoomId: uint64(20101 + i)}}
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
	h := pagesOf(t, rdb)
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
		"/snapshots/monday.50":          {"waits for its turn", "排队等待发送"},
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
		if w := ask(t, h, "GET", path, "Accept", "text/html"); w.Code != 404 && w.Code != 422 || !strings.Contains(w.Body.String(), "<h1>") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

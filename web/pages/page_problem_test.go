package pages_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/web"
	"tiwsnap/web/pages"
	"tiwsnap/web/webtest"
)

// The page of every problem has the navigation of its site, in the language of the viewer. Without a login it has none,
// and does not reveal which sites exist.
func TestProblemPagesHaveTheNavigation(t *testing.T) {
	const token, producer = "tiw_view", "tiw_produce"
	auth, err := web.NewAuth(web.AuthOptions{Tokens: []web.Token{
		{Name: "ada", Hash: password.HashToken(token), Roles: []web.Role{web.RoleView}},
		{Name: "erp", Hash: password.HashToken(producer), Roles: []web.Role{web.RoleProduce}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	panics := func(http.ResponseWriter, *http.Request) { panic("CANARY") }
	routes := func() []web.Route {
		return []web.Route{
			web.Handle("GET /{$}", web.RoleView, webtest.Echo),
			web.Handle("GET /broken", web.RoleView, panics),
			web.Handle("POST /operate", web.RoleOperate, webtest.Echo),
		}
	}
	sites := []web.Site{{Name: "school-a"}, {Name: "school-b", Base: "/n/school-b"}}
	h := web.NewHandler(web.HandlerOptions{Auth: auth, ProblemPage: pages.ShowProblem, Sites: sites},
		slices.Concat(sites[0].Under(routes()...), sites[1].Under(routes()...))...)

	nav := regexp.MustCompile(`(?s)<nav class="side".*</nav>`)
	get := func(path, token, lang string) (*httptest.ResponseRecorder, string) {
		header := []string{"Accept", "text/html", "Accept-Language", lang}
		if token != "" {
			header = append(header, "Authorization", "Bearer "+token)
		}
		w := webtest.Ask(t, h, "GET", path, header...)
		return w, nav.FindString(w.Body.String())
	}
	for path, status := range map[string]int{"/nothing": 404, "/operate": 405, "/?a=%zz": 400, "/broken": 500} {
		for _, site := range sites {
			for lang, words := range map[string]string{"en": "Rate limit", "zh-CN": "频率限制"} {
				w, links := get(site.Base+path, token, lang)
				if w.Code != status || !strings.Contains(links, `href="`+site.Base+`/limit"`) ||
					!strings.Contains(links, words) {
					t.Errorf("%s%s in %s: status %d, want %d and the navigation of %s:\n%s", site.Base, path, lang, w.Code, status,
						site.Name, w.Body)
				}
				current := `href="` + site.Base + `/" aria-current="true">` + site.Name
				if !strings.Contains(w.Body.String(), current) {
					t.Errorf("%s%s in %s: the links of the namespaces lack %s:\n%s", site.Base, path, lang, current, w.Body)
				}
			}
		}
	}
	if _, links := get("/n/school-bb/x", token, "en"); !strings.Contains(links, `href="/limit"`) {
		t.Errorf("/n/school-bb/x has the navigation %s, want that of school-a", links)
	}
	if _, links := get("/nothing", producer, "en"); !strings.Contains(links, `href="/batches"`) ||
		strings.Contains(links, `href="/limit"`) {
		t.Errorf("with the role produce: navigation %s, want batches and no rate limit", links)
	}
	for _, token := range []string{"", "tiw_wrong"} {
		w, links := get("/n/school-b/nothing", token, "en")
		if body := w.Body.String(); w.Code != 404 || links != "" || strings.Contains(body, "school-a") ||
			strings.Contains(strings.ReplaceAll(body, "/n/school-b/nothing", ""), "school-b") {
			t.Errorf("with the token %q: status %d, want 404 without a navigation:\n%s", token, w.Code, body)
		}
	}
}

// A problem with a field of a form names the field as the form does, in the language of the viewer.
func TestProblemPagesNameTheFieldsOfForms(t *testing.T) {
	rdb := redistest.Client(t)
	webtest.School(t, rdb, "monday", 10)
	h := webtest.NewPages(t, rdb, webtest.WithLimiter(t, rdb))
	for _, test := range []struct {
		path string
		form url.Values // nil: GET
		want [2]string
	}{
		{"/limit", url.Values{"limit": {"x"}}, [2]string{
			"<b>Requests a second</b> must be a whole number from 1 to 10,000", "<b>每秒请求数</b> 必须是 1 到 10,000 的整数",
		}},
		{"/batches/monday/share", url.Values{"days": {"99"}}, [2]string{
			"<b>Validity</b> must be 1 to 30 days", "<b>有效期</b> 必须是 1 到 30 天",
		}},
		{"/batches/monday/again", url.Values{"name": {"A b"}}, [2]string{
			"<b>Name of the batch</b> must be 1 to 64", "<b>批次名称</b> 必须是 1 到 64",
		}},
		{"/settings", url.Values{"zone": {"Mars"}}, [2]string{
			"<b>Time zone</b> must be a time zone such as", "<b>时区</b> 必须是时区",
		}},
		{"/batches/new", url.Values{}, [2]string{"<b>The form</b> is not an upload", "<b>表单</b> 不是上传的表单"}},
		{"/batches?day=x", nil, [2]string{"<b>Day</b> must be a date", "<b>日期</b> 必须是日期"}},
		{"/batches/monday?state=x", nil, [2]string{"<b>State</b> is not known", "<b>状态</b> 不是已知的值"}},
		{"/audit?cursor=x", nil, [2]string{"<b>Place in the list</b> is not one", "<b>列表位置</b> 不是前一页"}},
	} {
		for i, lang := range []string{"en", "zh-CN"} {
			var w *httptest.ResponseRecorder
			if test.form == nil {
				w = webtest.Ask(t, h, "GET", test.path, "Accept", "text/html", "Accept-Language", lang)
			} else {
				w = webtest.Send(t, h, test.path, test.form, "Accept-Language", lang)
			}
			if w.Code != 422 || !strings.Contains(w.Body.String(), test.want[i]) {
				t.Errorf("%s in %s: status %d, want 422 and %q:\n%s", test.path, lang, w.Code, test.want[i], w.Body)
			}
		}
	}
}

package pages_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tiwsnap/internal/password"
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

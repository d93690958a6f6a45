package web_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tiwsnap/internal/password"
	"tiwsnap/web"
	"tiwsnap/web/webtest"
)

func TestRoles(t *testing.T) {
	s := webtest.NewSite(t,
		web.Route{Pattern: "GET /public", Handler: webtest.Echo},
		web.Route{Pattern: "GET /view", Role: web.RoleView, Handler: webtest.Echo},
		web.Route{Pattern: "POST /produce", Role: web.RoleProduce, Handler: webtest.Echo},
		web.Route{Pattern: "POST /operate", Role: web.RoleOperate, Handler: webtest.Echo},
	)
	for _, test := range []struct {
		token string
		want  []int // of the four routes
	}{
		{"", []int{200, 401, 401, 401}},
		{"none", []int{200, 401, 401, 401}},
		{"view", []int{200, 200, 403, 403}},
		{"produce", []int{200, 403, 200, 403}},
		{"operate", []int{200, 200, 200, 200}},
	} {
		var got []int
		for _, route := range []string{"GET /public", "GET /view", "POST /produce", "POST /operate"} {
			method, target, _ := strings.Cut(route, " ")
			var header []string
			if test.token != "" {
				header = []string{"Authorization", "Bearer " + s.Tokens[test.token]}
			}
			w := s.Ask(method, target, header...)
			got = append(got, w.Code)
			if w.Code == 200 && slices.Contains([]string{"view", "produce", "operate"}, test.token) &&
				w.Body.String() != "the-"+test.token {
				t.Errorf("%s with the token %s: principal %q, want the-%s", route, test.token, w.Body, test.token)
			}
			if w.Code != 200 &&
				(w.Header().Get("Content-Type") != "application/problem+json" ||
					!strings.Contains(w.Body.String(), `"status":`+strconv.Itoa(w.Code))) {
				t.Errorf("%s with the token %q: status %d without a problem document: %v %s",
					route, test.token, w.Code, w.Header(), w.Body)
			}
			if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
				t.Errorf("%s with the token %q: status %d, WWW-Authenticate %q",
					route, test.token, w.Code, w.Header().Get("WWW-Authenticate"))
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("token %q: statuses %v, want %v", test.token, got, test.want)
		}
	}
	log := s.Log.String()
	if want := `"by":"the-produce","method":"POST","path":"/produce","status":200`; !strings.Contains(log, want) {
		t.Errorf("the log has no entry of the request by the-produce:\n%s", log)
	}
	for name, token := range s.Tokens {
		if strings.Contains(log, token) {
			t.Errorf("the log contains the token %s", name)
		}
	}
}

// A panic in a handler affects only its own request. A client that has part of the response gets an error.
func TestHandlerPanic(t *testing.T) {
	early := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("CANARY-reason") })
	late := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("partial"))
		http.NewResponseController(w).Flush()
		panic("CANARY-reason")
	})
	s := webtest.NewSite(t, web.Route{Pattern: "/early", Handler: early},
		web.Route{Pattern: "/late", Role: web.RoleView, Handler: late}, web.Route{Pattern: "/fine", Handler: webtest.Echo})
	server := httptest.NewServer(s.Handler)
	defer server.Close()
	get := func(path, accept string) (*http.Response, string, error) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		r.Header.Set("Authorization", "Bearer "+s.Tokens["view"])
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp, string(b), err
	}
	for accept, want := range map[string]string{"*/*": `{"status":500,"title":"Internal Server ` +
		`Error","code":"internal","detail":`, "text/html": "<!doctype html>"} {
		before := strings.Count(s.Log.String(), "\n")
		resp, body, err := get("/early", accept)
		if err != nil || resp.StatusCode != 500 || !strings.HasPrefix(body, want) || strings.Contains(body, "CANARY") {
			t.Errorf("GET /early: got %d %s, %v, want 500 with %s", resp.StatusCode, body, err, want)
		}
		if kind := resp.Header.Get("Content-Type"); accept == "*/*" && kind != "application/problem+json" {
			t.Errorf("Content-Type is %s, want application/problem+json", kind)
		}
		if n := strings.Count(s.Log.String(), "\n") - before; n != 1 {
			t.Errorf("the panic was logged %d times, want once", n)
		}
	}
	if log := s.Log.String(); !strings.Contains(log, "CANARY-reason") || !strings.Contains(log, "route_test.go") ||
		!strings.Contains(log, `"path":"/early"`) {
		t.Errorf("the log does not contain the reason, the stack and the path:\n%s", log)
	}
	if _, body, err := get("/late", "*/*"); err == nil {
		t.Errorf("the partial response ended without an error: %s", body)
	}
	if resp, _, err := get("/fine", "*/*"); err != nil || resp.StatusCode != 200 {
		t.Errorf("the next request: status %d, %v, want 200", resp.StatusCode, err)
	}
}

func TestRedirectToLogin(t *testing.T) {
	s := webtest.NewSite(t, web.Route{Pattern: "/page", Role: web.RoleView, Handler: webtest.Echo})
	w := s.Ask("GET", "/page?a=b&c=//d", "Accept", "text/html,*/*;q=0.8")
	if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther ||
		to != "/login?next=%2Fpage%3Fa%3Db%26c%3D%2F%2Fd" {
		t.Errorf("GET: status %d, Location %s, want a redirect to /login with next", w.Code, to)
	}
	w = s.Ask("POST", "/page", "Accept", "text/html") // a form whose session has expired
	if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != "/login" {
		t.Errorf("POST of a browser: status %d, Location %s, want a redirect to /login", w.Code, to)
	}
	if w := s.Ask("POST", "/page"); w.Code != http.StatusUnauthorized {
		t.Errorf("POST of a program: status %d, want 401", w.Code)
	}
}

func TestErrorPages(t *testing.T) {
	s := webtest.NewSite(t, web.Route{Pattern: "/operate", Role: web.RoleOperate, Handler: webtest.Echo})
	titles := map[int]string{403: "Not permitted", 404: "Not found", 421: "Unknown host name"}
	for want, w := range map[int]*httptest.ResponseRecorder{
		403: s.Ask("GET", "/operate", "Accept", "text/html", "Authorization", "Bearer "+s.Tokens["view"]),
		404: s.Ask("GET", "/nothing", "Accept", "text/html"),
		421: s.Ask("GET", "/operate", "Accept", "text/html", "Host", "evil.example"),
	} {
		if body := w.Body.String(); w.Code != want || !strings.HasPrefix(body, "<!doctype html>") ||
			!strings.Contains(body, titles[want]) {
			t.Errorf("got status %d %s, want %d and a page with %q", w.Code, body, want, titles[want])
		}
	}
	for _, method := range []string{"POST", "GET"} {
		if w := s.Ask(method, "/nothing"); w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s of a program: header %v, want a problem document", method, w.Header())
		}
	}
}

func TestWrongTokenRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fake clock
		s := webtest.NewSite(t, web.Route{Pattern: "/page", Role: web.RoleView, Handler: webtest.Echo})
		askWithWrongToken := func(from string) *httptest.ResponseRecorder {
			return s.Ask("GET", "/page", "Authorization", "Bearer wrong", "from", from)
		}
		count := map[int]int{}
		var last *httptest.ResponseRecorder
		for range 100 {
			last = askWithWrongToken("192.0.2.1:1234")
			count[last.Code]++
		}
		if count[401] != 10 || count[429] != 90 {
			t.Errorf("statuses of 100 requests from one address are %v, want 10 of 401 and 90 of 429", count)
		}
		if after := last.Header().Get("Retry-After"); after != "10" {
			t.Errorf("Retry-After is %q, want 10", after)
		}
		if w := s.Ask("GET", "/page", "Authorization", "Bearer "+s.Tokens["view"], "from", "192.0.2.1:1234"); w.Code != 200 {
			t.Errorf("valid token from that address: status %d, want 200", w.Code)
		}
		if w := askWithWrongToken("192.0.2.2:1234"); w.Code != 401 {
			t.Errorf("another address: status %d, want 401", w.Code)
		}
		clear(count)
		for i := range 10_000 {
			count[askWithWrongToken(fmt.Sprintf("[2001:db8:0:%x::1]:1234", i)).Code]++
		}
		if count[401] != 60-10-1 {
			t.Errorf("statuses of 10,000 requests from as many networks are %v, want %d of 401", count, 60-10-1)
		}
		time.Sleep(10 * time.Second)
		if w := askWithWrongToken("192.0.2.1:1234"); w.Code != 401 {
			t.Errorf("ten seconds later: status %d, want 401", w.Code)
		}
	})
}

func TestOpenServerAllowsOnlyLocalClients(t *testing.T) {
	a, err := web.NewAuth(web.AuthOptions{})
	if err != nil || !a.Open() {
		t.Fatalf("Open() = %v, %v, want true", a.Open(), err)
	}
	h := web.NewHandler(web.HandlerOptions{Auth: a}, web.Route{
		Pattern: "POST /operate", Role: web.RoleOperate, Handler: webtest.Echo,
	})
	for from, want := range map[string]int{"127.0.0.1:40000": 200, "[::1]:40000": 200, "[::ffff:127.0.0.1]:40000": 200,
		"192.0.2.1:40000": 401, "": 401} {
		if w := webtest.Ask(t, h, "POST", "/operate", "from", from); w.Code != want {
			t.Errorf("from %q: status %d, want %d", from, w.Code, want)
		}
	}
}

func TestNewAuthValidation(t *testing.T) {
	hash, err := password.Hash("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	_, err = web.NewAuth(web.AuthOptions{
		Users: []web.User{
			{Name: "ada", Hash: hash, Roles: []web.Role{web.RoleView}},
			{Name: "ada", Hash: hash, Roles: []web.Role{web.RoleView}},
			{Name: "bob", Hash: "plain", Roles: []web.Role{"root"}},
		},
		Tokens:     []web.Token{{Name: "t", Hash: "sha256:12"}},
		SessionKey: "short",
	})
	for _, want := range []string{`user "ada": the name is`, `user "bob": there is no role "root"`,
		`user "bob": must be a hash`, `token "t": has no role`, `token "t": must be a hash`, "session key"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewAuth() = %v, want it to contain %s", err, want)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	s := webtest.NewSite(t, web.Route{Pattern: "/page", Role: web.RoleView, Handler: webtest.Echo}, web.Route{
		Pattern: "/public", Handler: webtest.Echo,
	})
	for name, w := range map[string]*httptest.ResponseRecorder{
		"200": s.Ask("GET", "/public"), "401": s.Ask("GET", "/page"), "404": s.Ask("GET", "/nothing"),
		"303": s.Ask("GET", "/page", "Accept", "text/html"),
		"403": s.Ask("POST", "/public", "Sec-Fetch-Site", "cross-site"),
		"421": s.Ask("GET", "/public", "Host", "evil.example"),
	} {
		if strconv.Itoa(w.Code) != name {
			t.Errorf("status %d, want %s", w.Code, name)
		}
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got := w.Header().Get(header); !strings.HasPrefix(got, want) {
				t.Errorf("status %s: %s is %q, want %q", name, header, got, want)
			}
		}
		for _, want := range []string{"frame-ancestors 'none'", "base-uri 'none'"} {
			if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, want) ||
				strings.Contains(got, "unsafe") {
				t.Errorf("status %s: Content-Security-Policy is %s, want %s and nothing unsafe", name, got, want)
			}
		}
	}
}

func TestInvalidQueries(t *testing.T) {
	s := webtest.NewSite(t, web.Route{Pattern: "/public", Handler: webtest.Echo})
	for _, query := range []string{"?name=%zz", "?a=b;c=d", "?%"} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/public", nil)
		r.Host, r.URL.RawQuery = "localhost", query[1:]
		w := httptest.NewRecorder()
		if s.Handler.ServeHTTP(w, r); w.Code != 400 || !strings.Contains(w.Body.String(), `"code":"invalid"`) {
			t.Errorf("query %s: status %d %s, want 400", query, w.Code, w.Body)
		}
	}
	if w := s.Ask("POST", "/public?name=%7A&a"); w.Code != 200 {
		t.Errorf("valid query: status %d, want 200", w.Code)
	}
}

func TestHostHeader(t *testing.T) {
	s := webtest.NewSite(t, web.Route{Pattern: "/public", Handler: webtest.Echo})
	for host, want := range map[string]int{
		"127.0.0.1": 200, "127.0.0.1:8080": 200, "[::1]:8080": 200, "localhost": 200, "LOCALHOST:1": 200,
		"10.1.2.3:8080":       200,
		"tiwsnap.example.com": 200, "tiwsnap.example.com:8443": 200, "TIWSNAP.example.com.": 200,
		"": 421, "evil.example": 421, "tiwsnap.example.com.evil.example": 421, "x.tiwsnap.example.com": 421,
		"localhost.evil.example": 421, "127.0.0.1.evil.example:80": 421,
	} {
		if w := s.Ask("GET", "/public", "Host", host); w.Code != want {
			t.Errorf("Host %q: status %d, want %d", host, w.Code, want)
		}
	}
}

func TestCrossSiteRequests(t *testing.T) {
	var changed int
	s := webtest.NewSite(t,
		web.Route{Pattern: "/change", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { changed++ })})
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"},
			{"Origin", "null"},
			{"Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain", "Origin", "https://evil.example"},
		} {
			if w := s.Ask(method, "/change", header...); w.Code != http.StatusForbidden {
				t.Errorf("%s with %v: status %d, want 403", method, header, w.Code)
			}
		}
	}
	if changed != 0 {
		t.Errorf("%d cross-site requests reached the handler", changed)
	}
	for _, header := range [][]string{{}, {"Sec-Fetch-Site", "same-origin"}, {"Origin", "http://127.0.0.1:8080"}} {
		if w := s.Ask("POST", "/change", header...); w.Code != 200 {
			t.Errorf("POST with %v: status %d, want 200", header, w.Code)
		}
	}
}

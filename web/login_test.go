package web_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/password"
	"tiwsnap/internal/redistest"
	"tiwsnap/web"
	"tiwsnap/web/pages"
	"tiwsnap/web/webtest"
)

// door is a handler with the login page, and with /page for the role view.
type door struct {
	*testing.T
	handler http.Handler
	log     *webtest.Buffer
	options web.AuthOptions
}

func newDoor(t *testing.T, change ...func(*web.AuthOptions)) *door {
	t.Helper()
	d := &door{T: t, log: new(webtest.Buffer)}
	d.options = web.AuthOptions{
		Users: []web.User{
			{Name: "ada", Hash: webtest.PasswordHash, Roles: []web.Role{web.RoleView}},
			{Name: "bob", Hash: webtest.PasswordHash, Roles: []web.Role{web.RoleOperate}},
		},
		SessionKey: "CANARY-0123456789-0123456789-0123456789",
		Log:        slog.New(slog.NewJSONHandler(d.log, nil)),
	}
	for _, f := range change {
		f(&d.options)
	}
	d.handler = d.serve(d.options)
	t.Cleanup(func() {
		for _, secret := range []string{webtest.Password, webtest.PasswordHash, d.options.SessionKey} {
			if secret != "" && strings.Contains(d.log.String(), secret) {
				t.Errorf("the log shows %s:\n%s", secret, d.log)
			}
		}
	})
	return d
}

func (d *door) serve(o web.AuthOptions) http.Handler {
	d.Helper()
	a, err := web.NewAuth(o)
	if err != nil {
		d.Fatal(err)
	}
	return d.behind(a)
}

// behind returns the handler with the given Auth.
func (d *door) behind(a *web.Auth) http.Handler {
	routes := append(pages.New(pages.Options{Auth: a, Log: d.options.Log}).Routes(),
		web.Route{Pattern: "/page", Role: web.RoleView, Handler: webtest.Echo})
	return web.NewHandler(web.HandlerOptions{Auth: a, ProblemPage: pages.ShowProblem, Log: d.options.Log}, routes...)
}

// logIn submits the login form.
func (d *door) logIn(name, password, next string, header ...string) *httptest.ResponseRecorder {
	d.Helper()
	form := url.Values{"name": {name}, "password": {password}, "next": {next}}
	r := httptest.NewRequestWithContext(d.Context(), "POST", "/login", strings.NewReader(form.Encode()))
	r.Host, r.RemoteAddr = "127.0.0.1:8080", "127.0.0.1:40000"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		if header[i] == "from" {
			r.RemoteAddr = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w
}

// cookie returns the cookie that a response sets.
func cookie(w *httptest.ResponseRecorder) *http.Cookie {
	for _, c := range w.Result().Cookies() {
		return c
	}
	return &http.Cookie{}
}

// page requests /page with a cookie.
func (d *door) page(c *http.Cookie) (status int, who string) {
	d.Helper()
	w := webtest.Ask(d.T, d.handler, "GET", "/page", "Cookie", c.Name+"="+c.Value)
	return w.Code, w.Body.String()
}

func TestLogin(t *testing.T) {
	d := newDoor(t)
	w := d.logIn("ada", webtest.Password, "/page?a=b")
	c := cookie(w)
	if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != "/page?a=b" {
		t.Fatalf("got %d %s %s", w.Code, to, w.Body)
	}
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure || c.MaxAge != 12*3600 ||
		strings.Contains(c.Value, webtest.Password) {
		t.Errorf("the cookie is %v", c)
	}
	if c := cookie(d.logIn("ada", webtest.Password, "", "X-Forwarded-Proto", "https")); !c.Secure {
		t.Errorf("over https the cookie is %v", c)
	}
	if status, who := d.page(c); status != 200 || who != "ada" {
		t.Errorf("with the cookie: %d %s", status, who)
	}
	if w := webtest.Ask(t, d.handler, "GET", "/login?next=/page", "Cookie",
		c.Name+"="+c.Value); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/page" {
		t.Errorf("who is logged in sees the login page: %d", w.Code)
	}
	t.Run("not with a wrong name or password, and the answers are alike", func(t *testing.T) {
		var answers []string
		for _, try := range [][2]string{{"ada", "wrong"}, {"eve", webtest.Password}, {"ada", ""}, {"", webtest.Password},
			{"ada", strings.Repeat("x", 1000)}} {
			w := d.logIn(try[0], try[1], "/")
			if w.Code != http.StatusUnauthorized || len(w.Result().Cookies()) != 0 {
				t.Errorf("%.20q: got %d and %d cookies", try, w.Code, len(w.Result().Cookies()))
			}
			answers = append(answers, strings.ReplaceAll(w.Body.String(), `value="`+try[0]+`"`, ""))
		}
		if answers[0] != answers[1] {
			t.Errorf("%s and %s differ", answers[0], answers[1])
		}
	})
}

func TestNobodyIsLedElsewhereAfterTheLogin(t *testing.T) {
	d := newDoor(t)
	for i, next := range []string{
		"//evil.example", `/\evil.example`, "https://evil.example/", "javascript:alert(1)", "", "page", "/login",
		"/logout", "/\t/evil.example", "\\\\evil.example", "/%0d%0aX: y\r\n",
	} {
		w := d.logIn("ada", webtest.Password, next, "from", fmt.Sprintf("192.0.2.%d:1", i))
		if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != "/" {
			t.Errorf("%q: led to %q, %d", next, to, w.Code)
		}
	}
}

func TestCookiesThatAreNotGood(t *testing.T) {
	d := newDoor(t)
	good := cookie(d.logIn("ada", webtest.Password, ""))
	with := func(value string) *http.Cookie { return &http.Cookie{Name: good.Name, Value: value} }
	field := strings.Split(good.Value, ".")
	for i := range field {
		for _, to := range []string{"", "x", field[i] + "A", field[i][:len(field[i])-1]} {
			changed := append([]string{}, field...)
			changed[i] = to
			if status, _ := d.page(with(strings.Join(changed, "."))); status != http.StatusUnauthorized {
				t.Errorf("field %d as %q: got %d", i, to, status)
			}
		}
	}
	bobs := cookie(d.logIn("bob", webtest.Password, ""))
	field[2] = strings.Split(bobs.Value, ".")[2]
	if status, who := d.page(with(strings.Join(field, "."))); status != http.StatusUnauthorized {
		t.Errorf("with bob's name: got %d %s", status, who)
	}
	for name, change := range map[string]func(*web.AuthOptions){
		"of a server with another key":  func(o *web.AuthOptions) { o.SessionKey = strings.Repeat("x", 32) },
		"of a server with a random key": func(o *web.AuthOptions) { o.SessionKey = "" },
		"after a new password": func(o *web.AuthOptions) {
			h, _ := password.Hash("another word")
			o.Users = []web.User{{Name: "ada", Hash: h, Roles: o.Users[0].Roles}}
		},
		"of a user who is gone": func(o *web.AuthOptions) { o.Users = o.Users[1:] },
	} {
		other := newDoor(t, change)
		if status, _ := other.page(good); status != http.StatusUnauthorized {
			t.Errorf("%s: got %d", name, status)
		}
	}
	if status, who := newDoor(t).page(good); status != 200 || who != "ada" {
		t.Errorf("another server with the same key: %d %s", status, who)
	}
}

func TestSessionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, func(o *web.AuthOptions) { o.SessionLife = time.Hour })
		c := cookie(d.logIn("ada", webtest.Password, ""))
		time.Sleep(time.Hour - time.Second)
		if status, _ := d.page(c); status != 200 {
			t.Errorf("a second before its end: %d", status)
		}
		time.Sleep(2 * time.Second)
		if status, _ := d.page(c); status != http.StatusUnauthorized {
			t.Errorf("a second after its end: %d", status)
		}
	})
}

func TestLogoutEndsTheSessionForCopiesOfItsCookieToo(t *testing.T) {
	client := redistest.Client(t)
	d := newDoor(t, func(o *web.AuthOptions) { o.Redis = client })
	c, other := cookie(d.logIn("ada", webtest.Password, "")), cookie(d.logIn("ada", webtest.Password, ""))
	w := webtest.Ask(t, d.handler, "POST", "/logout", "Cookie", c.Name+"="+c.Value)
	if gone := cookie(w); w.Code != http.StatusSeeOther || gone.Name != c.Name || gone.MaxAge >= 0 {
		t.Errorf("got %d and the cookie %v", w.Code, gone)
	}
	for name, server := range map[string]*door{"this server": d,
		"another server": newDoor(t, func(o *web.AuthOptions) { o.Redis = client })} {
		if status, _ := server.page(c); status != http.StatusUnauthorized {
			t.Errorf("%s: a copy of the cookie: %d", name, status)
		}
		if status, _ := server.page(other); status != 200 {
			t.Errorf("%s: another session of the same user: %d", name, status)
		}
	}
	client.Close()
	if status, _ := d.page(other); status != 200 {
		t.Errorf("without Redis: %d", status)
	}
}

func TestLoginsAreLimited(t *testing.T) {
	needs.Time(t)
	synctest.Test(t, func(t *testing.T) { // fake clock
		d := newDoor(t)
		count := map[int]int{}
		for range 1000 {
			w := d.logIn("ada", "wrong", "")
			count[w.Code]++
			if (w.Code == http.StatusTooManyRequests) != (w.Header().Get("Retry-After") == "10") {
				t.Errorf("%d and Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
		}
		if count[401] != 10 || count[429] != 990 {
			t.Errorf("of 1000 from one address: %v", count)
		}
		if w := d.logIn("ada", webtest.Password, ""); w.Code != http.StatusTooManyRequests {
			t.Errorf("then the right password is tried too: %d", w.Code)
		}
		if w := d.logIn("ada", webtest.Password, "", "from", "192.0.2.9:1"); w.Code != http.StatusSeeOther {
			t.Errorf("from another address: %d", w.Code)
		}
		time.Sleep(10 * time.Second)
		if w := d.logIn("ada", webtest.Password, ""); w.Code != http.StatusSeeOther {
			t.Errorf("ten seconds later: %d", w.Code)
		}
	})
}

func TestAFormOf256KBIsRefused(t *testing.T) {
	d := newDoor(t)
	r := httptest.NewRequest("POST", "/login", strings.NewReader(strings.Repeat("a=b&", 1<<16)))
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest {
		t.Errorf("got %d", w.Code)
	}
}

// A removed user is logged out at once. An invalid list of users changes nothing.
func TestReplacedLogins(t *testing.T) {
	d := newDoor(t)
	auth, err := web.NewAuth(d.options)
	if err != nil {
		t.Fatal(err)
	}
	d.handler = d.behind(auth)
	ada, bob := cookie(d.logIn("ada", webtest.Password, "")), cookie(d.logIn("bob", webtest.Password, ""))
	is := func(what string, c *http.Cookie, want int) {
		t.Helper()
		if status, _ := d.page(c); status != want {
			t.Errorf("%s: got %d, want %d", what, status, want)
		}
	}
	bad := []web.User{{Name: "eve", Hash: "none", Roles: []web.Role{web.RoleView}}}
	if err := auth.Replace(bad, nil, ""); err == nil {
		t.Error("a bad hash is taken")
	}
	if err := auth.Replace(d.options.Users, nil, "short"); err == nil {
		t.Error("a short key is taken")
	}
	is("after faults", ada, 200)
	if err := auth.Replace(d.options.Users[1:], nil, ""); err != nil {
		t.Fatal(err)
	}
	is("ada, who is gone", ada, http.StatusUnauthorized)
	is("bob, who stays", bob, 200)
	if err := auth.Replace(d.options.Users, nil, strings.Repeat("k", 32)); err != nil {
		t.Fatal(err)
	}
	is("a session of the old key", bob, http.StatusUnauthorized)
	is("a session of the new key", cookie(d.logIn("bob", webtest.Password, "")), 200)
}

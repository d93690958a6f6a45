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
	"tiwsnap/internal/syncbuf"
	"tiwsnap/web"
	"tiwsnap/web/pages"
	"tiwsnap/web/webtest"
)

// loginSite is a handler with the login page, and with /page for the role view.
type loginSite struct {
	*testing.T
	handler http.Handler
	log     *syncbuf.Buffer
	options web.AuthOptions
}

func newLoginSite(t *testing.T, change ...func(*web.AuthOptions)) *loginSite {
	t.Helper()
	d := &loginSite{T: t, log: new(syncbuf.Buffer)}
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
				t.Errorf("the log contains the secret %s:\n%s", secret, d.log)
			}
		}
	})
	return d
}

func (d *loginSite) serve(o web.AuthOptions) http.Handler {
	d.Helper()
	a, err := web.NewAuth(o)
	if err != nil {
		d.Fatal(err)
	}
	return d.newHandler(a)
}

// newHandler returns the handler with the given Auth.
func (d *loginSite) newHandler(a *web.Auth) http.Handler {
	routes := append(pages.New(pages.Options{Auth: a, Log: d.options.Log}).Routes(),
		web.Route{Pattern: "/page", Role: web.RoleView, Handler: webtest.Echo})
	return web.NewHandler(web.HandlerOptions{Auth: a, ProblemPage: pages.ShowProblem, Log: d.options.Log}, routes...)
}

// logIn submits the login form.
func (d *loginSite) logIn(name, password, next string, header ...string) *httptest.ResponseRecorder {
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

// page requests /page with a cookie. It returns the status and the name of the user.
func (d *loginSite) page(c *http.Cookie) (status int, user string) {
	d.Helper()
	w := webtest.Ask(d.T, d.handler, "GET", "/page", "Cookie", c.Name+"="+c.Value)
	return w.Code, w.Body.String()
}

func TestLogin(t *testing.T) {
	d := newLoginSite(t)
	w := d.logIn("ada", webtest.Password, "/page?a=b")
	c := cookie(w)
	if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != "/page?a=b" {
		t.Fatalf("login got %d, Location %s, %s, want a redirect to /page?a=b", w.Code, to, w.Body)
	}
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure || c.MaxAge != 12*3600 ||
		strings.Contains(c.Value, webtest.Password) {
		t.Errorf("the cookie is %v, want HttpOnly, SameSite=Strict, 12 h", c)
	}
	if c := cookie(d.logIn("ada", webtest.Password, "", "X-Forwarded-Proto", "https")); !c.Secure {
		t.Errorf("the cookie over https is %v, want Secure", c)
	}
	if status, user := d.page(c); status != 200 || user != "ada" {
		t.Errorf("with the cookie: status %d, user %s, want 200, ada", status, user)
	}
	if w := webtest.Ask(t, d.handler, "GET", "/login?next=/page", "Cookie",
		c.Name+"="+c.Value); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/page" {
		t.Errorf("login page with a session: status %d, want a redirect to /page", w.Code)
	}
	t.Run("wrong names and wrong passwords get the same response", func(t *testing.T) {
		var bodies []string
		for _, attempt := range [][2]string{{"ada", "wrong"}, {"eve", webtest.Password}, {"ada", ""}, {"", webtest.Password},
			{"ada", strings.Repeat("x", 1000)}} {
			w := d.logIn(attempt[0], attempt[1], "/")
			if w.Code != http.StatusUnauthorized || len(w.Result().Cookies()) != 0 {
				t.Errorf("%.20q: status %d with %d cookies, want 401 without", attempt, w.Code, len(w.Result().Cookies()))
			}
			bodies = append(bodies, strings.ReplaceAll(w.Body.String(), `value="`+attempt[0]+`"`, ""))
		}
		if bodies[0] != bodies[1] {
			t.Errorf("the responses %s and %s differ", bodies[0], bodies[1])
		}
	})
}

func TestLoginRedirectsOnlyToLocalPaths(t *testing.T) {
	d := newLoginSite(t)
	for i, next := range []string{
		"//evil.example", `/\evil.example`, "https://evil.example/", "javascript:alert(1)", "", "page", "/login",
		"/logout", "/\t/evil.example", "\\\\evil.example", "/%0d%0aX: y\r\n",
	} {
		w := d.logIn("ada", webtest.Password, next, "from", fmt.Sprintf("192.0.2.%d:1", i))
		if to := w.Header().Get("Location"); w.Code != http.StatusSeeOther || to != "/" {
			t.Errorf("next=%q: status %d, Location %q, want /", next, w.Code, to)
		}
	}
}

func TestInvalidCookies(t *testing.T) {
	d := newLoginSite(t)
	valid := cookie(d.logIn("ada", webtest.Password, ""))
	with := func(value string) *http.Cookie { return &http.Cookie{Name: valid.Name, Value: value} }
	field := strings.Split(valid.Value, ".")
	for i := range field {
		for _, to := range []string{"", "x", field[i] + "A", field[i][:len(field[i])-1]} {
			changed := append([]string{}, field...)
			changed[i] = to
			if status, _ := d.page(with(strings.Join(changed, "."))); status != http.StatusUnauthorized {
				t.Errorf("field %d is %q: status %d, want 401", i, to, status)
			}
		}
	}
	bobs := cookie(d.logIn("bob", webtest.Password, ""))
	field[2] = strings.Split(bobs.Value, ".")[2]
	if status, user := d.page(with(strings.Join(field, "."))); status != http.StatusUnauthorized {
		t.Errorf("with bob's name: status %d, user %s, want 401", status, user)
	}
	for name, change := range map[string]func(*web.AuthOptions){
		"another session key": func(o *web.AuthOptions) { o.SessionKey = strings.Repeat("x", 32) },
		"random session key":  func(o *web.AuthOptions) { o.SessionKey = "" },
		"password was changed": func(o *web.AuthOptions) {
			h, _ := password.Hash("another word")
			o.Users = []web.User{{Name: "ada", Hash: h, Roles: o.Users[0].Roles}}
		},
		"user was removed": func(o *web.AuthOptions) { o.Users = o.Users[1:] },
	} {
		other := newLoginSite(t, change)
		if status, _ := other.page(valid); status != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", name, status)
		}
	}
	if status, user := newLoginSite(t).page(valid); status != 200 || user != "ada" {
		t.Errorf("another server with the same key: status %d, user %s, want 200, ada", status, user)
	}
}

func TestSessionExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newLoginSite(t, func(o *web.AuthOptions) { o.SessionLife = time.Hour })
		c := cookie(d.logIn("ada", webtest.Password, ""))
		time.Sleep(time.Hour - time.Second)
		if status, _ := d.page(c); status != 200 {
			t.Errorf("a second before the end of the session: status %d, want 200", status)
		}
		time.Sleep(2 * time.Second)
		if status, _ := d.page(c); status != http.StatusUnauthorized {
			t.Errorf("a second after the end of the session: status %d, want 401", status)
		}
	})
}

func TestLogoutRevokesCopiesOfTheCookie(t *testing.T) {
	client := redistest.Client(t)
	d := newLoginSite(t, func(o *web.AuthOptions) { o.Redis = client })
	c, other := cookie(d.logIn("ada", webtest.Password, "")), cookie(d.logIn("ada", webtest.Password, ""))
	w := webtest.Ask(t, d.handler, "POST", "/logout", "Cookie", c.Name+"="+c.Value)
	if deleted := cookie(w); w.Code != http.StatusSeeOther || deleted.Name != c.Name || deleted.MaxAge >= 0 {
		t.Errorf("logout: status %d, cookie %v, want a redirect that deletes the cookie", w.Code, deleted)
	}
	for name, server := range map[string]*loginSite{"this server": d,
		"another server": newLoginSite(t, func(o *web.AuthOptions) { o.Redis = client })} {
		if status, _ := server.page(c); status != http.StatusUnauthorized {
			t.Errorf("%s, copy of the cookie: status %d, want 401", name, status)
		}
		if status, _ := server.page(other); status != 200 {
			t.Errorf("%s, another session of the user: status %d, want 200", name, status)
		}
	}
	client.Close()
	if status, _ := d.page(other); status != 200 {
		t.Errorf("without Redis: status %d, want 200", status)
	}
}

func TestLoginRateLimit(t *testing.T) {
	needs.Time(t)
	synctest.Test(t, func(t *testing.T) { // fake clock
		d := newLoginSite(t)
		count := map[int]int{}
		for range 1000 {
			w := d.logIn("ada", "wrong", "")
			count[w.Code]++
			if (w.Code == http.StatusTooManyRequests) != (w.Header().Get("Retry-After") == "10") {
				t.Errorf("status %d with Retry-After %q, want 10 for 429 only", w.Code, w.Header().Get("Retry-After"))
			}
		}
		if count[401] != 10 || count[429] != 990 {
			t.Errorf("statuses of 1000 attempts from one address are %v, want 10 of 401 and 990 of 429", count)
		}
		if w := d.logIn("ada", webtest.Password, ""); w.Code != http.StatusTooManyRequests {
			t.Errorf("correct password after that: status %d, want 429", w.Code)
		}
		if w := d.logIn("ada", webtest.Password, "", "from", "192.0.2.9:1"); w.Code != http.StatusSeeOther {
			t.Errorf("from another address: status %d, want 303", w.Code)
		}
		time.Sleep(10 * time.Second)
		if w := d.logIn("ada", webtest.Password, ""); w.Code != http.StatusSeeOther {
			t.Errorf("ten seconds later: status %d, want 303", w.Code)
		}
	})
}

func TestLargeForm(t *testing.T) {
	d := newLoginSite(t)
	r := httptest.NewRequest("POST", "/login", strings.NewReader(strings.Repeat("a=b&", 1<<16)))
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest {
		t.Errorf("form of 256 KB: status %d, want 400", w.Code)
	}
}

// A removed user is logged out at once. An invalid list of users changes nothing.
func TestReplaceUsers(t *testing.T) {
	d := newLoginSite(t)
	auth, err := web.NewAuth(d.options)
	if err != nil {
		t.Fatal(err)
	}
	d.handler = d.newHandler(auth)
	ada, bob := cookie(d.logIn("ada", webtest.Password, "")), cookie(d.logIn("bob", webtest.Password, ""))
	wantStatus := func(what string, c *http.Cookie, want int) {
		t.Helper()
		if status, _ := d.page(c); status != want {
			t.Errorf("%s: status %d, want %d", what, status, want)
		}
	}
	bad := []web.User{{Name: "eve", Hash: "none", Roles: []web.Role{web.RoleView}}}
	if err := auth.Replace(bad, nil, ""); err == nil {
		t.Error("Replace() accepts an invalid hash")
	}
	if err := auth.Replace(d.options.Users, nil, "short"); err == nil {
		t.Error("Replace() accepts a short session key")
	}
	wantStatus("after rejected changes", ada, 200)
	if err := auth.Replace(d.options.Users[1:], nil, ""); err != nil {
		t.Fatal(err)
	}
	wantStatus("removed user", ada, http.StatusUnauthorized)
	wantStatus("remaining user", bob, 200)
	if err := auth.Replace(d.options.Users, nil, strings.Repeat("k", 32)); err != nil {
		t.Fatal(err)
	}
	wantStatus("session of the old key", bob, http.StatusUnauthorized)
	wantStatus("session of the new key", cookie(d.logIn("bob", webtest.Password, "")), 200)
}

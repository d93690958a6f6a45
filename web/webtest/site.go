package webtest

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tiwsnap/internal/password"
	"tiwsnap/internal/syncbuf"
	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/web/asynqmon"
	"tiwsnap/web/health"
	"tiwsnap/web/pages"
)

// Site is a handler of some routes, with a token for each role.
type Site struct {
	*testing.T
	Handler http.Handler
	Tokens  map[string]string
	Log     *syncbuf.Buffer
}

// Routes returns all routes of a namespace, as the command line does. Call stop at the end.
func Routes(auth *web.Auth, o api.Options) (all []web.Route, stop func()) {
	a := api.New(o)
	shown := pages.New(pages.Options{Auth: auth, API: a, Log: o.Log})
	queues := asynqmon.New(asynqmon.Options{Redis: o.Redis, Namespace: o.Namespace, Log: o.Log})
	return slices.Concat(a.Routes(), health.Routes(o.Redis, o.Namespace), shown.Routes(), queues.Routes()), a.Close
}

// Handler serves all routes of a namespace. Call stop at the end.
func Handler(auth *web.Auth, o api.Options) (h http.Handler, stop func()) {
	all, stop := Routes(auth, o)
	return web.NewHandler(web.HandlerOptions{
		Auth: auth, ProblemPage: pages.ShowProblem, Log: o.Log, Linger: 5 * time.Second,
	}, all...), stop
}

// NewSite returns a site for the host tiwsnap.example.com. Each token has one role; the token "none" is not valid.
func NewSite(t *testing.T, routes ...web.Route) *Site {
	t.Helper()
	s := &Site{T: t, Tokens: map[string]string{"none": password.NewToken()}, Log: new(syncbuf.Buffer)}
	o := web.AuthOptions{}
	for _, role := range []web.Role{web.RoleView, web.RoleProduce, web.RoleOperate} {
		token := password.NewToken()
		s.Tokens[string(role)] = token
		o.Tokens = append(o.Tokens, web.Token{
			Name: "the-" + string(role), Hash: password.HashToken(token), Roles: []web.Role{role},
		})
	}
	a, err := web.NewAuth(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = web.NewHandler(web.HandlerOptions{
		Auth: a, ProblemPage: pages.ShowProblem, Hosts: []string{"tiwsnap.example.com"},
		Log: slog.New(slog.NewJSONHandler(s.Log, nil)),
	}, routes...)
	return s
}

// Ask sends a request; header is name, value, ….
func (s *Site) Ask(method, target string, header ...string) *httptest.ResponseRecorder {
	s.Helper()
	return Ask(s.T, s.Handler, method, target, header...)
}

// Ask sends a request to a handler; header is name, value, …. "from" is the address of the client.
func Ask(t *testing.T, h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	r.Host, r.RemoteAddr = "127.0.0.1:8080", "127.0.0.1:40000"
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else if header[i] == "from" {
			r.RemoteAddr = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Echo responds with the name of the principal.
var Echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, web.PrincipalOf(r.Context()).Name)
})

// Send posts a form, with headers: name, value, ….
func Send(t *testing.T, h http.Handler, path string, values url.Values, header ...string) *httptest.ResponseRecorder {
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

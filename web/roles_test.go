package web_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/web/metrics"
	"tiwsnap/web/webtest"
)

// Each route is requested with each role. It is rejected without the required role, and only then.
func TestRolesOfRoutes(t *testing.T) {
	rdb := redistest.Client(t)
	auth, err := web.NewAuth(web.AuthOptions{
		Users: []web.User{{Name: "ada", Hash: webtest.PasswordHash, Roles: []web.Role{web.RoleView}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	routes, stop := webtest.Routes(auth, api.Options{Redis: rdb, Ledger: ledger.New(rdb, ledger.Options{})})
	t.Cleanup(stop)
	routes = append(routes, metrics.Route(metrics.NewRegistry()))

	// The list of public routes is repeated here, so that none becomes public by mistake.
	open := regexp.MustCompile(`^(GET /static/|GET /favicon\.ico$|GET /openapi\.json$|GET /docs|GET /livez$|GET ` +
		`/readyz$|(GET|POST) /login$|POST /settings$|GET /images/|POST /logout$)`)
	reached := false
	for i := range routes {
		if (routes[i].Role == "") != open.MatchString(routes[i].Pattern) {
			t.Errorf("%s is public: %v", routes[i].Pattern, routes[i].Role == "")
		}
		routes[i].Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })
	}
	s := webtest.NewSite(t, routes...)
	wildcard := regexp.MustCompile(`\{[^}]*\}`)
	for _, route := range routes {
		method, path, _ := strings.Cut(route.Pattern, " ")
		path = wildcard.ReplaceAllString(strings.TrimSuffix(path, "{$}"), "x")
		for _, role := range []string{"", "view", "produce", "operate"} {
			var header []string
			if role != "" {
				header = []string{"Authorization", "Bearer " + s.Tokens[role]}
			}
			reached = false
			w := s.Ask(method, path, header...)
			allowed := web.Principal{Roles: []web.Role{web.Role(role)}}.May(route.Role)
			if reached != allowed {
				t.Errorf("%s (%s) with the role %q: reached %v, want %v; status %d",
					route.Pattern, route.Role, role, reached, allowed, w.Code)
			}
			if !allowed && w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden {
				t.Errorf("%s with the role %q: status %d, want 401 or 403", route.Pattern, role, w.Code)
			}
		}
		if unsafe := method != http.MethodGet; unsafe && route.Role == web.RoleView {
			t.Errorf("%s has an unsafe method and needs only the role view", route.Pattern)
		}
	}
}

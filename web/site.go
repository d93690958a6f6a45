package web

import (
	"context"
	"net/http"
)

// Site is the pages and the API of one namespace, where a server has several:
// all their paths begin with Base, which is empty for one of them.
type Site struct {
	Name string // of the namespace
	Base string // as in "/n/school-b"
}

// Under returns the routes below the base of a site.
func (s Site) Under(routes ...Route) []Route {
	for i, r := range routes {
		routes[i].Handler = siteHandler{r.Handler, s}
	}
	return routes
}

// siteHandler is the handler of a route of a site.
type siteHandler struct {
	http.Handler
	site Site
}

type siteKey struct{}

// at serves a route of the site, which is one of all, by a handler that knows no
// base.
func (s Site) at(all []Site, h http.Handler) http.Handler {
	return http.StripPrefix(s.Base, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(context.WithValue(r.Context(), siteKey{}, s), sitesKey{}, all)
		h.ServeHTTP(w, r.WithContext(ctx))
	}))
}

// siteOf is the site of a request.
func SiteOf(r *http.Request) Site {
	s, _ := r.Context().Value(siteKey{}).(Site)
	return s
}

type sitesKey struct{}

// sitesOf is all sites of the server, where it has several.
func SitesOf(r *http.Request) []Site {
	all, _ := r.Context().Value(sitesKey{}).([]Site)
	return all
}

// baseOf is the path before those of all routes.
func BaseOf(r *http.Request) string { return SiteOf(r).Base }

// origin returns the scheme and host by which a request has come.
func Origin(r *http.Request) string {
	if OverTLS(r) {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

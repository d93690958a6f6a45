package web

import (
	"context"
	"net/http"
	"strings"
)

// Site is the pages and the API of one namespace, if a server serves several. All its paths begin with Base, which is
// empty for one of the sites.
type Site struct {
	Name string // of the namespace
	Base string // as in "/n/school-b"
}

// Under returns the routes with the base of the site before their paths.
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

// at serves a route of the site by a handler that does not know the base.
func (s Site) at(all []Site, h http.Handler) http.Handler {
	return http.StripPrefix(s.Base, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(context.WithValue(r.Context(), siteKey{}, s), sitesKey{}, all)
		h.ServeHTTP(w, r.WithContext(ctx))
	}))
}

// siteOfPath returns the site with a path: the one with the longest base.
func siteOfPath(all []Site, path string) (found Site) {
	for _, s := range all {
		if strings.HasPrefix(path, s.Base+"/") && (found == Site{} || len(s.Base) > len(found.Base)) {
			found = s
		}
	}
	return found
}

// SiteOf returns the site of a request.
func SiteOf(r *http.Request) Site {
	s, _ := r.Context().Value(siteKey{}).(Site)
	return s
}

type sitesKey struct{}

// SitesOf returns all sites of the server, if it has several.
func SitesOf(r *http.Request) []Site {
	all, _ := r.Context().Value(sitesKey{}).([]Site)
	return all
}

// BaseOf returns the base of the site of a request.
func BaseOf(r *http.Request) string { return SiteOf(r).Base }

// Origin returns the scheme and host that the client has used, as in "https://tiwsnap.example.com".
func Origin(r *http.Request) string {
	if OverTLS(r) {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

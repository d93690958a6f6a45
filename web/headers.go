package web

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// policy is the Content-Security-Policy of everything that does not set its
// own: nothing but what this server serves, and no inline script or style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; " +
	"connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guard puts what every answer needs around a handler: it refuses names of
// hosts that are not ours (a browser that was led here by a DNS name of
// somebody else's sends that), and requests that change something and that a
// page of another site makes; and it says to browsers what pages may do.
func guard(hosts []string, next http.Handler) http.Handler {
	csrf := http.NewCrossOriginProtection()
	csrf.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, http.StatusForbidden, "cross-origin", "a page of another site made this request")
	}))
	next = csrf.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !allowedHost(r.Host, hosts) {
			refuse(w, r, http.StatusMisdirectedRequest, "unknown-host",
				"this server is not known by that name: http.hosts (TIWSNAP_HTTP_HOSTS) lists its names")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowedHost reports whether host, with or without a port, is an IP address,
// localhost or one of hosts. An address cannot be somebody else's name.
func allowedHost(host string, hosts []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || slices.Contains(hosts, host) || net.ParseIP(strings.Trim(host, "[]")) != nil
}

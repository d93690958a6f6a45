package web

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// policy is the default Content-Security-Policy: only resources of this server, no inline script or style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; " +
	"connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// protect sets the security headers and refuses two kinds of requests: those with an unknown Host header (DNS
// rebinding), and those that a page of another site makes to change something (CSRF).
func protect(hosts []string, next http.Handler) http.Handler {
	csrf := http.NewCrossOriginProtection()
	csrf.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, http.StatusForbidden, "cross-origin", "a page of another site made this request")
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
			writeProblem(w, r, http.StatusMisdirectedRequest, "unknown-host",
				"Host header not in http.hosts (TIWSNAP_HTTP_HOSTS): add the name there")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowedHost reports whether a Host header is an IP address, localhost or one of hosts. An attacker cannot own a name
// that is an IP address.
func allowedHost(host string, hosts []string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || slices.Contains(hosts, host) || net.ParseIP(strings.Trim(host, "[]")) != nil
}

package web

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Route is an endpoint and the role that may call it.
type Route struct {
	Pattern string // of http.ServeMux, as in "GET /v1/batches/{id}"
	Role    Role   // empty: anyone, also without credentials
	Handler http.Handler
}

// Handle returns a Route.
func Handle(pattern string, role Role, h http.HandlerFunc) Route { return Route{pattern, role, h} }

// HandlerOptions are the settings of NewHandler.
type HandlerOptions struct {
	Auth *Auth // required
	// Hosts are the host names of this server, in lower case and without ports. IP addresses and localhost are always
	// allowed.
	Hosts []string
	// Proxies are reverse proxies in front of this server. For their requests the client address is taken from
	// X-Forwarded-For.
	Proxies []netip.Prefix
	// Sites are all sites with routes here, if there are several. Each page links to the others.
	Sites []Site
	// ProblemPage shows problems to people. Default: they get the problem document.
	ProblemPage ProblemPage
	Log         *slog.Logger // default: none
	// Linger is how long the rest of a body is read after an early answer. Default: 30 s, as nginx does.
	Linger time.Duration
}

// NewHandler returns the handler of all routes. Each route checks the role, the Host header and the origin. Every
// answer has security headers. Refused requests get
//
//	400 if the query cannot be parsed
//	401 without credentials or with wrong ones; a browser is redirected to /login
//	403 without the role, or from a page of another site
//	421 for a Host header that is not in Hosts
//	429 after too many wrong credentials or too many requests, with Retry-After
//
// as a page if the client accepts HTML, otherwise as a problem document (RFC 9457). Requests that change something are
// logged with the name of the principal.
func NewHandler(o HandlerOptions, routes ...Route) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	limit := newRequests()
	for _, route := range routes {
		pattern, site := route.Pattern, Site{}
		if h, ok := route.Handler.(siteHandler); ok {
			site = h.site
			pattern = strings.Replace(pattern, "/", site.Base+"/", 1)
		}
		mux.Handle(pattern, site.at(o.Sites, recoverPanic(o.Log, authorize(o, limit, route))))
	}
	all := protect(o.Hosts, authenticate(o.Auth, withNotFound(mux, o.Sites)))
	return linger(cmp.Or(o.Linger, lingerTime), withClientAddress(o.Proxies, showProblems(o.ProblemPage, all)))
}

// identity is the principal of a request, or why it has none.
type identity struct {
	Principal
	err error
}

type identityKey struct{}

// authenticate stores the identity and the client address of a request in its context. It refuses nothing.
func authenticate(auth *Auth, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := auth.Authenticate(r)
		ctx := context.WithValue(r.Context(), addressKey{}, r.RemoteAddr)
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, identityKey{}, identity{p, err})))
	})
}

// PrincipalOf returns the principal of a request, from its context.
func PrincipalOf(ctx context.Context) Principal {
	who, _ := ctx.Value(identityKey{}).(identity)
	return who.Principal
}

// authorize calls the handler of a route only for principals that have its role.
func authorize(o HandlerOptions, limit *requests, route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// URL.Query drops what it cannot parse: a batch would get another name than was asked for.
		if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
			writeProblem(w, r, http.StatusBadRequest, CodeInvalid, "the query of the URL cannot be read: "+err.Error())
			return
		}
		who, _ := r.Context().Value(identityKey{}).(identity)
		p, err := who.Principal, who.err
		if route.Role != "" {
			var limited *LimitedError
			switch {
			case errors.As(err, &limited):
				tooMany(w, r, limited)
				return
			case err != nil:
				unauthorized(w, r, err)
				return
			case !p.May(route.Role):
				writeProblem(w, r, http.StatusForbidden, "role",
					"this needs the role "+string(route.Role)+", which "+p.Name+" lacks")
				return
			}
			if p := limit.take(p); p != nil {
				p.Write(w, r)
				return
			}
		}
		if route.Role == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
			route.Handler.ServeHTTP(w, r)
			return
		}
		sw := &statusWriter{ResponseWriter: w}
		route.Handler.ServeHTTP(sw, r)
		o.Log.Info("request", "by", p.Name, "method", r.Method, "path", BaseOf(r)+r.URL.Path, "status",
			cmp.Or(sw.status, http.StatusOK), "from", r.RemoteAddr)
	})
}

type addressKey struct{}

// AddressOf returns the IP address and port of the client of a request, from its context.
func AddressOf(ctx context.Context) string {
	from, _ := ctx.Value(addressKey{}).(string)
	return from
}

// statusWriter records the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// wantsHTML reports whether the client is a browser that shows the answer to a person.
func wantsHTML(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

func unauthorized(w http.ResponseWriter, r *http.Request, err error) {
	if wantsHTML(r) {
		to := BaseOf(r) + "/login"
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			to += "?next=" + url.QueryEscape(r.URL.RequestURI())
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="tiwsnap"`)
	writeProblem(w, r, http.StatusUnauthorized, "credentials", err.Error())
}

func tooMany(w http.ResponseWriter, r *http.Request, err *LimitedError) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(err.RetryAfter.Seconds()))))
	writeProblem(w, r, http.StatusTooManyRequests, "attempts", err.Error())
}

// writeProblem answers with a problem. See the codes in problem.go.
func writeProblem(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	NewProblem(status, code, "%s", detail).Write(w, r)
}

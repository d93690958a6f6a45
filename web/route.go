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

// Route is one thing that can be asked for, and who may.
type Route struct {
	Pattern string // of http.ServeMux, as in "GET /v1/batches/{id}"
	Role    Role   // empty: everybody, also who is not known
	Handler http.Handler
}

// handle returns the Route of a handler.
func Handle(pattern string, role Role, h http.HandlerFunc) Route { return Route{pattern, role, h} }

// HandlerOptions are the settings of NewHandler.
type HandlerOptions struct {
	Auth *Auth // required
	// Hosts are the names, in lower case and without ports, under which
	// browsers and programs reach this server, beside IP addresses and
	// localhost.
	Hosts []string
	// Proxies are those through which others reach this server: of a request
	// from one of them the address is taken from X-Forwarded-For.
	Proxies []netip.Prefix
	// Sites are all that have routes here, where there are several: each page
	// leads to the others.
	Sites []Site
	// ProblemPage shows problems to people. Default: they get the document, too.
	ProblemPage ProblemPage
	Log         *slog.Logger // default: none
	// Linger is how long the rest of a body is read after an early answer. Default: 30 s, as nginx does.
	Linger time.Duration
}

// NewHandler returns the handler of all routes. None of them is reached but by
// those who have its role, by a name that is ours, and not from a page of
// another site; every answer has the headers that keep browsers out of trouble.
// Who is not let in is answered
//
//	400 with a query that cannot be read
//	401 without credentials or with wrong ones; a browser is led to /login
//	403 without the role, or from a page of another site
//	421 by a name that is not ours
//	429 after too many wrong ones, or too many requests, with Retry-After
//
// by a page, or where none was asked for by a problem document (RFC 9457). What
// principals change is logged with their names.
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
		mux.Handle(pattern, site.at(o.Sites, only(o, limit, route)))
	}
	all := guard(o.Hosts, answerPanic(o.Log, answerNothing(mux)))
	return linger(cmp.Or(o.Linger, lingerTime), behind(o.Proxies, showProblems(o.ProblemPage, all)))
}

// only lets those through to a route who have its role.
func only(o HandlerOptions, limit *requests, route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// URL.Query leaves out what it cannot read, and a batch would get
		// another name than it was given.
		if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
			refuse(w, r, http.StatusBadRequest, CodeInvalid, "the query of the URL cannot be read: "+err.Error())
			return
		}
		p, err := o.Auth.Authenticate(r)
		ctx := context.WithValue(r.Context(), addressKey{}, r.RemoteAddr)
		r = r.WithContext(context.WithValue(ctx, principalKey{}, p))
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
				refuse(w, r, http.StatusForbidden, "role",
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

// addressOf returns the client's IP address and port of the request of ctx.
func AddressOf(ctx context.Context) string {
	from, _ := ctx.Value(addressKey{}).(string)
	return from
}

// statusWriter remembers the status of an answer.
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

// asksForPage reports whether a person's browser wants to show the answer.
func asksForPage(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

func unauthorized(w http.ResponseWriter, r *http.Request, err error) {
	if asksForPage(r) {
		to := BaseOf(r) + "/login"
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			to += "?next=" + url.QueryEscape(r.URL.RequestURI())
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="tiwsnap"`)
	refuse(w, r, http.StatusUnauthorized, "credentials", err.Error())
}

func tooMany(w http.ResponseWriter, r *http.Request, err *LimitedError) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(err.RetryAfter.Seconds()))))
	refuse(w, r, http.StatusTooManyRequests, "attempts", err.Error())
}

// refuse answers with a problem document. The code is one of ours and stays.
func refuse(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	NewProblem(status, code, "%s", detail).Write(w, r)
}

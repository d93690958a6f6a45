package web

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"
)

// Problem is an error for clients: an RFC 9457 problem document, media type application/problem+json.
type Problem struct {
	Status int     `json:"status" doc:"The HTTP status"`
	Title  string  `json:"title" doc:"The words of the HTTP status"`
	Code   string  `json:"code" doc:"What is wrong, for programs: one of a list that only grows" example:"not-found"`
	Detail string  `json:"detail,omitempty" doc:"What is wrong and what to do, for people"`
	Faults []Fault `json:"errors" doc:"Each fault, where there may be several; at most 100"`

	after time.Duration // Retry-After, if it is not 0
}

// Fault is one fault in a request.
type Fault struct {
	Line   int    `json:"line,omitempty" doc:"The line of a list, or the number of a room in a JSON array, from 1"`
	Column int    `json:"column,omitempty" doc:"The field of a line of CSV, or the byte of a line of JSON, from 1"`
	Field  string `json:"field,omitempty" doc:"The field or the parameter" example:"RoomId"`
	Reason string `json:"reason" doc:"What is wrong with it" example:"is missing"`
}

// The codes of problems. They are part of the API; docs/api.md lists them.
const (
	CodeInvalid       = "invalid"
	CodeNotFound      = "not-found"
	codeMethod        = "method-not-allowed"
	CodeMediaType     = "media-type"
	CodeTooLarge      = "too-large"
	CodeTimeout       = "timeout"
	CodeKeyInFlight   = "key-in-flight"
	CodeKeyReused     = "key-reused"
	CodeExists        = "exists"
	CodeState         = "state"
	codeBusy          = "busy"
	CodeRedisFull     = "redis-full"
	CodeRedisEvicts   = "redis-evicts"
	CodeRedisAway     = "redis-away"
	CodeNoDisk        = "no-disk"
	CodeNotReplicated = "not-replicated"
	CodeInternal      = "internal"
	codeRate          = "rate"
	CodeSource        = "source"
	CodeExpired       = "expired"
	CodeGone          = "gone"
	CodeImage         = "image-unavailable"
)

// NewProblem returns a problem. The title is the text of the status.
func NewProblem(status int, code, format string, args ...any) *Problem {
	return &Problem{
		Status: status, Title: http.StatusText(status), Code: code, Detail: fmt.Sprintf(format, args...), Faults: []Fault{},
	}
}

// InternalProblem returns a problem without its cause, which may reveal internals. Log the cause.
func InternalProblem() *Problem {
	return NewProblem(http.StatusInternalServerError, CodeInternal, "internal error; see the log of the server")
}

// RetryAfter sets the Retry-After header.
func (p *Problem) RetryAfter(d time.Duration) *Problem {
	p.after = d
	return p
}

func (p *Problem) Error() string { return p.Detail }

// GetStatus is for huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is for huma.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders is for huma.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.after.Seconds()))))
	}
	if p.Status == http.StatusRequestEntityTooLarge || p.Status == http.StatusRequestTimeout {
		h.Set("Connection", "close") // the rest of the body is not read
	}
	return h
}

// Write answers with the problem: with a page if the client is a browser, otherwise with the document.
func (p *Problem) Write(w http.ResponseWriter, r *http.Request) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	if show, ok := r.Context().Value(problemPageKey{}).(ProblemPage); ok && wantsHTML(r) {
		show(w, r, p)
		return
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		json.NewEncoder(w).Encode(p)
	}
}

// Invalid returns a problem with one field or parameter.
func Invalid(field, reason string) *Problem {
	p := NewProblem(http.StatusUnprocessableEntity, CodeInvalid, "%s %s", field, reason)
	p.Faults = []Fault{{Field: field, Reason: reason}}
	return p
}

// ProblemPage writes a problem as a page.
type ProblemPage func(http.ResponseWriter, *http.Request, *Problem)

type problemPageKey struct{}

// showProblems lets next show problems as pages.
func showProblems(show ProblemPage, next http.Handler) http.Handler {
	if show == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), problemPageKey{}, show)))
	})
}

// MaxFaults bounds the faults in an answer.
const MaxFaults = 100

// recoverPanic answers 500 if a handler panics before it has answered. Otherwise it breaks the connection, so that
// the client does not take half an answer for a whole one.
func recoverPanic(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw := &statusWriter{ResponseWriter: w}
		defer func() {
			reason := recover()
			if reason == nil {
				return
			}
			if reason != http.ErrAbortHandler {
				log.Error("panic in a handler", "method", r.Method, "path", BaseOf(r)+r.URL.Path, "panic", reason, "stack",
					string(debug.Stack()))
			}
			if sw.status != 0 || reason == http.ErrAbortHandler {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Connection", "close")
			InternalProblem().Write(w, r)
		}()
		next.ServeHTTP(sw, r)
	})
}

// withNotFound is mux, but answers 404 and 405 with a problem. To a known principal, its page belongs to a site.
func withNotFound(mux *http.ServeMux, sites []Site) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		var missed headers
		h.ServeHTTP(&missed, r)
		problem := NewProblem(http.StatusNotFound, CodeNotFound, "there is nothing under this path")
		if allow := missed.Header().Get("Allow"); missed.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", allow)
			problem = NewProblem(http.StatusMethodNotAllowed, codeMethod, "only %s is allowed here", allow)
		}
		show := http.Handler(http.HandlerFunc(problem.Write))
		if PrincipalOf(r.Context()).Name != "" { // nobody else learns which sites exist
			show = siteOfPath(sites, r.URL.EscapedPath()).at(sites, show)
		}
		show.ServeHTTP(w, r)
	})
}

// headers is a ResponseWriter that drops the body.
type headers struct {
	header http.Header
	status int
}

func (h *headers) Header() http.Header {
	if h.header == nil {
		h.header = http.Header{}
	}
	return h.header
}

func (h *headers) WriteHeader(status int)      { h.status = status }
func (h *headers) Write(p []byte) (int, error) { return len(p), nil }

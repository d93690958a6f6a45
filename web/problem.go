package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/enqueue"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/rooms"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
)

// Problem is an error as clients get it: an RFC 9457 problem document. Its
// media type is application/problem+json.
type Problem struct {
	Status int     `json:"status" doc:"The HTTP status"`
	Title  string  `json:"title" doc:"The words of the HTTP status"`
	Code   string  `json:"code" doc:"What is wrong, for programs: one of a list that only grows" example:"not-found"`
	Detail string  `json:"detail,omitempty" doc:"What is wrong and what to do, for people"`
	Faults []Fault `json:"errors" doc:"Each fault, where there may be several; at most 100"`

	after time.Duration // Retry-After, if it is not 0
}

// Fault is one thing that is wrong with a request.
type Fault struct {
	Line   int    `json:"line,omitempty" doc:"The line of a list, or the number of a room in a JSON array, from 1"`
	Column int    `json:"column,omitempty" doc:"The field of a line of CSV, or the byte of a line of JSON, from 1"`
	Field  string `json:"field,omitempty" doc:"The field or the parameter" example:"RoomId"`
	Reason string `json:"reason" doc:"What is wrong with it" example:"is missing"`
}

// The codes of problems. They are part of the API: docs/api.md lists them.
const (
	codeInvalid       = "invalid"
	codeNotFound      = "not-found"
	codeMethod        = "method-not-allowed"
	codeMediaType     = "media-type"
	codeTooLarge      = "too-large"
	codeTimeout       = "timeout"
	codeKeyInFlight   = "key-in-flight"
	codeKeyReused     = "key-reused"
	codeExists        = "exists"
	codeState         = "state"
	codeBusy          = "busy"
	codeRedisFull     = "redis-full"
	codeRedisEvicts   = "redis-evicts"
	codeRedisAway     = "redis-away"
	codeNoDisk        = "no-disk"
	codeNotReplicated = "not-replicated"
	codeInternal      = "internal"
	codeRate          = "rate"
	codeSource        = "source"
	codeExpired       = "expired"
	codeGone          = "gone"
	codeImage         = "image-unavailable"
)

func problem(status int, code, format string, args ...any) *Problem {
	return &Problem{
		Status: status, Title: http.StatusText(status), Code: code, Detail: fmt.Sprintf(format, args...), Faults: []Fault{},
	}
}

// retryAfter is the problem with a Retry-After of d.
func (p *Problem) retryAfter(d time.Duration) *Problem {
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

// write answers with the problem outside of huma: to a person by a page.
func (p *Problem) write(w http.ResponseWriter, r *http.Request) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	if asksForPage(r) {
		l := langOf(r)
		title := l.say("problem." + p.Code)
		if title == "problem."+p.Code {
			title = p.Title
		}
		newView(r, title, p).show(w, r, p.Status, problemPage) // what can fail in it is compiled in
		return
	}
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		json.NewEncoder(w).Encode(p)
	}
}

// maxFaults is how many faults an answer lists.
const maxFaults = 100

// A list is always a list. Where huma itself finds fault with a request, its
// words become a Problem. These variables are the only way to tell it that.
func init() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, detail string, errs ...error) huma.StatusError {
		code := codeInvalid
		switch {
		case status == http.StatusRequestEntityTooLarge:
			code = codeTooLarge
		case status == http.StatusRequestTimeout:
			code = codeTimeout
		case status == http.StatusUnsupportedMediaType:
			code = codeMediaType
		case status >= 500: // an error of ours may tell too much
			return problem(status, codeInternal, "something went wrong here, and the log says what")
		}
		p := problem(status, code, "%s", detail)
		for _, err := range errs[:min(len(errs), maxFaults)] {
			var own *Problem
			var d *huma.ErrorDetail
			switch {
			case errors.As(err, &own):
				return own
			case errors.As(err, &d):
				p.Faults = append(p.Faults, Fault{Field: d.Location, Reason: d.Message})
			case err != nil:
				p.Faults = append(p.Faults, Fault{Reason: err.Error()})
			}
		}
		return p
	}
}

// redisPatience is the Retry-After where Redis is away.
const redisPatience = 5 * time.Second

// problemOf finds the Problem in an error of the packages below. It is nil for
// one that is nobody's fault but ours.
func problemOf(err error) *Problem {
	var (
		own      *Problem
		room     *tasks.RoomError
		file     *rooms.FileError
		full     *enqueue.FullError
		evicts   *rdb.EvictionError
		refusal  redis.Error
		network  net.Error
		tooLarge *http.MaxBytesError
		excel    *results.SheetError
		disk     *fs.PathError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &tooLarge):
		return problem(http.StatusRequestEntityTooLarge, codeTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &room):
		p := problem(http.StatusUnprocessableEntity, codeInvalid, "the room breaks the rules of Tencent's API")
		for _, f := range room.Faults[:min(len(room.Faults), maxFaults)] {
			p.Faults = append(p.Faults, Fault{Field: f.Field, Reason: f.Reason})
		}
		return p
	case errors.As(err, &file) && file.Err == nil:
		p := problem(http.StatusUnprocessableEntity, codeInvalid, "the list cannot be read; nothing was enqueued")
		p.Faults = faults(file.Line, file.Faults)
		return p
	case errors.As(err, &excel):
		return problem(http.StatusUnprocessableEntity, codeInvalid, "%v: ask for format=csv, or for a state", excel)
	case errors.As(err, &disk):
		return problem(http.StatusInsufficientStorage, codeNoDisk, "no room for a temporary file here: %v", disk)
	case errors.Is(err, backlog.ErrLabels):
		return problem(http.StatusUnprocessableEntity, codeInvalid, "nothing was enqueued: %v", backlog.ErrLabels)
	case errors.Is(err, ledger.ErrCursor):
		return invalid("cursor", "is none that a page before gave")
	case errors.Is(err, ledger.ErrNotFound), errors.Is(err, backlog.ErrNotFound):
		return problem(http.StatusNotFound, codeNotFound,
			"there is nothing of that id; what has ended is kept for a while only")
	case errors.As(err, &full):
		return problem(http.StatusServiceUnavailable, codeRedisFull, "nothing was enqueued: %v", full).retryAfter(time.Minute)
	case errors.As(err, &evicts):
		return problem(http.StatusServiceUnavailable, codeRedisEvicts, "nothing was enqueued: %v",
			evicts).retryAfter(time.Minute)
	case errors.Is(err, enqueue.ErrNotReplicated):
		return problem(http.StatusServiceUnavailable, codeNotReplicated,
			"accepted, but not every replica of Redis has confirmed it; repeat the request with its Idempotency-Key").
			retryAfter(time.Second)
	case errors.Is(err, backlog.ErrLoadLost):
		return problem(http.StatusRequestTimeout, codeTimeout,
			"nothing was enqueued: the upload has stood still for too long")
	case errors.As(err, &refusal), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, redis.ErrClosed), errors.Is(err, context.DeadlineExceeded):
		return problem(http.StatusServiceUnavailable, codeRedisAway,
			"unexpected error from Redis; try again").retryAfter(redisPatience)
	}
	return nil
}

// faults are those of one line of a list.
func faults(line int, all []rooms.Fault) []Fault {
	list := make([]Fault, 0, len(all))
	for _, f := range all {
		list = append(list, Fault{line, f.Column, f.Field, f.Reason})
	}
	return list
}

// answerPanic answers 500 where a handler panics, if it has not answered yet.
// The connection ends, so that nobody takes half an answer for a whole one.
func answerPanic(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sw := &statusWriter{ResponseWriter: w}
		defer func() {
			reason := recover()
			if reason == nil {
				return
			}
			if reason != http.ErrAbortHandler {
				log.Error("panic in a handler", "method", r.Method, "path", r.URL.Path, "panic", reason, "stack",
					string(debug.Stack()))
			}
			if sw.status != 0 || reason == http.ErrAbortHandler {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Connection", "close")
			problem(http.StatusInternalServerError, codeInternal, "something went wrong here, and the log says what").write(w, r)
		}()
		next.ServeHTTP(sw, r)
	})
}

// answerNothing is mux, but for requests that it has no handler for: they are
// answered by a problem document.
func answerNothing(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		var missed headers
		h.ServeHTTP(&missed, r)
		if allow := missed.Header().Get("Allow"); missed.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", allow)
			problem(http.StatusMethodNotAllowed, codeMethod, "here only %s", allow).write(w, r)
			return
		}
		problem(http.StatusNotFound, codeNotFound, "there is nothing under this path").write(w, r)
	})
}

// headers is an answer of which the body is of no interest.
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

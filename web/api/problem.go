package api

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
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
	"tiwsnap/web"
)

// Lists are never null, and errors of huma itself become problems. Both can only be set in variables.
func init() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, detail string, errs ...error) huma.StatusError {
		code := web.CodeInvalid
		switch {
		case status == http.StatusRequestEntityTooLarge:
			code = web.CodeTooLarge
		case status == http.StatusRequestTimeout:
			code = web.CodeTimeout
		case status == http.StatusUnsupportedMediaType:
			code = web.CodeMediaType
		case status >= 500: // it may reveal internals
			return web.InternalProblem()
		}
		p := web.NewProblem(status, code, "%s", detail)
		for _, err := range errs[:min(len(errs), web.MaxFaults)] {
			var own *web.Problem
			var d *huma.ErrorDetail
			switch {
			case errors.As(err, &own):
				return own
			case errors.As(err, &d):
				p.Faults = append(p.Faults, web.Fault{Field: d.Location, Reason: d.Message})
			case err != nil:
				p.Faults = append(p.Faults, web.Fault{Reason: err.Error()})
			}
		}
		return p
	}
}

// redisPatience is the Retry-After if Redis is away.
const redisPatience = 5 * time.Second

// ClientProblem returns the problem for an error of the packages below. It is nil for an internal error.
func ClientProblem(err error) *web.Problem {
	var (
		own      *web.Problem
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
		return web.NewProblem(http.StatusRequestEntityTooLarge, web.CodeTooLarge,
			"the body is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &room):
		p := web.NewProblem(http.StatusUnprocessableEntity, web.CodeInvalid, "the room breaks the rules of Tencent's API")
		for _, f := range room.Faults[:min(len(room.Faults), web.MaxFaults)] {
			p.Faults = append(p.Faults, web.Fault{Field: f.Field, Reason: f.Reason})
		}
		return p
	case errors.As(err, &file) && file.Err == nil:
		p := web.NewProblem(http.StatusUnprocessableEntity, web.CodeInvalid, "the list cannot be read; nothing was enqueued")
		p.Faults = faults(file.Line, file.Faults)
		return p
	case errors.As(err, &excel):
		return web.NewProblem(http.StatusUnprocessableEntity, web.CodeInvalid,
			"%v: ask for format=csv, or for a state", excel)
	case errors.As(err, &disk):
		return web.NewProblem(http.StatusInsufficientStorage, web.CodeNoDisk, "no room for a temporary file here: %v", disk)
	case errors.Is(err, backlog.ErrLabels):
		return web.NewProblem(http.StatusUnprocessableEntity, web.CodeInvalid, "nothing was enqueued: %v", backlog.ErrLabels)
	case errors.Is(err, ledger.ErrCursor):
		return web.Invalid("cursor", "is not one that an earlier page returned")
	case errors.Is(err, ledger.ErrNotFound), errors.Is(err, backlog.ErrNotFound):
		return web.NewProblem(http.StatusNotFound, web.CodeNotFound,
			"there is nothing with that id; ended batches and snapshots are kept for a while only")
	case errors.As(err, &full):
		return web.NewProblem(http.StatusServiceUnavailable, web.CodeRedisFull, "nothing was enqueued: %v",
			full).RetryAfter(time.Minute)
	case errors.As(err, &evicts):
		return web.NewProblem(http.StatusServiceUnavailable, web.CodeRedisEvicts, "nothing was enqueued: %v",
			evicts).RetryAfter(time.Minute)
	case errors.Is(err, enqueue.ErrExists):
		return web.NewProblem(http.StatusConflict, web.CodeExists,
			"nothing was enqueued: %v; give this one another name", err)
	case errors.Is(err, enqueue.ErrNotReplicated):
		return web.NewProblem(http.StatusServiceUnavailable, web.CodeNotReplicated,
			"accepted, but not every replica of Redis has confirmed it; repeat the request with its Idempotency-Key").
			RetryAfter(time.Second)
	case errors.Is(err, backlog.ErrLoadLost):
		return web.NewProblem(http.StatusRequestTimeout, web.CodeTimeout,
			"nothing was enqueued: the upload stalled for too long")
	case errors.As(err, &refusal), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, redis.ErrClosed), errors.Is(err, context.DeadlineExceeded):
		return web.NewProblem(http.StatusServiceUnavailable, web.CodeRedisAway,
			"unexpected error from Redis; try again").RetryAfter(redisPatience)
	}
	return nil
}

// faults returns the faults of one line of a list.
func faults(line int, all []rooms.Fault) []web.Fault {
	list := make([]web.Fault, 0, len(all))
	for _, f := range all {
		list = append(list, web.Fault{Line: line, Column: f.Column, Field: f.Field, Reason: f.Reason})
	}
	return list
}

type logKey struct{}

// answerable is ProblemOf with the log of the request.
func answerable(ctx context.Context, operation string, err error) *web.Problem {
	log, _ := ctx.Value(logKey{}).(*slog.Logger)
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return ProblemOf(log, operation, err)
}

// ProblemOf returns the problem for any error, and logs what is not the fault of the client.
func ProblemOf(log *slog.Logger, operation string, err error) *web.Problem {
	p := ClientProblem(err)
	switch {
	case p == nil && errors.Is(err, context.Canceled):
		// The client is gone.
		p = web.NewProblem(http.StatusRequestTimeout, web.CodeTimeout, "the client has canceled the request")
	case p == nil:
		log.Error("request failed", "operation", operation, "err", err)
		p = web.InternalProblem()
	case p.Code == web.CodeRedisAway: // or it has refused a command
		log.Warn("unexpected error from Redis", "operation", operation, "err", err)
	case p.Code == web.CodeNoDisk:
		log.Warn("no room for a temporary file", "operation", operation, "err", err)
	}
	return p
}

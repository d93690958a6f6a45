// Package audit stores the audit log: who changed what and when, on the pages,
// through the API or on the command line.
package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
)

// retention is how long an entry is kept, and Most how many entries, approximately.
const (
	retention = 90 * 24 * time.Hour
	Most      = 100_000
)

// maxText bounds each text of an entry, in bytes.
const maxText = 500

// Entry is one change.
type Entry struct {
	ID     string    `json:"id"` // its place in the log; the cursor of what is older
	At     time.Time `json:"at"` // by the clock of Redis
	By     string    `json:"by"` // the user, the token, or who ran the command
	Via    string    `json:"via"`
	From   string    `json:"from,omitempty"`   // the address of a client by HTTP
	Action string    `json:"action"`           // the operation, as in cancel-batch
	Object string    `json:"object,omitempty"` // what was changed
	Detail string    `json:"detail,omitempty"` // such as the reason, or how many
}

// The ways to make a change.
const (
	Page    = "page"
	API     = "api"
	Command = "command"
)

// Log is the audit log of a namespace. It is safe for concurrent use.
type Log struct {
	rdb redis.UniversalClient
	key string
}

// New returns the audit log of a namespace in rdb.
func New(rdb redis.UniversalClient, ns keys.Namespace) *Log { return &Log{rdb, ns.Audit()} }

// Add writes an entry; its ID and time are set by Redis. The error is that of Redis.
func (l *Log) Add(ctx context.Context, e Entry) error {
	values := []any{}
	for _, f := range [][2]string{{"by", e.By}, {"via", e.Via}, {"from", e.From}, {"action", e.Action}, {"object",
		e.Object}, {"detail", e.Detail}} {
		if f[1] != "" {
			values = append(values, f[0], strings.ToValidUTF8(f[1][:min(len(f[1]), maxText)], ""))
		}
	}
	_, err := l.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.XAdd(ctx, &redis.XAddArgs{Stream: l.key, MaxLen: Most, Approx: true, Values: values})
		oldest := strconv.FormatInt(time.Now().Add(-retention).UnixMilli(), 10)
		p.XTrimMinIDApprox(ctx, l.key, oldest, 0)
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// ErrCursor means that a cursor is not one that Page has returned.
var ErrCursor = errors.New("not a cursor")

// Page returns at most n entries older than the cursor, the newest first. An empty cursor is the newest entry. next is
// the cursor of the next page, or empty. Errors: ErrCursor, or that of Redis.
func (l *Log) Page(ctx context.Context, cursor string, n int) (all []Entry, next string, err error) {
	from := "+"
	if cursor != "" {
		if !validID(cursor) {
			return nil, "", ErrCursor
		}
		from = "(" + cursor
	}
	got, err := l.rdb.XRevRangeN(ctx, l.key, from, "-", int64(n)+1).Result()
	if err != nil {
		return nil, "", fmt.Errorf("read the audit log: %w", err)
	}
	all = []Entry{}
	for _, m := range got[:min(len(got), n)] {
		all = append(all, parse(m))
	}
	if len(got) > n && n > 0 {
		next = all[n-1].ID
	}
	return all, next, nil
}

// After adds a read to a pipeline: the entries after that id, at most the n newest. After the pipeline has run, read
// returns them, the oldest first. Errors: those of Redis.
func (l *Log) After(ctx context.Context, pipe redis.Pipeliner, id string, n int) (read func() ([]Entry, error)) {
	cmd := pipe.XRevRangeN(ctx, l.key, "+", "("+id, int64(n))
	return func() ([]Entry, error) {
		got, err := cmd.Result()
		if err != nil {
			return nil, fmt.Errorf("read the audit log: %w", err)
		}
		all := make([]Entry, 0, len(got))
		for _, m := range slices.Backward(got) {
			all = append(all, parse(m))
		}
		return all, nil
	}
}

func parse(m redis.XMessage) Entry {
	text := func(name string) string { s, _ := m.Values[name].(string); return s }
	ms, _, _ := strings.Cut(m.ID, "-")
	at, _ := strconv.ParseInt(ms, 10, 64)
	return Entry{
		ID: m.ID, At: time.UnixMilli(at).UTC(), By: text("by"), Via: text("via"), From: text("from"),
		Action: text("action"), Object: text("object"), Detail: text("detail"),
	}
}

// validID reports whether id is the id of an entry: two numbers.
func validID(id string) bool {
	a, b, ok := strings.Cut(id, "-")
	_, err1 := strconv.ParseUint(a, 10, 63)
	_, err2 := strconv.ParseUint(b, 10, 63)
	return ok && err1 == nil && err2 == nil
}

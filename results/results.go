// Package results reads the state and the results of snapshots and batches, whether
// they are in the ledger, in the backlog or on a queue, and explains their errors. The
// command line, the API and the pages all use it. It also writes result lists as CSV
// and as workbooks.
package results

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
)

// Result is a snapshot as it is shown to people and returned to programs.
type Result struct {
	ledger.Snapshot
	Meaning  string    `json:"meaning,omitempty"` // of the error code
	Fix      string    `json:"fix,omitempty"`
	CopyList []Copy    `json:"copies"`                  // one for each image; never nil
	GoneAt   time.Time `json:"images_gone_at,omitzero"` // when Tencent deletes images without a copy
}

// Explain adds the meaning of the error code and a fix to a snapshot. It reduces the
// room's CallbackURL to scheme and host, because the rest may contain a token.
func Explain(s ledger.Snapshot) Result {
	s.Room = s.Room.Redacted()
	r := Result{Snapshot: s}
	if r.Images == nil { // no record yet
		r.Images = []string{}
	}
	if r.History == nil {
		r.History = []ledger.Attempt{}
	}
	r.GoneAt, r.CopyList = s.GoneAt(), copies(s)
	if s.Code != "" {
		x := tiw.Explain(s.Code)
		r.Meaning, r.Fix = x.Meaning, x.Fix
	}
	return r
}

// Reader reads results. It is safe for concurrent use.
type Reader struct {
	rdb       redis.UniversalClient
	ledger    *ledger.Ledger
	backlog   *backlog.Backlog
	inspector *asynq.Inspector
	gate      *gate.Breaker
	workers   workers
	ns        keys.Namespace
	copyURL   func(ctx context.Context, s ledger.Snapshot, n int) string
}

// NewReader returns a reader of a namespace in rdb. It does not close rdb.
func NewReader(rdb redis.UniversalClient, ns keys.Namespace) *Reader {
	return &Reader{
		rdb:       rdb,
		ledger:    ledger.New(rdb, ledger.Options{Namespace: ns}),
		backlog:   backlog.New(rdb, ns),
		inspector: asynq.NewInspectorFromRedisClient(rdb),
		gate:      gate.NewBreaker(rdb, ns),
		ns:        ns,
	}
}

// Snapshot returns the snapshot of an id from the ledger, from the backlog, or from
// the queue if it was not begun. Errors: ledger.ErrNotFound, or Redis'.
func (r *Reader) Snapshot(ctx context.Context, id string) (ledger.Snapshot, error) {
	s, err := r.ledger.Snapshot(ctx, id)
	if !errors.Is(err, ledger.ErrNotFound) {
		return s, err
	}
	if batch, row, ok := tasks.SplitRowID(id); ok {
		b, err := r.ledger.Batch(ctx, batch)
		if err != nil {
			return s, err
		}
		room, err := r.backlog.Room(ctx, batch, row)
		if errors.Is(err, backlog.ErrNotFound) {
			err = ledger.ErrNotFound
		}
		return unbegun(b, row, room), err
	}
	info, err := r.inspector.GetTaskInfo(r.ns.QueueInteractive(), id)
	if errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound) {
		return r.ledger.Snapshot(ctx, id) // begun and accepted since the first query?
	}
	if err != nil {
		return s, err
	}
	p, err := tasks.ParseSnapshot(info.Payload)
	return ledger.Snapshot{ID: id, Room: p.Room, State: ledger.Queued}, err
}

// unbegun returns the snapshot of a row (from 1) without a record.
func unbegun(b ledger.Batch, row int, room tasks.Room) ledger.Snapshot {
	s := ledger.Snapshot{ID: tasks.RowID(b.ID, row), Batch: b.ID, Room: room, State: ledger.Queued}
	if b.CanceledUnfed(row) {
		s.State = ledger.Canceled
	}
	return s
}

// page is how many snapshots are read at a time from up to a million.
const page = 500

// Batch returns at most n snapshots of a batch in the order of its rows, from row first
// (from 1) on. It reads a few hundred at a time. An error ends the sequence.
func (r *Reader) Batch(ctx context.Context, b ledger.Batch, first, n int) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		var ids []string
		var rows []tasks.Room
		next := first // row of ids[0]
		flush := func() bool {
			all, err := r.ledger.Records(ctx, ids)
			if err != nil {
				yield(Result{}, err)
				return false
			}
			for i, s := range all {
				if s.State == "" {
					s = unbegun(b, next+i, rows[i])
				}
				s.Room = rows[i]
				if !yield(r.Explain(ctx, s), nil) {
					return false
				}
			}
			next += len(ids)
			ids, rows = ids[:0], rows[:0]
			return true
		}
		row := first - 1
		for room, err := range r.backlog.RoomsFrom(ctx, b.ID, first) {
			if err != nil {
				yield(Result{}, err)
				return
			}
			if row++; row >= first+n {
				break
			}
			ids, rows = append(ids, tasks.RowID(b.ID, row)), append(rows, room)
			if len(ids) == page && !flush() {
				return
			}
		}
		if len(ids) > 0 {
			flush()
		}
	}
}

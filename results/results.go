// Package results reads the state and the results of snapshots and batches,
// wherever they are: in the ledger, in the backlog or on a queue. The command
// line, the API and the pages all use it. It also writes result lists.
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

// Result is a snapshot as people and programs see it.
type Result struct {
	ledger.Snapshot
	Meaning  string    `json:"meaning,omitempty"` // of the error code
	Fix      string    `json:"fix,omitempty"`
	CopyList []Copy    `json:"copies"`                  // what became of each image; never nil
	GoneAt   time.Time `json:"images_gone_at,omitzero"` // when Tencent deletes those that have no copy
}

// Explain adds to a snapshot what its error code means and what to do. Of the
// room's CallbackURL it leaves scheme and host: the rest may hold a token.
func Explain(s ledger.Snapshot) Result {
	s.Room = s.Room.Redacted()
	r := Result{Snapshot: s}
	if r.Images == nil { // it has no record yet
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

// NewReader returns a reader of what lies in a namespace of rdb, which stays the caller's to
// close.
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

// Snapshot returns the snapshot of that id, wherever it is: in the ledger, in
// the backlog, or on the queue and not begun. Errors: ledger.ErrNotFound, or
// Redis'.
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
		return r.ledger.Snapshot(ctx, id) // it may have been begun and accepted between the two looks
	}
	if err != nil {
		return s, err
	}
	p, err := tasks.ParseSnapshot(info.Payload)
	return ledger.Snapshot{ID: id, Room: p.Room, State: ledger.Queued}, err
}

// unbegun is a row of a batch that has no record.
func unbegun(b ledger.Batch, row int, room tasks.Room) ledger.Snapshot {
	s := ledger.Snapshot{ID: tasks.RowID(b.ID, row), Batch: b.ID, Room: room, State: ledger.Queued}
	if b.CanceledUnfed(row) {
		s.State = ledger.Canceled
	}
	return s
}

// page is how many snapshots are read at a time where there may be a million.
const page = 500

// Batch returns n snapshots of a batch, or as many as there are, in the order of
// the class list from row first (from 1) on. They are read a few hundred at a
// time. An error ends the sequence.
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

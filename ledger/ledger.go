// Package ledger records the state of each snapshot and each batch, and decides
// whether a request may be sent. A worker writes an intent before it sends a request
// and the outcome after it. Lua scripts compare and set, fenced by the number of the
// attempt. The clock of Redis is the only one.
package ledger

import (
	_ "embed"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
)

var (
	// ErrNotFound means that there is no such record, or that it has expired.
	ErrNotFound = errors.New("not found")
	// ErrLate means that a newer attempt was begun, or that the snapshot has ended.
	// Nothing was changed, but a TaskID was added to the record as an extra task.
	ErrLate = errors.New("the record has moved on")
	// ErrLost means that there is no record: Redis has lost it, or it has expired.
	// Restore stores the outcome for a later record.
	ErrLost = errors.New("there is no record of it")
	// ErrTaken means that the task belongs to another snapshot.
	ErrTaken = errors.New("the task belongs to another snapshot")
)

// Options are the settings of a Ledger.
type Options struct {
	Namespace keys.Namespace // default: keys.Default
	// Busy is the longest duration of a request: the API timeout and some slack.
	// After it the worker of a snapshot that is still sending counts as lost.
	// Default 20 s.
	Busy time.Duration
	// Grace is how long an unknown outcome waits for its callback. Default 0, for
	// an installation without callbacks.
	Grace time.Duration
	// Hold makes an unknown outcome wait for a person's review.
	Hold bool
	// ConfirmAfter is the delay from acceptance to the first Describe. Default 30 s.
	ConfirmAfter time.Duration
	// Attempts is the number of failed attempts after which a snapshot fails; if the
	// last outcome is unknown, after its grace. Default 8.
	Attempts int
	// Retention is how long an ended record is kept. Default 7 days.
	Retention time.Duration
	// Relay means that Tencent calls tiwsnap instead of the CallbackURL of a room.
	// The end of such a room then makes a notice of kind callback.
	Relay bool
	// Replicas returns how many replicas of Redis must confirm an intent before its
	// request may be sent. Default: none.
	Replicas func() int
}

// Ledger reads and writes the records of one namespace. It is safe for concurrent use.
type Ledger struct {
	rdb   redis.UniversalClient
	ns    keys.Namespace
	o     Options
	rooms *backlog.Backlog // the rooms of batches; the records do not repeat them
}

// New returns the ledger of a namespace in rdb.
func New(rdb redis.UniversalClient, o Options) *Ledger {
	if o.Busy == 0 {
		o.Busy = 20 * time.Second
	}
	if o.ConfirmAfter == 0 {
		o.ConfirmAfter = 30 * time.Second
	}
	if o.Attempts == 0 {
		o.Attempts = 8
	}
	if o.Retention == 0 {
		o.Retention = 7 * 24 * time.Hour
	}
	return &Ledger{rdb, o.Namespace, o, backlog.New(rdb, o.Namespace)}
}

// batchOf returns the batch of a snapshot id; empty for a single snapshot.
func batchOf(id string) string {
	batch, _, _ := tasks.SplitRowID(id)
	return batch
}

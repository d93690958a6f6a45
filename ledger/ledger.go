// Package ledger records the state of each snapshot and each batch, and decides
// whether a request may be sent. The intent is written before the request and
// the outcome after it, by compare-and-set in Lua, fenced by the number of the
// attempt. Redis TIME is the only clock.
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
	// ErrLate means that the record has moved on: a newer attempt was begun,
	// or the snapshot has ended. What came late changed nothing; a TaskID in
	// it was kept with the record as an extra task.
	ErrLate = errors.New("the record has moved on")
	// ErrLost means that there is no record: Redis has lost it, or it has expired.
	// Restore keeps what came for it.
	ErrLost = errors.New("there is no record of it")
	// ErrTaken means that the task is another snapshot's.
	ErrTaken = errors.New("the task belongs to another snapshot")
)

// Options are the settings of a Ledger.
type Options struct {
	Namespace keys.Namespace // default: keys.Default
	// Busy is how long a request may be on its way: the API timeout and some
	// slack. A snapshot that has been sending for longer was cut off.
	// Default 20 s.
	Busy time.Duration
	// Grace is how long an unknown outcome waits for its callback. Default 0:
	// there are no callbacks.
	Grace time.Duration
	// Hold makes an unknown outcome wait for a person.
	Hold bool
	// ConfirmAfter is how long after acceptance the first Describe is due.
	// Default 30 s.
	ConfirmAfter time.Duration
	// Attempts is how many failed ones a snapshot may have: with one of unknown
	// outcome as the last of them it fails when its grace is over. Default 8.
	Attempts int
	// Retention is how long an ended record is kept. Default 7 days.
	Retention time.Duration
	// Relay is true where Tencent calls tiwsnap and not the CallbackURL of a
	// room. The end of such a room makes a notice of kind callback.
	Relay bool
	// Replicas is how many replicas of Redis must have an intent before its request
	// may be sent. Default: none.
	Replicas func() int
}

// Ledger is the records in one Redis. It is safe for concurrent use.
type Ledger struct {
	rdb   redis.UniversalClient
	ns    keys.Namespace
	o     Options
	rooms *backlog.Backlog // those of batches: their records have none
}

// New returns the ledger that lies in rdb.
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

// batchOf is the batch of a snapshot id, or empty.
func batchOf(id string) string {
	batch, _, _ := tasks.SplitRowID(id)
	return batch
}

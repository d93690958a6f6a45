// Package ledger keeps what has happened to each snapshot and each batch. It
// decides whether a request may be sent: the intent is written before the
// send and the outcome after it, by compare-and-set in Lua, fenced by the
// number of the attempt. Redis TIME is the only clock.
package ledger

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/keys"
	"tiwsnap/tasks"
)

// State is where a snapshot stands. The states and the moves between them:
//
//	queued ─► sending ─► accepted ─► succeeded
//	  ▲         │  │         └─────► failed   (the render failed, or 72 h ran out)
//	  │         │  └─► unknown ─► sending     (sent again; counted as a possible duplicate)
//	  └─ throttled, not sent     └──► failed  (permanent, or attempts used up)
type State string

// The states. A queued snapshot of a batch has no record before its first attempt.
const (
	Queued    State = "queued"
	Sending   State = "sending"
	Unknown   State = "unknown"
	Accepted  State = "accepted"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
)

// Ended reports whether nothing more will happen to the snapshot.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Canceled }

// ErrNotFound means that there is no such record, or that it has expired.
var ErrNotFound = errors.New("not found")

var (
	//go:embed prelude.lua
	prelude string
	//go:embed begin.lua
	beginSource string
	//go:embed outcome.lua
	outcomeSource string
	//go:embed settle.lua
	settleSource string
	//go:embed due.lua
	dueSource string
	//go:embed later.lua
	laterSource string

	beginScript   = redis.NewScript(prelude + beginSource)
	outcomeScript = redis.NewScript(prelude + outcomeSource)
	settleScript  = redis.NewScript(prelude + settleSource)
	dueScript     = redis.NewScript(prelude + dueSource)
	laterScript   = redis.NewScript(prelude + laterSource)
)

// Options are the settings of a Ledger.
type Options struct {
	// Busy is how long a request may be on its way: the API timeout and some
	// slack. A snapshot that has been sending for longer was cut off.
	// Default 20 s.
	Busy time.Duration
	// Retention is how long an ended record is kept. Default 7 days.
	Retention time.Duration
}

// Ledger is the records in one Redis. It is safe for concurrent use.
type Ledger struct {
	rdb redis.UniversalClient
	o   Options
}

// New returns the ledger that lies in rdb.
func New(rdb redis.UniversalClient, o Options) *Ledger {
	if o.Busy == 0 {
		o.Busy = 20 * time.Second
	}
	if o.Retention == 0 {
		o.Retention = 7 * 24 * time.Hour
	}
	return &Ledger{rdb, o}
}

// Verdict says whether a request may be sent.
type Verdict string

// The verdicts of Begin.
const (
	Send   Verdict = "send"   // the intent is written: send
	Busy   Verdict = "busy"   // somebody else's request is on its way: ask again after Wait
	Paused Verdict = "paused" // the queues are paused: ask again after Wait
	Done   Verdict = "done"   // accepted or ended: there is nothing to send
)

// Intent is the answer of Begin.
type Intent struct {
	Verdict  Verdict
	Attempt  int           // Send: number of this attempt, from 1; it fences the outcome
	Failures int           // Send: attempts before this one that counted against the limit
	Wait     time.Duration // Busy, Paused
}

// Begin writes the intent to send one request for the snapshot, or says why
// none may be sent. The token names the intent: beginning twice with the same
// one, because a reply was lost, is beginning once.
func (l *Ledger) Begin(ctx context.Context, p tasks.SnapshotPayload, token string) (Intent, error) {
	room, err := json.Marshal(p.Room)
	if err != nil {
		return Intent{}, fmt.Errorf("encode room: %w", err)
	}
	reply, err := beginScript.Run(ctx, l.rdb,
		[]string{
			keys.Snapshot(p.ID), keys.Batch(p.Batch), keys.Rows(p.Batch),
			keys.Transit, keys.Open, keys.Pause, keys.Totals,
		},
		p.ID, p.Batch, room, token, l.o.Busy.Milliseconds(),
	).Slice()
	if err != nil {
		return Intent{}, fmt.Errorf("begin snapshot %s: %w", p.ID, err)
	}
	in := Intent{Verdict: Verdict(reply[0].(string))}
	switch in.Verdict {
	case Send:
		in.Attempt, in.Failures = int(reply[1].(int64)), int(reply[2].(int64))
	case Busy, Paused:
		in.Wait = time.Duration(reply[1].(int64)) * time.Millisecond
	}
	return in, nil
}

// Outcome is what became of one request.
type Outcome struct {
	// State is Queued (certainly no task was made, or throttled), Unknown,
	// Accepted or Failed.
	State State
	// MayHaveMade is true if State is Failed and the request may have made a
	// task all the same. Unknown and Accepted imply it.
	MayHaveMade bool
	// Costs is true if the attempt counts against the attempts allowed.
	Costs     bool
	TaskID    string // Accepted
	RequestID string
	Code      string // of the error, as Tencent spells it
	Message   string
	// ConfirmAfter is how long after this the first Describe is due.
	ConfirmAfter time.Duration
}

// ErrLate means that the record has moved on: a newer attempt was begun, or
// the snapshot has ended. The outcome changed nothing; a TaskID in it was kept
// with the record as an extra task.
var ErrLate = errors.New("the record has moved on")

// Outcome writes the outcome of an attempt. Writing it twice is writing it
// once. Errors: ErrLate, or Redis'.
func (l *Ledger) Outcome(ctx context.Context, p tasks.SnapshotPayload, attempt int, o Outcome) error {
	reply, err := outcomeScript.Run(ctx, l.rdb,
		[]string{
			keys.Snapshot(p.ID), keys.Batch(p.Batch), keys.Rows(p.Batch),
			keys.Open, keys.Confirm, keys.Totals,
		},
		p.ID, attempt, string(o.State), o.Costs, o.TaskID, o.RequestID, o.Code, o.Message,
		o.ConfirmAfter.Milliseconds(), l.o.Retention.Milliseconds(),
		o.MayHaveMade || o.State == Unknown || o.State == Accepted,
	).Text()
	if err != nil {
		return fmt.Errorf("write the outcome of snapshot %s: %w", p.ID, err)
	}
	if reply == "late" {
		return fmt.Errorf("snapshot %s, attempt %d: %w", p.ID, attempt, ErrLate)
	}
	return nil
}

// Result is what became of an accepted task.
type Result struct {
	State   State // Succeeded or Failed
	Images  []string
	Code    string
	Message string
}

// Settle writes the result of the snapshot's task and so ends it. Errors:
// ErrLate if the record does not wait for that task, or Redis'.
func (l *Ledger) Settle(ctx context.Context, s Snapshot, r Result) error {
	images, err := json.Marshal(r.Images)
	if err != nil {
		return fmt.Errorf("encode images: %w", err)
	}
	reply, err := settleScript.Run(ctx, l.rdb,
		[]string{keys.Snapshot(s.ID), keys.Batch(s.Batch), keys.Rows(s.Batch), keys.Confirm, keys.Totals},
		s.ID, s.TaskID, string(r.State), images, len(r.Images), r.Code, r.Message, l.o.Retention.Milliseconds(),
	).Text()
	if err != nil {
		return fmt.Errorf("settle snapshot %s: %w", s.ID, err)
	}
	if reply == "late" {
		return fmt.Errorf("snapshot %s, task %s: %w", s.ID, s.TaskID, ErrLate)
	}
	return nil
}

// confirmLease is how long a worker has to ask about what Due gave it.
const confirmLease = 30 * time.Second

// Due hands out at most n accepted snapshots whose next Describe is due. Nobody
// else gets them for 30 seconds. wait is the time until the next one is due,
// negative if there is none.
func (l *Ledger) Due(ctx context.Context, n int) (due []Snapshot, wait time.Duration, err error) {
	ids, wait, err := l.due(ctx, keys.Confirm, 0, n, confirmLease)
	if err != nil || len(ids) == 0 {
		return nil, wait, err
	}
	due, err = l.Snapshots(ctx, ids)
	return due, wait, err
}

// Later puts off the next Describe of an accepted snapshot.
func (l *Ledger) Later(ctx context.Context, id string, delay time.Duration) error {
	err := laterScript.Run(ctx, l.rdb, []string{keys.Confirm, keys.Snapshot(id)}, id, delay.Milliseconds()).Err()
	if err != nil {
		return fmt.Errorf("put off snapshot %s: %w", id, err)
	}
	return nil
}

// Stuck hands out at most n snapshots that were begun, are neither accepted
// nor ended, and have not changed for age: their task may be lost. Nobody else
// gets them for the same time.
func (l *Ledger) Stuck(ctx context.Context, age time.Duration, n int) ([]Snapshot, error) {
	ids, _, err := l.due(ctx, keys.Open, age, n, age)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	return l.Snapshots(ctx, ids)
}

func (l *Ledger) due(ctx context.Context, key string, age time.Duration, n int, lease time.Duration) ([]string, time.Duration, error) {
	reply, err := dueScript.Run(ctx, l.rdb, []string{key}, age.Milliseconds(), n, lease.Milliseconds()).Slice()
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	ids := make([]string, len(reply)-1)
	for i, id := range reply[1:] {
		ids[i] = id.(string)
	}
	return ids, time.Duration(reply[0].(int64)) * time.Millisecond, nil
}

// Forget removes an id from the sets of work in progress: its record is gone.
func (l *Ledger) Forget(ctx context.Context, id string) error {
	pipe := l.rdb.Pipeline()
	pipe.ZRem(ctx, keys.Open, id)
	pipe.ZRem(ctx, keys.Confirm, id)
	_, err := pipe.Exec(ctx)
	return err
}

// Pause stops all sending for d, for everyone, and says why.
func (l *Ledger) Pause(ctx context.Context, reason string, d time.Duration) error {
	return l.rdb.Set(ctx, keys.Pause, reason, d).Err()
}

// PauseReason is why the queues are paused; empty if they are not.
func (l *Ledger) PauseReason(ctx context.Context) (string, error) {
	s, err := l.rdb.Get(ctx, keys.Pause).Result()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return s, err
}

func unixMilli(s string) time.Time {
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

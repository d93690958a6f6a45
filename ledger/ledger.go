// Package ledger records the state of each snapshot and each batch, and decides
// whether a request may be sent. The intent is written before the request and
// the outcome after it, by compare-and-set in Lua, fenced by the number of the
// attempt. Redis TIME is the only clock.
package ledger

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/tasks"
)

// State is where a snapshot stands. The states and the moves between them:
//
//	queued ─► sending ─► accepted ─► succeeded
//	  ▲         │  │         └─────► failed   (the render failed, or 72 h ran out)
//	  │         │  └─► unknown ─► accepted    (a callback, or a late answer, named its task)
//	  │         │         └─────► sending     (the grace ran out: a possible duplicate)
//	  └─ throttled, not sent └──► failed      (permanent, or attempts used up)
//	queued, unknown ─► canceled
//	failed, canceled ─► queued                (retried by a person)
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

var (
	//go:embed prelude.lua
	prelude string
	//go:embed pack.lua
	packSource string
	//go:embed unpack.lua
	unpackSource string
	//go:embed begin.lua
	beginSource string
	//go:embed outcome.lua
	outcomeSource string
	//go:embed callback.lua
	callbackSource string
	//go:embed settle.lua
	settleSource string
	//go:embed cancel.lua
	cancelSource string
	//go:embed cancel_batch.lua
	cancelBatchSource string
	//go:embed retry.lua
	retrySource string
	//go:embed postpone.lua
	postponeSource string
	//go:embed tidy.lua
	tidySource string
	//go:embed expire.lua
	expireSource string
	//go:embed drop.lua
	dropSource string
	//go:embed due.lua
	dueSource string
	//go:embed copies.lua
	copiesSource string
	//go:embed copied.lua
	copiedSource string
	//go:embed take_copies.lua
	takeCopiesSource string
	//go:embed archived.lua
	archivedSource string
	//go:embed poll.lua
	pollSource string
	//go:embed index.lua
	indexSource string

	beginScript       = redis.NewScript(prelude + beginSource)
	outcomeScript     = redis.NewScript(prelude + outcomeSource)
	callbackScript    = redis.NewScript(prelude + callbackSource)
	settleScript      = redis.NewScript(prelude + copiesSource + settleSource)
	cancelScript      = redis.NewScript(prelude + cancelSource)
	cancelBatchScript = redis.NewScript(prelude + cancelBatchSource)
	retryScript       = redis.NewScript(prelude + retrySource)
	postponeScript    = redis.NewScript(prelude + postponeSource)
	tidyScript        = redis.NewScript(prelude + tidySource)
	packScript        = redis.NewScript(prelude + packSource)
	unpackScript      = redis.NewScript(prelude + unpackSource)
	expireScript      = redis.NewScript(expireSource)
	dropScript        = redis.NewScript(dropSource)
	dueScript         = redis.NewScript(dueSource)
	pollScript        = redis.NewScript(pollSource)
	copiedScript      = redis.NewScript(prelude + copiesSource + copiedSource)
	takeCopiesScript  = redis.NewScript(takeCopiesSource)
	indexScript       = redis.NewScript(prelude + indexSource)
	archivedScript    = redis.NewScript(prelude + archivedSource)
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

// run runs a script that begins with the prelude.
func (l *Ledger) run(
	ctx context.Context, script *redis.Script, id, batch string, moreKeys []string, args ...any,
) *redis.Cmd {
	k, a := l.input(id, batch, moreKeys, args)
	return script.Run(ctx, l.rdb, k, a...)
}

// input is the KEYS and ARGV of a script that begins with the prelude.
func (l *Ledger) input(id, batch string, moreKeys []string, args []any) (k []string, a []any) {
	k = append([]string{
		l.ns.Snapshot(id), l.ns.Batch(batch), l.ns.Rows(batch), l.ns.Failed(batch), l.ns.Again(batch),
		l.ns.Transit(), l.ns.Open(), l.ns.Confirm(), l.ns.Notices(), l.ns.Totals(),
		l.ns.Ring(), l.ns.Waiting(batch), l.ns.Tell(),
		l.ns.Packed(batch), l.ns.Unpacked(), l.ns.Index(today()), l.ns.Indexes(), l.ns.Running(),
	}, moreKeys...)
	a = append([]any{
		id, batch, l.o.Retention.Milliseconds(), l.o.ConfirmAfter.Milliseconds(),
	}, args...)
	return k, a
}

// batchOf is the batch of a snapshot id, or empty.
func batchOf(id string) string {
	batch, _, _ := tasks.SplitRowID(id)
	return batch
}

// Verdict says whether a request may be sent.
type Verdict string

// The verdicts of Begin.
const (
	Send    Verdict = "send"    // the intent is written: send
	Wait    Verdict = "wait"    // a request is on its way, or its callback may come: ask again after Wait
	Stopped Verdict = "stopped" // the pass is not good: get another one
	Alone   Verdict = "alone"   // the intent is written, but a failover may lose it: do not send
	Done    Verdict = "done"    // accepted, ended, held or waiting for its SdkAppId: this task has nothing to do
)

// Intent is the answer of Begin.
type Intent struct {
	Verdict  Verdict
	Attempt  int           // Send, Alone: number of this attempt, from 1; it fences the outcome
	Failures int           // Send, Alone: attempts before this one that counted against the limit
	Wait     time.Duration // Wait
}

// Begin writes the intent to send one request for the snapshot, or says why
// none may be sent. The token names the intent: beginning twice with the same
// one, because a reply was lost, is beginning once. The pass is that of the
// gate's permit: whether it is good is seen in the moment in which the intent is
// written. A snapshot whose SdkAppId is suspended is put with those that wait.
func (l *Ledger) Begin(ctx context.Context, p tasks.SnapshotPayload, token, pass string) (Intent, error) {
	room, err := json.Marshal(p.Room)
	if err != nil {
		return Intent{}, fmt.Errorf("encode room: %w", err)
	}
	args := append([]any{
		room, token, l.o.Busy.Milliseconds(), l.o.Grace.Milliseconds(), l.o.Hold, pass, l.o.Attempts,
		l.o.Relay && p.Room.CallbackURL != "", p.Room.SdkAppId, p.List,
	}, indexed(p.ID, p.Room.Words()...)...)
	k, a := l.input(p.ID, p.Batch,
		[]string{l.ns.Breaker(), l.ns.Suspension(p.Room.SdkAppId), l.ns.SuspendedRooms(p.Room.SdkAppId)}, args)
	replicated := true
	var reply []any
	if l.o.Replicas == nil || pass == gateless {
		reply, err = beginScript.Run(ctx, l.rdb, k, a...).Slice()
	} else {
		reply, replicated, err = l.beginReplicated(ctx, k, a)
	}
	if err != nil {
		return Intent{}, fmt.Errorf("begin snapshot %s: %w", p.ID, err)
	}
	in := Intent{Verdict: Verdict(reply[0].(string))}
	switch in.Verdict {
	case Send:
		in.Attempt, in.Failures = int(reply[1].(int64)), int(reply[2].(int64))
		if !replicated {
			in.Verdict = Alone
		}
	case Wait:
		in.Wait = time.Duration(reply[1].(int64)) * time.Millisecond
	}
	return in, nil
}

// gateless is the pass of whoever has no permit: nothing is sent then.
const gateless = "-"

// replicaPatience is how long the replicas have to confirm an intent. Its permit
// grows old meanwhile.
const replicaPatience = 500 * time.Millisecond

// beginReplicated is the script of Begin, and the wait for the replicas on the
// same connection. Redis waits there for the last write, which is the intent: the
// script writes it again where it is there already.
func (l *Ledger) beginReplicated(ctx context.Context, k []string, a []any) (reply []any, replicated bool, err error) {
	node, err := rdb.Master(ctx, l.rdb, k[0])
	if err != nil {
		return nil, false, err
	}
	needed := l.o.Replicas()
	for _, run := range []func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd{
		beginScript.EvalSha, beginScript.Eval,
	} {
		pipe := node.Pipeline()
		begun := run(ctx, pipe, k, a...)
		acked := pipe.Do(ctx, "wait", needed, replicaPatience.Milliseconds())
		_, err = pipe.Exec(ctx)
		if redis.HasErrorPrefix(begun.Err(), "NOSCRIPT") {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		reply, err = begun.Slice()
		n, _ := acked.Int()
		return reply, n >= needed, err
	}
	return nil, false, err
}

// Outcome is what became of one request.
type Outcome struct {
	// State is Queued (certainly no task was made, or throttled), Unknown,
	// Accepted or Failed.
	State State `json:"state"`
	// Costs is true if the attempt counts against the attempts allowed.
	Costs bool `json:"costs,omitempty"`
	// Unsent is true if no request was sent: it is no attempt.
	Unsent    bool   `json:"unsent,omitempty"`
	TaskID    string `json:"task_id,omitempty"` // Accepted
	RequestID string `json:"request_id,omitempty"`
	Code      string `json:"code,omitempty"` // of the error, as Tencent spells it
	Message   string `json:"message,omitempty"`
	// Token is that of the intent. Empty: whatever intent has that attempt.
	Token string `json:"token,omitempty"`
	// PermitWait is how long the request had waited for its permit.
	PermitWait time.Duration `json:"permit_wait,omitempty"`
}

// Outcome writes the outcome of an attempt. Writing it twice is writing it
// once. Errors: ErrLate, ErrLost, or Redis'.
func (l *Ledger) Outcome(ctx context.Context, id string, attempt int, o Outcome) error {
	reply, err := l.outcome(ctx, tasks.SnapshotPayload{ID: id}, attempt, o, false)
	return late(reply, err, "write the outcome of snapshot %s, attempt %d", id, attempt)
}

// ClaimTask takes the task that a callback has named for an attempt as the
// snapshot's own, as if the answer had come; Tencent must have said that it
// knows the task. Errors: ErrTaken, which changes nothing, ErrLate, ErrLost, or Redis'.
func (l *Ledger) ClaimTask(ctx context.Context, id string, attempt int, taskID string) error {
	others, err := l.find(ctx, taskID)
	var reply string
	switch {
	case err != nil:
	case slices.ContainsFunc(others, func(s Snapshot) bool { return s.ID != id && s.TaskID == taskID }):
		err = ErrTaken
	default:
		reply, err = l.outcome(ctx, tasks.SnapshotPayload{ID: id}, attempt, Outcome{State: Accepted, TaskID: taskID}, true)
	}
	if err == nil && reply == "taken" {
		err = ErrTaken
	}
	return late(reply, err, "claim task %s for snapshot %s, attempt %d", taskID, id, attempt)
}

// Restore writes the outcome of an attempt again, where Redis may have lost it, and
// the record with it. Errors: ErrLate where the snapshot has another task by now, and
// this one is counted as an extra one; ErrLost where the batch is lost, too, or the
// outcome is not Accepted: then it is kept for the retention, and where the same room
// is enqueued anew under the same id its record begins with it; or Redis'.
func (l *Ledger) Restore(ctx context.Context, p tasks.SnapshotPayload, attempt int, o Outcome) error {
	reply, err := l.outcome(ctx, p, attempt, o, false)
	return late(reply, err, "restore the outcome of snapshot %s, attempt %d", p.ID, attempt)
}

// outcome writes an outcome. With a room a record that is lost is made anew.
func (l *Ledger) outcome(
	ctx context.Context, p tasks.SnapshotPayload, attempt int, o Outcome, claim bool,
) (string, error) {
	id, room, words := p.ID, "", []string{o.TaskID, o.RequestID}
	if p.Room.RoomId != 0 {
		b, err := json.Marshal(p.Room)
		if err != nil {
			return "", fmt.Errorf("encode room: %w", err)
		}
		room, words = string(b), append(words, p.Room.Words()...)
	}
	wait := ""
	if o.PermitWait > 0 {
		wait = strconv.FormatInt(o.PermitWait.Milliseconds(), 10)
	}
	args := append([]any{
		attempt, string(o.State), o.Costs, o.TaskID, o.RequestID, o.Code, o.Message,
		o.State == Unknown || o.State == Accepted, // has made a task, or may have
		o.Token, claim, o.Unsent, wait, room, p.Room.SdkAppId,
	}, indexed(id, words...)...)
	return l.unpacking(ctx, id, func() *redis.Cmd {
		return l.run(ctx, outcomeScript, id, batchOf(id), []string{l.ns.Claim(o.TaskID)}, args...)
	}).Text()
}

// maxCallback is how much of a callback's body is kept, in bytes, where it is
// not to be handed on to a room's CallbackURL.
const maxCallback = 4 << 10

// Callback writes that Tencent has called the callback URL of an attempt, and
// the TaskID in the body if there is one. It is a hint: the confirmation is
// woken and asks Tencent. Any number of times is once. Where Redis has lost the
// record it is kept for the one that is made anew; for a record that has expired
// it is nothing.
func (l *Ledger) Callback(ctx context.Context, id string, attempt int, taskID string, body []byte) error {
	call := func() *redis.Cmd {
		return l.run(ctx, callbackScript, id, batchOf(id), nil, attempt, taskID, body, maxCallback)
	}
	reply, err := call().Text()
	if err == nil && reply == "packed" {
		// It has ended. Only a task that nobody knows is worth keeping.
		var s Snapshot
		if s, err = l.Snapshot(ctx, id); err == nil && taskID != "" && s.TaskID != taskID && s.ExtraTasks[attempt] != taskID {
			err = l.unpacking(ctx, id, call).Err()
		}
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("callback of snapshot %s: %w", id, err)
	}
	return nil
}

// Result is what became of an accepted task.
type Result struct {
	State   State // Succeeded or Failed
	Images  []string
	Total   *int // images by Tencent's own count; nil if that is not known
	Code    string
	Message string
}

// Settle writes the result of the snapshot's task and so ends it. Errors:
// ErrLate if the record does not wait for that task, or Redis'.
func (l *Ledger) Settle(ctx context.Context, id, taskID string, r Result) error {
	return l.SettleAll(ctx, []Settlement{{ID: id, TaskID: taskID, Result: r}})[0]
}

// Settlement is the result of the task that a snapshot waits for.
type Settlement struct {
	ID, TaskID string
	Result
	Copy bool // its images are to be copied
}

// SettleAll is Settle for many snapshots, in one round trip. The errors are
// those of each.
func (l *Ledger) SettleAll(ctx context.Context, all []Settlement) []error {
	replies := l.runAll(ctx, settleScript, len(all), func(i int) (string, []any) {
		s := all[i]
		images, _ := json.Marshal(s.Images) // strings can be encoded
		total := ""
		if s.Total != nil && *s.Total != len(s.Images) {
			total = strconv.Itoa(*s.Total)
		}
		return s.ID, []any{s.TaskID, string(s.State), images, len(s.Images), s.Code, s.Message, total, s.Copy}
	})
	errs := make([]error, len(all))
	for i, s := range all {
		reply, err := replies[i].Text()
		errs[i] = late(reply, err, "settle snapshot %s, task %s", s.ID, s.TaskID)
	}
	return errs
}

// runAll runs a script, which has Early and Expiring as its KEYS[19] and KEYS[20] and
// then those of copies.lua, for n snapshots in one round trip.
func (l *Ledger) runAll(
	ctx context.Context, script *redis.Script, n int, input func(i int) (id string, args []any),
) []*redis.Cmd {
	run := func(c redis.Scripter, i int) *redis.Cmd {
		id, args := input(i)
		k, a := l.input(id, batchOf(id), append([]string{l.ns.Early(), l.ns.Expiring()}, l.copyKeys(id)...), args)
		return script.Run(ctx, c, k, a...)
	}
	pipe := l.rdb.Pipeline()
	replies := make([]*redis.Cmd, n)
	for i := range replies {
		replies[i] = run(pipe, i)
	}
	_, _ = pipe.Exec(ctx) // each reply has its error
	for i, reply := range replies {
		if redis.HasErrorPrefix(reply.Err(), "NOSCRIPT") {
			replies[i] = run(l.rdb, i)
		}
	}
	return replies
}

func late(reply string, err error, format string, args ...any) error {
	if err == nil && reply == "late" {
		err = ErrLate
	}
	if err == nil && reply == "lost" {
		err = ErrLost
	}
	if err != nil {
		return fmt.Errorf(format+": %w", append(args, err)...)
	}
	return nil
}

// Cancel cancels a snapshot that is queued or unknown. It returns the state
// after that: Canceled; Sending if a request is on its way, which will be
// canceled unless that is accepted; or the state that stands. Errors:
// ErrNotFound if the batch has no such row, or Redis'.
func (l *Ledger) Cancel(ctx context.Context, id string, room tasks.Room) (State, error) {
	words, err := json.Marshal(room)
	if err != nil {
		return "", fmt.Errorf("encode room: %w", err)
	}
	args := append([]any{words}, indexed(id, room.Words()...)...)
	reply, err := l.run(ctx, cancelScript, id, batchOf(id), nil, args...).Text()
	if err == nil && reply == "gone" {
		err = ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("cancel snapshot %s: %w", id, err)
	}
	return State(reply), nil
}

// CancelBatch cancels all snapshots of a batch that are neither accepted nor
// ended, and returns how many of them it canceled at once: those that were not
// fed, and those that wait for a person or for their SdkAppId. The others
// follow as workers come to them. Errors: ErrNotFound, or Redis'.
func (l *Ledger) CancelBatch(ctx context.Context, batch string) (int, error) {
	n, err := l.run(ctx, cancelBatchScript, "", batch, nil).Int()
	if err == nil && n < 0 {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("cancel batch %s: %w", batch, err)
	}
	for _, waiting := range []iter.Seq2[Snapshot, error]{l.Held(ctx, batch), l.suspended(ctx, batch)} {
		for s, err := range waiting {
			if err != nil {
				return n, err
			}
			if s.State.Ended() {
				continue
			}
			state, err := l.Cancel(ctx, s.ID, s.Room)
			if err != nil {
				return n, err
			}
			if state == Canceled {
				n++
			}
		}
	}
	return n, nil
}

// Retry gives a failed, canceled or held snapshot a new life, with its attempts
// counted anew. One of a batch is fed again by itself; for another one the
// caller puts the task on the queue. ok is false if the snapshot is in none of
// these states. The room is for one that was canceled before it had a record.
func (l *Ledger) Retry(ctx context.Context, id string, room tasks.Room) (ok bool, err error) {
	words, err := json.Marshal(room)
	if err != nil {
		return false, fmt.Errorf("encode room: %w", err)
	}
	ok, err = l.unpacking(ctx, id, func() *redis.Cmd {
		return l.run(ctx, retryScript, id, batchOf(id), nil, words)
	}).Bool()
	if err != nil {
		return false, fmt.Errorf("retry snapshot %s: %w", id, err)
	}
	return ok, nil
}

const (
	// pollLease is how long a worker has to poll what Poll gave it.
	pollLease = 30 * time.Second
	// pollHedge is after how long without an answer somebody else may poll it,
	// where quota is free: most answers come within a tenth of that.
	pollHedge = 2 * time.Second
	// pollHold is how long an owner who polls may go without a look.
	pollHold = time.Second
)

// Polls is what is to be polled: to be asked about with DescribeSnapshotTask.
type Polls struct {
	Due   []Snapshot    // whose time has come, or whose callback
	Early []Snapshot    // that may be polled where quota is free
	Now   time.Time     // by the clock of Redis
	Next  time.Duration // until there is more, as far as is known now; negative: nothing waits, or others poll it
	Turn  time.Duration // until the owner, one of many, is to look again: 10 s at most, 0 if it polls
}

// Poll hands out at most n snapshots to poll to an owner. They come with their records as
// they are now, see Records. Nobody else gets them for 30 seconds, or after 2 seconds where
// quota is free and no answer has come.
//
// So many owners as pollers are given any; the others get none until one of these
// has not looked for a second. That saves work, nothing depends on it.
func (l *Ledger) Poll(ctx context.Context, owner string, pollers, n int) (Polls, error) {
	reply, err := pollScript.Run(ctx, l.rdb, []string{l.ns.Confirm(), l.ns.Early(), l.ns.PollTurn(), l.ns.Pollers()},
		n, pollLease.Milliseconds(), pollHedge.Milliseconds(), owner, pollers, pollHold.Milliseconds()).Slice()
	if err != nil {
		return Polls{}, fmt.Errorf("read %s: %w", l.ns.Confirm(), err)
	}
	ms := func(v any) time.Duration { return time.Duration(v.(int64)) * time.Millisecond }
	p := Polls{Now: time.UnixMilli(reply[0].(int64)).UTC(), Next: ms(reply[1]), Turn: ms(reply[2])}
	due, ids := reply[3].(int64), make([]string, len(reply)-4)
	if len(ids) == 0 {
		return p, nil
	}
	for i, id := range reply[4:] {
		ids[i] = id.(string)
	}
	all, err := l.Records(ctx, ids)
	if err != nil {
		return Polls{}, err
	}
	p.Due, p.Early = all[:due], all[due:]
	return p, nil
}

// Answer is the kind of an answer about a task from which no result follows.
type Answer string

// The kinds of answers. Those that are Refused or Odd are counted as long as
// they come in a row.
const (
	NoAnswer Answer = ""        // or none that says anything about the task: it ends no row
	Running  Answer = "running" // the task is in order
	Refused  Answer = "refused" // Tencent does not know the task
	Odd      Answer = "odd"     // nothing follows from it
)

// Postponement puts off the next poll of a snapshot.
type Postponement struct {
	ID     string
	Wait   time.Duration // until it is due
	Early  time.Duration // until it may be polled where quota is free; 0: not before it is due
	Answer Answer        // that has come
}

// Postpone puts off the next poll of a snapshot.
func (l *Ledger) Postpone(ctx context.Context, p Postponement) error {
	return l.PostponeAll(ctx, []Postponement{p})[0]
}

// PostponeAll is Postpone for many snapshots, in one round trip. The errors are
// those of each.
func (l *Ledger) PostponeAll(ctx context.Context, all []Postponement) []error {
	replies := l.runAll(ctx, postponeScript, len(all), func(i int) (string, []any) {
		p := all[i]
		return p.ID, []any{p.Wait.Milliseconds(), p.Early.Milliseconds(), string(p.Answer)}
	})
	errs := make([]error, len(all))
	for i, p := range all {
		if err := replies[i].Err(); err != nil {
			errs[i] = fmt.Errorf("postpone the poll of snapshot %s: %w", p.ID, err)
		}
	}
	return errs
}

// Stuck hands out at most n snapshots that were begun, are neither accepted
// nor ended, and have not changed for age: their task may be lost. Nobody else
// gets them for the same time.
func (l *Ledger) Stuck(ctx context.Context, age time.Duration, n int) ([]Snapshot, error) {
	ids, err := l.due(ctx, l.ns.Open(), age, n, age)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	return l.Snapshots(ctx, ids)
}

func (l *Ledger) due(ctx context.Context, key string, age time.Duration, n int, lease time.Duration) ([]string, error) {
	members, err := dueScript.Run(ctx, l.rdb, []string{key}, age.Milliseconds(), n, lease.Milliseconds()).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return members, nil
}

// Untrack takes a snapshot out of the sets of work in progress that it has no
// place in: its record is gone, has ended, or is accepted and waits for its
// result only. What has changed since the caller looked is left alone.
func (l *Ledger) Untrack(ctx context.Context, id string) error { return l.tidy(ctx, id) }

// DiscardReportedTask drops a task that a callback has named for an attempt: it
// is not the snapshot's.
func (l *Ledger) DiscardReportedTask(ctx context.Context, id string, attempt int, taskID string) error {
	return l.tidy(ctx, id, attempt, taskID)
}

func (l *Ledger) tidy(ctx context.Context, id string, discarded ...any) error {
	if err := l.run(ctx, tidyScript, id, batchOf(id), nil, discarded...).Err(); err != nil {
		return fmt.Errorf("tidy up after snapshot %s: %w", id, err)
	}
	return nil
}

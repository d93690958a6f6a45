package ledger

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

var (
	//go:embed outcome.lua
	outcomeSource string
	outcomeScript = redis.NewScript(prelude + outcomeSource)
)

// Outcome is the outcome of one request.
type Outcome struct {
	// State is Queued (certainly no task was made, or throttled), Unknown,
	// Accepted or Failed.
	State State `json:"state"`
	// Costs means that the attempt counts against the allowed attempts.
	Costs bool `json:"costs,omitempty"`
	// Unsent means that no request was sent. Such an attempt is not counted.
	Unsent    bool   `json:"unsent,omitempty"`
	TaskID    string `json:"task_id,omitempty"` // Accepted
	RequestID string `json:"request_id,omitempty"`
	Code      string `json:"code,omitempty"` // of the error, as Tencent spells it
	Message   string `json:"message,omitempty"`
	// Token is that of the intent. If it is empty, any intent of that attempt matches.
	Token string `json:"token,omitempty"`
	// PermitWait is how long the request waited for its permit.
	PermitWait time.Duration `json:"permit_wait,omitempty"`
}

// Outcome writes the outcome of an attempt. It is idempotent. The commands that
// with adds are sent in the same round trip, after the outcome; their errors stay
// with them. Errors: ErrLate, ErrLost, or Redis'.
func (l *Ledger) Outcome(
	ctx context.Context, id string, attempt int, o Outcome, with ...func(redis.Pipeliner),
) error {
	reply, err := l.outcome(ctx, tasks.SnapshotPayload{ID: id}, attempt, o, false, with...)
	return replyError(reply, err, "write the outcome of snapshot %s, attempt %d", id, attempt)
}

// Restore writes the outcome of an attempt again after Redis may have lost it and its
// record. If the outcome is Accepted and the batch still exists, the record is made
// anew. Errors: ErrLate if the snapshot has another task by now, so that this one is
// counted as an extra task; ErrLost if the batch is lost, too, or the outcome is not
// Accepted; or Redis'. After ErrLost the outcome is kept for the retention: if the
// same room is enqueued under the same id again, its record starts with it.
func (l *Ledger) Restore(ctx context.Context, p tasks.SnapshotPayload, attempt int, o Outcome) error {
	reply, err := l.outcome(ctx, p, attempt, o, false)
	return replyError(reply, err, "restore the outcome of snapshot %s, attempt %d", p.ID, attempt)
}

// outcome runs the script. With a room in p it makes a lost record anew.
func (l *Ledger) outcome(
	ctx context.Context, p tasks.SnapshotPayload, attempt int, o Outcome, claim bool, with ...func(redis.Pipeliner),
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
		o.State == Unknown || o.State == Accepted, // a task was made, or may have been
		o.Token, claim, o.Unsent, wait, room, p.Room.SdkAppId,
	}, indexArgs(id, words...)...)
	k, a := l.input(id, batchOf(id), []string{l.ns.Claim(o.TaskID)}, args)
	return l.unpacking(ctx, id, func() *redis.Cmd {
		if len(with) == 0 {
			return outcomeScript.Run(ctx, l.rdb, k, a...)
		}
		pipe := l.rdb.Pipeline()
		reply := outcomeScript.Run(ctx, pipe, k, a...)
		for _, add := range with {
			add(pipe)
		}
		with = nil            // only once, also if the record has to be unpacked
		_, _ = pipe.Exec(ctx) // each command has its error
		if redis.HasErrorPrefix(reply.Err(), "NOSCRIPT") {
			reply = outcomeScript.Run(ctx, l.rdb, k, a...)
		}
		return reply
	}).Text()
}

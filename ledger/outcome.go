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

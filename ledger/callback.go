package ledger

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

var (
	//go:embed callback.lua
	callbackSource string
	callbackScript = redis.NewScript(prelude + callbackSource)
)

// maxCallback is how much of a callback's body is stored, in bytes. A body that is
// forwarded to a room's CallbackURL is stored whole.
const maxCallback = 4 << 10

// Callback records that Tencent has called the callback URL of an attempt, and the
// TaskID in the body, if any. A callback is only a hint: it makes a poll due. It is
// idempotent. If Redis has lost the record, the callback is kept for the record that
// is made anew. For an expired record it does nothing.
func (l *Ledger) Callback(ctx context.Context, id string, attempt int, taskID string, body []byte) error {
	call := func() *redis.Cmd {
		return l.run(ctx, callbackScript, id, batchOf(id), nil, attempt, taskID, body, maxCallback)
	}
	reply, err := call().Text()
	if err == nil && reply == "packed" {
		// The snapshot has ended. Only an unknown task is worth unpacking its record.
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

// ClaimTask makes the task that a callback has reported for an attempt the snapshot's
// own, as if the response had arrived. The caller must have checked that Tencent knows
// the task. Errors: ErrTaken, which changes nothing, ErrLate, ErrLost, or Redis'.
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
	return replyError(reply, err, "claim task %s for snapshot %s, attempt %d", taskID, id, attempt)
}

// DiscardReportedTask removes a task that a callback has reported for an attempt and
// that is not the snapshot's.
func (l *Ledger) DiscardReportedTask(ctx context.Context, id string, attempt int, taskID string) error {
	return l.untrack(ctx, id, attempt, taskID)
}

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

// DiscardReportedTask drops a task that a callback has named for an attempt: it
// is not the snapshot's.
func (l *Ledger) DiscardReportedTask(ctx context.Context, id string, attempt int, taskID string) error {
	return l.tidy(ctx, id, attempt, taskID)
}

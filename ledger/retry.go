package ledger

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

var (
	//go:embed retry.lua
	retrySource string
	retryScript = redis.NewScript(prelude + retrySource)
)

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

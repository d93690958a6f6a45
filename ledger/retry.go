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

// Retry queues a failed or canceled snapshot again, or releases a held one; its
// attempts count from 0. A snapshot of a batch is fed again by the backlog; the caller
// enqueues a single one. ok is false if the snapshot is in none of these states. The
// room is needed for a snapshot that was canceled before it had a record.
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

package ledger

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

var (
	//go:embed cancel.lua
	cancelSource string
	cancelScript = redis.NewScript(prelude + cancelSource)
	//go:embed cancel_batch.lua
	cancelBatchSource string
	cancelBatchScript = redis.NewScript(prelude + cancelBatchSource)
)

// Cancel cancels a snapshot that is queued or unknown. It returns the state after
// that: Canceled; Sending if a request is in progress, after which the snapshot is
// canceled unless the request is accepted; or else the unchanged state. Errors:
// ErrNotFound if the batch has no such row, or Redis'.
func (l *Ledger) Cancel(ctx context.Context, id string, room tasks.Room) (State, error) {
	words, err := json.Marshal(room)
	if err != nil {
		return "", fmt.Errorf("encode room: %w", err)
	}
	args := append([]any{words}, indexArgs(id, room.Words()...)...)
	reply, err := l.run(ctx, cancelScript, id, batchOf(id), nil, args...).Text()
	if err == nil && reply == "gone" {
		err = ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("cancel snapshot %s: %w", id, err)
	}
	return State(reply), nil
}

// CancelBatch cancels all snapshots of a batch that are neither accepted nor ended.
// It returns how many it has canceled at once: those that were not fed, those held for
// review, and those that wait for their SdkAppId. Workers cancel the others when they
// begin them. Errors: ErrNotFound, or Redis'.
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

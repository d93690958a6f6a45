package ledger

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed untrack.lua
	untrackSource string
	untrackScript = redis.NewScript(prelude + untrackSource)
)

// Stuck leases at most n snapshots that were begun, are neither accepted nor ended,
// and have not changed for age: their tasks on the queue may be lost. The lease lasts
// for age, too.
func (l *Ledger) Stuck(ctx context.Context, age time.Duration, n int) ([]Snapshot, error) {
	ids, err := l.due(ctx, l.ns.Open(), age, n, age)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	return l.Snapshots(ctx, ids)
}

// Untrack removes a snapshot from the sets of work in progress that its current state
// does not belong to: its record is gone, has ended, or only waits for its result.
func (l *Ledger) Untrack(ctx context.Context, id string) error { return l.untrack(ctx, id) }

// untrack is Untrack, and discards reported tasks: attempt, TaskID, attempt ...
func (l *Ledger) untrack(ctx context.Context, id string, discarded ...any) error {
	if err := l.run(ctx, untrackScript, id, batchOf(id), nil, discarded...).Err(); err != nil {
		return fmt.Errorf("untrack snapshot %s: %w", id, err)
	}
	return nil
}

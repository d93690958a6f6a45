package ledger

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed tidy.lua
	tidySource string
	tidyScript = redis.NewScript(prelude + tidySource)
)

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

// Untrack takes a snapshot out of the sets of work in progress that it has no
// place in: its record is gone, has ended, or is accepted and waits for its
// result only. What has changed since the caller looked is left alone.
func (l *Ledger) Untrack(ctx context.Context, id string) error { return l.tidy(ctx, id) }

func (l *Ledger) tidy(ctx context.Context, id string, discarded ...any) error {
	if err := l.run(ctx, tidyScript, id, batchOf(id), nil, discarded...).Err(); err != nil {
		return fmt.Errorf("tidy up after snapshot %s: %w", id, err)
	}
	return nil
}

package backlog

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed waiting.lua
	waitingSource string
	waitingScript = redis.NewScript(waitingSource)
)

// Waiting returns how many rooms of all batches wait to be taken, and how many
// wait in batches that are paused. It looks at every open batch, not at every
// room.
func (b *Backlog) Waiting(ctx context.Context) (inTurn, paused int, err error) {
	n, err := waitingScript.Run(ctx, b.rdb, []string{b.ns.Ring(), b.ns.Paused()}, b.ns.Batch("")).Int64Slice()
	if err != nil {
		return 0, 0, fmt.Errorf("count the rooms that wait: %w", err)
	}
	return int(n[0]), int(n[1]), nil
}

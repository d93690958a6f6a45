package backlog

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"

	"tiwsnap/keys"
)

var (
	//go:embed waiting.lua
	waitingSource string
	waitingScript = redis.NewScript(waitingSource)
)

// Waiting returns how many rooms of all batches wait to be taken. It looks at
// every open batch, not at every room.
func (b *Backlog) Waiting(ctx context.Context) (int, error) {
	n, err := waitingScript.Run(ctx, b.rdb, []string{keys.Ring}, keys.Batch("")).Int()
	if err != nil {
		return 0, fmt.Errorf("count the rooms that wait: %w", err)
	}
	return n, nil
}

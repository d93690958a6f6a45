package backlog

import (
	"context"
	"fmt"
	"strconv"
)

// Waiting returns how many rooms of all batches wait to be taken, and how many
// wait in batches that are paused. What it costs does not depend on how many
// batches there are.
func (b *Backlog) Waiting(ctx context.Context) (inTurn, paused int, err error) {
	counts, err := b.rdb.HMGet(ctx, b.ns.Totals(), "waiting", "waiting_paused").Result()
	if err != nil {
		return 0, 0, fmt.Errorf("count the rooms that wait: %w", err)
	}
	n := func(i int) int {
		text, _ := counts[i].(string)
		n, _ := strconv.Atoi(text) // a missing counter is 0; we alone write them
		return max(n, 0)
	}
	return n(0), n(1), nil
}

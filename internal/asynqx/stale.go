package asynqx

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// staleDepth is the number of ids of a list that are checked, and staleBatch that of one script call.
const staleDepth, staleBatch = 20_000, 1000

var (
	//go:embed stale.lua
	staleSource string
	staleScript = redis.NewScript(staleSource)
)

// DropStale removes the ids of tasks that do not exist from the lists of a queue and calls dropped for each. asynq
// cannot compute the memory usage of a queue with a stale id. See https://github.com/hibiken/asynq/issues/1146.
func DropStale(ctx context.Context, c redis.UniversalClient, queue string, dropped func(state, id string)) error {
	prefix := Prefix(queue)
	for _, state := range []string{"pending", "active", "scheduled", "retry", "archived", "completed"} {
		var ids []string
		var err error
		if state == "pending" || state == "active" {
			ids, err = c.LRange(ctx, prefix+state, 0, staleDepth-1).Result()
		} else {
			ids, err = c.ZRange(ctx, prefix+state, 0, staleDepth-1).Result()
		}
		if err != nil {
			return fmt.Errorf("read the %s tasks of queue %s: %w", state, queue, err)
		}
		for len(ids) > 0 {
			some := ids[:min(staleBatch, len(ids))]
			ids = ids[len(some):]
			keys, args := []string{prefix + state, prefix + "lease"}, make([]any, len(some))
			for i, id := range some {
				keys, args[i] = append(keys, TaskPrefix(queue)+id), id
			}
			stale, err := staleScript.Run(ctx, c, keys, args...).StringSlice()
			if err != nil {
				return fmt.Errorf("drop ids of missing tasks from queue %s: %w", queue, err)
			}
			for _, id := range stale {
				dropped(state, id)
			}
		}
	}
	return nil
}

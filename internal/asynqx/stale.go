package asynqx

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// staleDepth is how many ids of a list are looked at, and staleMany of them in one script.
const staleDepth, staleMany = 20_000, 1000

var (
	//go:embed stale.lua
	staleSource string
	staleScript = redis.NewScript(staleSource)
)

// DropStale takes the ids of tasks that do not exist out of the lists of a queue, and tells of each: asynq cannot count
// the memory of a queue that has one. See https://github.com/hibiken/asynq/issues/1146.
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
			return err
		}
		for len(ids) > 0 {
			some := ids[:min(staleMany, len(ids))]
			ids = ids[len(some):]
			keys, args := []string{prefix + state, prefix + "lease"}, make([]any, len(some))
			for i, id := range some {
				keys, args[i] = append(keys, TaskPrefix(queue)+id), id
			}
			stale, err := staleScript.Run(ctx, c, keys, args...).StringSlice()
			if err != nil {
				return fmt.Errorf("queue %s: %w", queue, err)
			}
			for _, id := range stale {
				dropped(state, id)
			}
		}
	}
	return nil
}

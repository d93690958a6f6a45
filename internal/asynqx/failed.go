package asynqx

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed failed.lua
	failedSource string
	failedScript = redis.NewScript(failedSource)
)

// statsTTL is asynq's TTL of daily counters.
const statsTTL = 90 * 24 * time.Hour

// CountFailed adds one failed task to asynq's counters. asynq counts a task as succeeded when its handler returns
// without an error, even if the snapshot failed permanently.
func CountFailed(ctx context.Context, c redis.UniversalClient, queue string) error {
	now, prefix := time.Now().UTC(), Prefix(queue)
	keys := []string{prefix + "failed:" + now.Format(time.DateOnly), prefix + "failed"}
	return failedScript.Run(ctx, c, keys, now.Add(statsTTL).Unix()).Err()
}

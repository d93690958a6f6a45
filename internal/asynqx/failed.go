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

// statsFor is asynq's statsTTL: how long the counters of a day stay.
const statsFor = 90 * 24 * time.Hour

// CountFailed counts a task as failed that asynq counts, or has counted, as processed. For asynq a handler that is done
// has succeeded, though what it was to do may have failed for good.
func CountFailed(ctx context.Context, c redis.UniversalClient, queue string) error {
	now, prefix := time.Now().UTC(), Prefix(queue)
	keys := []string{prefix + "failed:" + now.Format(time.DateOnly), prefix + "failed"}
	return failedScript.Run(ctx, c, keys, now.Add(statsFor).Unix()).Err()
}

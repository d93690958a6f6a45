package asynqx

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// orphanMany is how many of a queue's active tasks are looked at in one
	// go: far more than all workers have in progress.
	orphanMany = 10_000
	// orphanLate is how long ago the lease that an orphan gets has expired:
	// asynq allows 30 s for clocks that differ.
	orphanLate = 31 * time.Second
)

var (
	//go:embed orphans.lua
	orphansSource string
	orphansScript = redis.NewScript(orphansSource)
)

// Orphans are the tasks of one asynq queue that are active and have no lease.
// asynq recovers only leases that have expired, so such a task, and its id with
// it, would be stuck for ever. See https://github.com/hibiken/asynq/issues/1144.
type Orphans struct {
	Redis redis.UniversalClient
	Queue string
	seen  []string // in the look before this one
}

// Look gives those that it sees for the second time in a row a lease that has
// expired, so that asynq's own recovery takes them, and returns their ids. A
// worker that still has one of them in hand makes its lease good within five
// seconds; if the recovery is faster than that, the task runs once more and
// the ledger sends nothing twice.
//
// The times in asynq's keys are Unix seconds by the clocks of its clients.
func (o *Orphans) Look(ctx context.Context) (leased []string, err error) {
	prefix := Prefix(o.Queue)
	args := []any{time.Now().Add(-orphanLate).Unix(), orphanMany}
	for _, id := range o.seen {
		args = append(args, id)
	}
	reply, err := orphansScript.Run(ctx, o.Redis, []string{prefix + "active", prefix + "lease"}, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("look for orphans in queue %s: %w", o.Queue, err)
	}
	ids := func(v any) (all []string) {
		for _, id := range v.([]any) {
			all = append(all, id.(string))
		}
		return all
	}
	o.seen = ids(reply[1])
	return ids(reply[0]), nil
}

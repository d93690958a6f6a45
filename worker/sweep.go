package worker

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

const (
	// sweepEvery is how often lost work is looked for.
	sweepEvery = 15 * time.Second
	// sweepAge is how long a snapshot may be begun, and neither accepted nor
	// ended, without any change. asynq's own recovery takes up to 125 s. Of one
	// that waits longer for its retry, asynq has the task.
	sweepAge = 5 * time.Minute
	// sweepMany is how many are handled in one go.
	sweepMany = 100
	// orphanEvery is how often tasks are looked for that lost their lease.
	// With two looks and asynq's own minute they run again within 130 s.
	orphanEvery = 30 * time.Second
	// orphanMany is how many of a queue's active tasks are looked at in one
	// go: far more than all workers have in progress.
	orphanMany = 10_000
	// orphanLate is how long ago the lease that an orphan gets has expired:
	// asynq allows 30 s for clocks that differ.
	orphanLate = 31 * time.Second
)

// packEvery is the time between two looks for ended records to pack, and packMany
// is how many are packed in one go.
const (
	packEvery = 2 * time.Second
	packMany  = 200
)

// pack makes the records of ended snapshots small.
func (w *Worker) pack(ctx context.Context) {
	for pause(ctx, packEvery) {
		for {
			n, err := w.ledger.Pack(ctx, packMany)
			if err != nil && ctx.Err() == nil {
				w.log.Warn("ended records are not packed yet", "err", err)
			}
			if n < packMany {
				break
			}
		}
	}
}

// sweep puts snapshots whose task was lost back on their queue: deleted, or
// archived by hand.
func (w *Worker) sweep(ctx context.Context) {
	for pause(ctx, sweepEvery) {
		stuck, err := w.ledger.Stuck(ctx, sweepAge, sweepMany)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Warn("sweeper waits", "err", err)
			}
			continue
		}
		if err := w.ledger.Purge(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("expired batches are not dropped yet", "err", err)
		}
		for _, s := range stuck {
			if err := w.rescue(ctx, s); err != nil && ctx.Err() == nil {
				w.log.Error("lost snapshot not put back on its queue", "id", s.ID, "err", err)
			}
		}
	}
}

func (w *Worker) rescue(ctx context.Context, s ledger.Snapshot) error {
	if s.State == "" || s.State == ledger.Accepted || s.State.Ended() {
		return w.ledger.Untrack(ctx, s.ID)
	}
	return w.enqueue(ctx, tasks.SnapshotPayload{ID: s.ID, Batch: s.Batch, Room: s.Room})
}

var (
	//go:embed orphans.lua
	orphansSource string
	orphansScript = redis.NewScript(orphansSource)
)

// orphans are the tasks of one asynq queue that are active and have no lease.
// asynq recovers only leases that have expired, so such a task, and its id with
// it, would be stuck for ever. See https://github.com/hibiken/asynq/issues/1144.
type orphans struct {
	rdb   redis.UniversalClient
	queue string
	seen  []string // in the look before this one
}

// look gives those that it sees for the second time in a row a lease that has
// expired, so that asynq's own recovery takes them, and returns their ids. A
// worker that still has one of them in hand makes its lease good within five
// seconds; if the recovery is faster than that, the task runs once more and
// the ledger sends nothing twice.
//
// The times in asynq's keys are Unix seconds by the clocks of its clients.
func (o *orphans) look(ctx context.Context) (leased []string, err error) {
	prefix := asynqKeys(o.queue)
	args := []any{time.Now().Add(-orphanLate).Unix(), orphanMany}
	for _, id := range o.seen {
		args = append(args, id)
	}
	reply, err := orphansScript.Run(ctx, o.rdb, []string{prefix + "active", prefix + "lease"}, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("look for orphans in queue %s: %w", o.queue, err)
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

// sweepOrphans looks for orphans in all queues.
func (w *Worker) sweepOrphans(ctx context.Context) {
	var queues []*orphans
	for _, queue := range w.o.Namespace.Queues() {
		queues = append(queues, &orphans{rdb: w.o.Redis, queue: queue})
	}
	for pause(ctx, orphanEvery) {
		for _, o := range queues {
			leased, err := o.look(ctx)
			if err != nil && ctx.Err() == nil {
				w.log.Warn("sweeper waits", "err", err)
			}
			w.metrics.orphans.Add(float64(len(leased)))
			for _, id := range leased {
				w.log.Warn("task was active without a lease, asynq will run it again", "id", id, "queue", o.queue)
			}
		}
	}
}

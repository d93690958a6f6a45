package worker

import (
	"context"
	"time"

	"tiwsnap/internal/asynqx"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

const (
	// sweepInterval is how often the sweeper looks for lost snapshots.
	sweepInterval = 15 * time.Second
	// sweepLease is how long one process remains the sweeper after its last sweep.
	sweepLease = 2*sweepInterval + 5*time.Second
	// standbyInterval is how often other processes check whether a packer and a
	// sweeper are alive.
	standbyInterval = 30 * time.Second
	// sweepAge is how long a started snapshot that is neither accepted nor ended
	// may stay unchanged before it counts as lost. asynq's own recovery takes up
	// to 125 s. A snapshot that waits longer for its retry still has its asynq
	// task, and queuing it again does nothing.
	sweepAge = 5 * time.Minute
	// sweepBatch limits the snapshots of one sweep.
	sweepBatch = 100
	// orphanInterval is how often active tasks without a lease are looked for.
	// With two checks and asynq's own minute they run again within 130 s.
	orphanInterval = 30 * time.Second
)

// packInterval is the time between two checks for ended records to pack. It doubles,
// up to maxPackInterval, while there are none. packBatch limits the records of one
// call.
const (
	packInterval, maxPackInterval = 2 * time.Second, 10 * time.Second
	packBatch                     = 200
	// packLease is how long a process remains a packer after its last check.
	packLease = maxPackInterval + 5*time.Second
	// packShare is the number of requests per second that one packer serves.
	packShare = 200
)

// pack compacts the records of ended snapshots until ctx ends. One packer or more,
// depending on the rate limit, work for all processes.
func (w *Worker) pack(ctx context.Context) {
	lease := w.lease("pack", packLease)
	defer w.releaseLease(ctx, lease)
	for next := packInterval; pause(ctx, next); {
		next = min(2*next, maxPackInterval)
		if held, turn, err := lease.Acquire(ctx, 1+w.create.Limit()/packShare); err == nil && !held {
			next = max(standbyInterval, turn)
			continue
		}
		for {
			n, err := w.ledger.Pack(ctx, packBatch)
			if n > 0 {
				next = packInterval
			}
			if err != nil && ctx.Err() == nil {
				w.log.Warn("ended records not packed, trying again", "err", err)
			}
			if n < packBatch {
				break
			}
		}
	}
}

// sweep puts snapshots back on their queue if their asynq task was lost, for example
// deleted or archived by hand. It also drops expired batches. One process sweeps for
// all, until ctx ends.
func (w *Worker) sweep(ctx context.Context) {
	lease := w.lease("sweep", sweepLease)
	defer w.releaseLease(ctx, lease)
	for next := sweepInterval; pause(ctx, next); {
		if held, turn, err := lease.Acquire(ctx, 1); err == nil && !held {
			next = max(standbyInterval, turn)
			continue
		}
		next = sweepInterval
		stuck, err := w.ledger.Stuck(ctx, sweepAge, sweepBatch)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Warn("lost snapshots not found, trying again", "err", err)
			}
			continue
		}
		if err := w.ledger.Purge(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("expired batches not deleted, trying again", "err", err)
		}
		for _, s := range stuck {
			if err := w.requeue(ctx, s); err != nil && ctx.Err() == nil {
				w.log.Error("lost snapshot not queued again, trying again", "id", s.ID, "err", err)
			}
		}
	}
}

// requeue puts a snapshot back on its queue if it still needs a request.
func (w *Worker) requeue(ctx context.Context, s ledger.Snapshot) error {
	if s.State == "" || s.State == ledger.Accepted || s.State.Ended() {
		return w.ledger.Untrack(ctx, s.ID)
	}
	return w.enqueue(ctx, tasks.SnapshotPayload{ID: s.ID, Batch: s.Batch, Room: s.Room})
}

// sweepOrphans makes asynq recover orphans in all queues: active tasks without a lease.
func (w *Worker) sweepOrphans(ctx context.Context) {
	var queues []*asynqx.Orphans
	for _, queue := range w.o.Namespace.Queues() {
		queues = append(queues, &asynqx.Orphans{Redis: w.o.Redis, Queue: queue})
	}
	for pause(ctx, orphanInterval) {
		for _, o := range queues {
			leased, err := o.Recover(ctx)
			if err != nil && ctx.Err() == nil {
				w.log.Warn("orphaned tasks not checked, trying again", "queue", o.Queue, "err", err)
			}
			w.metrics.orphans.Add(float64(len(leased)))
			for _, id := range leased {
				w.log.Warn("orphaned task: it was active without a lease, asynq runs it again", "id", id, "queue", o.Queue)
			}
		}
	}
}

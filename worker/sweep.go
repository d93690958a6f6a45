package worker

import (
	"context"
	"time"

	"tiwsnap/internal/asynqx"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

const (
	// sweepEvery is how often lost work is looked for.
	sweepEvery = 15 * time.Second
	// sweepFor is how long one process sweeps for all after its last look.
	sweepFor = 2*sweepEvery + 5*time.Second
	// othersEvery is how often the others ask whether nobody packs or sweeps.
	othersEvery = 30 * time.Second
	// sweepAge is how long a snapshot may be begun, and neither accepted nor
	// ended, without any change. asynq's own recovery takes up to 125 s. Of one
	// that waits longer for its retry, asynq has the task.
	sweepAge = 5 * time.Minute
	// sweepMany is how many are handled in one go.
	sweepMany = 100
	// orphanEvery is how often tasks are looked for that lost their lease.
	// With two looks and asynq's own minute they run again within 130 s.
	orphanEvery = 30 * time.Second
)

// packEvery is the time between two looks for ended records to pack. It doubles, up
// to packMost, while there are none. packMany is how many are packed in one go.
const (
	packEvery, packMost = 2 * time.Second, 10 * time.Second
	packMany            = 200
	// packFor is how long a process may pack for all after its last look, and
	// packShare how many requests a second one packs what comes of.
	packFor   = packMost + 5*time.Second
	packShare = 200
)

// pack makes the records of ended snapshots small.
func (w *Worker) pack(ctx context.Context) {
	share := w.lease("pack", packFor)
	defer w.leave(ctx, share)
	for next := packEvery; pause(ctx, next); {
		next = min(2*next, packMost)
		if held, turn, err := share.Acquire(ctx, 1+w.create.Limit()/packShare); err == nil && !held {
			next = max(othersEvery, turn)
			continue
		}
		for {
			n, err := w.ledger.Pack(ctx, packMany)
			if n > 0 {
				next = packEvery
			}
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
	share := w.lease("sweep", sweepFor)
	defer w.leave(ctx, share)
	for next := sweepEvery; pause(ctx, next); {
		if held, turn, err := share.Acquire(ctx, 1); err == nil && !held {
			next = max(othersEvery, turn)
			continue
		}
		next = sweepEvery
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

// sweepOrphans looks for orphans in all queues.
func (w *Worker) sweepOrphans(ctx context.Context) {
	var queues []*asynqx.Orphans
	for _, queue := range w.o.Namespace.Queues() {
		queues = append(queues, &asynqx.Orphans{Redis: w.o.Redis, Queue: queue})
	}
	for pause(ctx, orphanEvery) {
		for _, o := range queues {
			leased, err := o.Recover(ctx)
			if err != nil && ctx.Err() == nil {
				w.log.Warn("sweeper waits", "err", err)
			}
			w.metrics.orphans.Add(float64(len(leased)))
			for _, id := range leased {
				w.log.Warn("task was active without a lease, asynq will run it again", "id", id, "queue", o.Queue)
			}
		}
	}
}

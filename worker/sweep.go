package worker

import (
	"context"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

const (
	// sweepEvery is how often lost work is looked for.
	sweepEvery = 15 * time.Second
	// sweepAge is how long a snapshot may be begun, and neither accepted nor
	// ended, without any change. asynq's own recovery takes up to 125 s and no
	// retry of ours waits for longer than a minute.
	sweepAge = 5 * time.Minute
	// sweepMany is how many are handled in one go.
	sweepMany = 100
)

// sweep puts snapshots whose task was lost back on their queue: deleted or
// archived by hand, or active without a lease, which asynq never recovers.
func (w *Worker) sweep(ctx context.Context) {
	for pause(ctx, sweepEvery) {
		stuck, err := w.ledger.Stuck(ctx, sweepAge, sweepMany)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Warn("sweeper waits", "err", err)
			}
			continue
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
		return w.ledger.Forget(ctx, s.ID)
	}
	queue := tasks.QueueInteractive
	if s.Batch != "" {
		queue = tasks.QueueBulk
	}
	return w.enqueue(ctx, tasks.SnapshotPayload{ID: s.ID, Batch: s.Batch, Room: s.Room}, queue)
}

package worker

import (
	"context"
	"sync/atomic"
	"time"

	"tiwsnap/internal/rdb"
)

const (
	// replicasInterval is the time between two counts of the replicas.
	replicasInterval = 2 * time.Second
	// unconfirmedPause is how long this worker sends nothing after the replicas did
	// not confirm an intent.
	unconfirmedPause = 2 * time.Second
)

// replicas are the replicas of Redis that must confirm an intent before its request
// is sent. The zero value needs none.
type replicas struct {
	*rdb.Replicas
	until atomic.Int64 // nothing is sent before this Unix time (ms)
}

// unconfirmed reports whether sending pauses because the replicas did not confirm an
// intent.
func (r *replicas) unconfirmed() bool { return time.Now().UnixMilli() < r.until.Load() }

// watchReplicas counts the replicas until ctx ends.
func (w *Worker) watchReplicas(ctx context.Context) {
	for pause(ctx, replicasInterval) {
		w.countReplicas(ctx)
	}
}

// countReplicas counts the connected replicas, if Options.Replicated is set.
func (w *Worker) countReplicas(ctx context.Context) {
	if !w.o.Replicated {
		return
	}
	if err := w.replicas.Refresh(ctx); err != nil && ctx.Err() == nil {
		w.log.Debug("cannot count the replicas of Redis", "err", err)
	}
}

// pauseUnconfirmed pauses sending in this worker and stores the reason, so that the
// status of the queue shows it.
func (w *Worker) pauseUnconfirmed(ctx context.Context) {
	if !w.replicas.unconfirmed() {
		w.log.Warn("sending paused: the replicas of Redis do not confirm the intent",
			"replicas", w.replicas.Needed(), "fix", "start the replicas of Redis")
	}
	w.replicas.until.Store(time.Now().Add(unconfirmedPause).UnixMilli())
	if err := w.gate.NotReplicated(ctx); err != nil && ctx.Err() == nil {
		w.log.Warn("reason of the pause not stored: the replicas of Redis do not confirm", "err", err)
	}
}

// resumeConfirmed ends the pause once the replicas have confirmed an intent.
func (w *Worker) resumeConfirmed(ctx context.Context) {
	if w.replicas.until.Swap(0) == 0 {
		return
	}
	w.log.Info("sending resumed: the replicas of Redis confirm again")
	if err := w.gate.Replicated(ctx); err != nil && ctx.Err() == nil {
		w.log.Debug("end of the pause not stored: the replicas of Redis confirm again", "err", err)
	}
}

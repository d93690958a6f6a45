package worker

import (
	"context"
	"sync/atomic"
	"time"

	"tiwsnap/internal/rdb"
)

const (
	// replicasEvery is the time between two counts of the replicas.
	replicasEvery = 2 * time.Second
	// aloneFor is how long nothing is sent after an intent that the replicas did not
	// confirm.
	aloneFor = 2 * time.Second
)

// replicas are those that must have an intent before its request is sent. The zero
// value needs none.
type replicas struct {
	*rdb.Replicas
	until atomic.Int64 // nothing is sent before (ms)
}

// lacking reports whether an intent was not confirmed a moment ago.
func (r *replicas) lacking() bool { return time.Now().UnixMilli() < r.until.Load() }

// watchReplicas counts the replicas until ctx ends.
func (w *Worker) watchReplicas(ctx context.Context) {
	for pause(ctx, replicasEvery) {
		w.countReplicas(ctx)
	}
}

func (w *Worker) countReplicas(ctx context.Context) {
	if !w.o.Replicated {
		return
	}
	if err := w.replicas.Look(ctx); err != nil && ctx.Err() == nil {
		w.log.Debug("the replicas of Redis are not counted", "err", err)
	}
}

// notReplicated sends nothing for a moment, and has everybody told why.
func (w *Worker) notReplicated(ctx context.Context) {
	if !w.replicas.lacking() {
		w.log.Warn("nothing is sent for a moment: the replicas of Redis do not confirm the intent",
			"replicas", w.replicas.Needed(), "fix", "bring the replicas of Redis up")
	}
	w.replicas.until.Store(time.Now().Add(aloneFor).UnixMilli())
	if err := w.gate.NotReplicated(ctx); err != nil && ctx.Err() == nil {
		w.log.Warn("that the replicas of Redis do not confirm is not noted", "err", err)
	}
}

// replicated takes that back as soon as an intent is confirmed.
func (w *Worker) replicated(ctx context.Context) {
	if w.replicas.until.Swap(0) == 0 {
		return
	}
	w.log.Info("the replicas of Redis confirm again")
	if err := w.gate.Replicated(ctx); err != nil && ctx.Err() == nil {
		w.log.Debug("that the replicas of Redis confirm is not noted", "err", err)
	}
}

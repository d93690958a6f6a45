package results

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tiwsnap/gate"
	"tiwsnap/internal/asynqx"
)

// heartbeatsFor is how long the result of WorkerRuns is cached.
const heartbeatsFor = 2 * time.Second

// workers caches whether a worker runs.
type workers struct {
	mu  sync.Mutex
	at  time.Time
	run bool
}

// Stops returns everything that stops requests: that of gate.Breaker.Stops, and then
// that no worker runs. It is empty in normal operation. A killed worker counts as
// running for ten more seconds. Errors are those of Redis.
func (r *Reader) Stops(ctx context.Context) ([]gate.Stop, error) {
	all, err := r.gate.Stops(ctx)
	if err != nil {
		return nil, err
	}
	// This fails on a Redis that accepts no writes: asynq deletes old entries as it reads.
	if run, err := r.WorkerRuns(); err == nil && !run {
		all = append(all, gate.NoWorkerRuns())
	}
	return all, nil
}

// WorkerRuns reports whether a worker serves the queue of single rooms.
func (r *Reader) WorkerRuns() (bool, error) {
	r.workers.mu.Lock()
	defer r.workers.mu.Unlock()
	if time.Since(r.workers.at) < heartbeatsFor {
		return r.workers.run, nil
	}
	servers, err := r.inspector.Servers()
	if err != nil {
		return false, fmt.Errorf("read the heartbeats of the workers: %w", err)
	}
	r.workers.at, r.workers.run = time.Now(), false
	for _, s := range servers {
		if s.Queues[r.ns.QueueInteractive()] == asynqx.Weight && s.Status == "active" {
			r.workers.run = true
		}
	}
	return r.workers.run, nil
}

package results

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tiwsnap/gate"
	"tiwsnap/internal/asynqx"
)

// heartbeats are read again after that time, however many look.
const heartbeats = 2 * time.Second

// workers remembers whether a worker runs.
type workers struct {
	mu  sync.Mutex
	at  time.Time
	run bool
}

// Stops returns why nothing is sent: what the gate says, and at last that no
// worker runs. It is empty while all is well. A worker that was killed counts as
// running for ten seconds more. Errors are those of Redis.
func (r *Reader) Stops(ctx context.Context) ([]gate.Stop, error) {
	all, err := r.gate.Stops(ctx)
	if err != nil {
		return nil, err
	}
	// A Redis that takes no writes does not tell: asynq tidies up as it reads.
	if run, err := r.WorkerRuns(); err == nil && !run {
		all = append(all, gate.NoWorkerRuns())
	}
	return all, nil
}

// WorkerRuns reports whether some process takes rooms from their queue.
func (r *Reader) WorkerRuns() (bool, error) {
	r.workers.mu.Lock()
	defer r.workers.mu.Unlock()
	if time.Since(r.workers.at) < heartbeats {
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

package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tiwsnap/internal/rdb"
	"tiwsnap/tasks"
)

const (
	// feedEvery is how often the feeder tops up the bulk queue.
	feedEvery = 250 * time.Millisecond
	// feedAhead is how much work it keeps there. What lies on the queue is out
	// of the backlog's turn-taking, so this much is what a small batch waits
	// behind a large one at the least. It must last for feedEvery and, where
	// the feeder has died, until another one takes over: 700 ms. Far from Redis
	// ten round trips come on top: until the next room is on the queue, and from
	// there until it is begun.
	feedAhead = time.Second
	// feedMost bounds that work: a high limit needs no longer queue.
	feedMost = 2000
	// spreadAbove is how much waiting work has the permits spread evenly over
	// the second. A shorter batch is done sooner in bunches.
	spreadAbove = time.Minute
	// countEvery is how often the feeder counts it.
	countEvery = time.Second
)

// feed keeps the bulk queue topped up from the backlog. Every worker runs it;
// the backlog lets one at a time take.
func (w *Worker) feed(ctx context.Context) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := w.backlog.Leave(ctx, w.name); err != nil {
			w.log.Warn("the next feeder has to wait for a moment", "err", err)
		}
	}()
	var counted time.Time
	var memory memoryWatch
	feeds := false // and no other worker does
	for ctx.Err() == nil {
		if w.replicas.lacking() || feeds && memory.full(ctx, w) {
			pause(ctx, time.Second)
			continue
		}
		depth := min(max(2, int((feedAhead+10*w.create.Distance()).Seconds()*float64(w.create.Limit()))), feedMost)
		ids, wait, err := w.backlog.Take(ctx, w.name, depth)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Warn("feeder waits", "err", err)
			}
			pause(ctx, time.Second)
			continue
		}
		feeds = wait == 0
		// What fails here stays in transit and is taken again.
		if err := w.feedSome(ctx, ids); err != nil && ctx.Err() == nil {
			w.log.Error("snapshots not put on the queue", "err", err)
		}
		if len(ids) > 0 {
			w.journal.begun(ctx, ids)
		}
		if len(ids) > 0 && time.Since(counted) >= countEvery {
			counted = time.Now()
			w.spread(ctx)
		}
		if wait < 0 {
			if _, err := rdb.AwaitElement(ctx, w.o.Redis, w.o.Namespace.Ring()); err == nil {
				continue // a new batch need not wait for the next look
			}
		}
		pause(ctx, max(feedEvery, wait))
	}
}

// spread asks for even spacing where much waits. Nothing depends on it.
func (w *Worker) spread(ctx context.Context) {
	n, _, err := w.backlog.Waiting(ctx)
	if err == nil && float64(n) > spreadAbove.Seconds()*float64(w.create.Limit()) {
		w.create.Spread()
	}
}

func (w *Worker) feedSome(ctx context.Context, ids []string) error {
	var errs []error
	rows := make([]tasks.SnapshotPayload, 0, len(ids))
	for _, id := range ids {
		p, err := w.row(ctx, id)
		if err != nil {
			errs = append(errs, fmt.Errorf("snapshot %s: %w", id, err))
			continue
		}
		rows = append(rows, p)
	}
	return errors.Join(append(errs, w.enqueue(ctx, rows...))...)
}

func (w *Worker) row(ctx context.Context, id string) (tasks.SnapshotPayload, error) {
	batch, n, ok := tasks.SplitRowID(id)
	if !ok {
		return tasks.SnapshotPayload{}, errors.New("not the id of a row")
	}
	return w.backlog.Snapshot(ctx, batch, n)
}

// enqueue puts snapshots on their queues unless they are there already. Those
// whose room can never be sent end.
func (w *Worker) enqueue(ctx context.Context, all ...tasks.SnapshotPayload) error {
	var errs []error
	good := make([]tasks.SnapshotPayload, 0, len(all))
	for _, p := range all {
		cause := p.Room.Validate()
		if cause == nil {
			good = append(good, p)
		} else if err := w.refuse(ctx, p, cause); err != nil {
			errs = append(errs, fmt.Errorf("snapshot %s: %w", p.ID, err))
		}
	}
	return errors.Join(append(errs, w.producer.Reenqueue(ctx, good...))...)
}

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
	// feedInterval is how often the feeder tops up the bulk queue.
	feedInterval = 250 * time.Millisecond
	// feedAhead is how much work the feeder keeps on the queue, as time at the
	// rate limit. The backlog no longer orders queued rooms fairly, so a small
	// batch waits at least this long behind a large one. The queue must last
	// for feedInterval, or for 700 ms until another worker replaces a dead
	// feeder. Ten round trips to Redis are added: queuing and starting a room
	// takes that many.
	feedAhead = time.Second
	// maxQueued limits that work, in rooms: a high rate limit needs no longer queue.
	maxQueued = 2000
	// spreadAbove is how much work must wait, as time at the rate limit, before
	// permits are spread evenly over the second. Shorter work is done sooner in
	// bursts.
	spreadAbove = time.Minute
	// countInterval is how often the feeder counts the waiting work.
	countInterval = time.Second
)

// feed keeps the bulk queue topped up from the backlog. Every worker runs it, but
// the backlog gives rooms to one worker at a time, the feeder.
func (w *Worker) feed(ctx context.Context) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := w.backlog.Leave(ctx, w.name); err != nil {
			w.log.Warn("feeder lease not released, the next feeder waits until it expires", "err", err)
		}
	}()
	var counted time.Time
	var memory memoryWatch
	feeder := false // whether this worker is the feeder
	for ctx.Err() == nil {
		if w.replicas.unconfirmed() || feeder && memory.full(ctx, w) {
			pause(ctx, time.Second)
			continue
		}
		depth := min(max(2, int((feedAhead+10*w.create.Distance()).Seconds()*float64(w.create.Limit()))), maxQueued)
		ids, wait, err := w.backlog.Take(ctx, w.name, depth)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Warn("backlog not read, trying again", "err", err)
			}
			pause(ctx, time.Second)
			continue
		}
		feeder = wait == 0
		// Rooms that fail here stay in flight to the queue and are taken again.
		if err := w.queueRooms(ctx, ids); err != nil && ctx.Err() == nil {
			w.log.Error("snapshots not queued, trying again", "err", err)
		}
		if len(ids) > 0 {
			w.journal.logStarted(ctx, ids)
		}
		if len(ids) > 0 && time.Since(counted) >= countInterval {
			counted = time.Now()
			w.spread(ctx)
		}
		if wait < 0 {
			if _, err := rdb.AwaitElement(ctx, w.o.Redis, w.o.Namespace.Ring()); err == nil {
				continue // a new batch is fed without delay
			}
		}
		pause(ctx, max(feedInterval, wait))
	}
}

// spread spaces permits evenly if much work waits. It is best effort: an error is ignored.
func (w *Worker) spread(ctx context.Context) {
	n, _, err := w.backlog.Waiting(ctx)
	if err == nil && float64(n) > spreadAbove.Seconds()*float64(w.create.Limit()) {
		w.create.Spread()
	}
}

// queueRooms puts rooms of the backlog on the queue, by snapshot id.
func (w *Worker) queueRooms(ctx context.Context, ids []string) error {
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

// row returns a room of the backlog by its snapshot id.
func (w *Worker) row(ctx context.Context, id string) (tasks.SnapshotPayload, error) {
	batch, n, ok := tasks.SplitRowID(id)
	if !ok {
		return tasks.SnapshotPayload{}, errors.New("not an id of a batch's row")
	}
	return w.backlog.Snapshot(ctx, batch, n)
}

// enqueue puts snapshots on their queues unless they are already there. A snapshot
// whose room is invalid fails.
func (w *Worker) enqueue(ctx context.Context, all ...tasks.SnapshotPayload) error {
	var errs []error
	good := make([]tasks.SnapshotPayload, 0, len(all))
	for _, p := range all {
		cause := p.Room.Validate()
		if cause == nil {
			good = append(good, p)
		} else if err := w.failInvalid(ctx, p, cause); err != nil {
			errs = append(errs, fmt.Errorf("snapshot %s: %w", p.ID, err))
		}
	}
	return errors.Join(append(errs, w.producer.Reenqueue(ctx, good...))...)
}

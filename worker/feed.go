package worker

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"tiwsnap/tasks"
)

const (
	// feedEvery is how often the feeder tops up the bulk queue.
	feedEvery = 200 * time.Millisecond
	// feedAhead is how much work it keeps there. What lies on the queue is out
	// of the backlog's turn-taking, so this much is what a small batch waits
	// behind a large one at the least.
	feedAhead = 1500 * time.Millisecond
	// feedParallel is how many tasks are put on the queue at once.
	feedParallel = 8
)

// feed keeps the bulk queue topped up from the backlog. Every worker runs it;
// the backlog lets one at a time take.
func (w *Worker) feed(ctx context.Context) {
	for pause(ctx, feedEvery) {
		depth := max(2, int(feedAhead.Seconds()*float64(w.create.Limit())))
		ids, err := w.backlog.Take(ctx, w.name, depth)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Warn("feeder waits", "err", err)
			}
			pause(ctx, time.Second)
			continue
		}
		var g errgroup.Group
		g.SetLimit(feedParallel)
		for _, id := range ids {
			g.Go(func() error {
				// What fails here stays in transit and is taken again.
				if err := w.feedOne(ctx, id); err != nil && ctx.Err() == nil {
					w.log.Error("snapshot not put on the queue", "id", id, "err", err)
				}
				return nil
			})
		}
		g.Wait()
	}
}

func (w *Worker) feedOne(ctx context.Context, id string) error {
	batch, row, ok := tasks.SplitRowID(id)
	if !ok {
		return errors.New("not the id of a row")
	}
	room, err := w.backlog.Room(ctx, batch, row)
	if err != nil {
		return err
	}
	return w.enqueue(ctx, tasks.SnapshotPayload{ID: id, Batch: batch, Room: room}, tasks.QueueBulk)
}

// enqueue puts a snapshot on a queue unless it is there already.
func (w *Worker) enqueue(ctx context.Context, p tasks.SnapshotPayload, queue string) error {
	task, err := p.Task(asynq.Queue(queue))
	if err != nil {
		return err
	}
	_, err = w.queue.EnqueueContext(ctx, task)
	if !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}
	// It waits or runs, and all is well, unless somebody archived it by hand.
	info, err := w.inspector.GetTaskInfo(queue, p.ID)
	if errors.Is(err, asynq.ErrTaskNotFound) {
		return nil // it has just ended
	}
	if err == nil && info.State == asynq.TaskStateArchived {
		err = w.inspector.RunTask(queue, p.ID)
	}
	return err
}

package worker

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"tiwsnap/keys"
	"tiwsnap/tasks"
)

const (
	// feedEvery is how often the feeder tops up the bulk queue.
	feedEvery = 200 * time.Millisecond
	// feedAhead is how much work it keeps there. What lies on the queue is out
	// of the backlog's turn-taking, so this much is what a small batch waits
	// behind a large one at the least. It must last for feedEvery and, where
	// the feeder has died, until another one takes over: 600 ms.
	feedAhead = time.Second
	// feedMost bounds that work: a high limit needs no longer queue.
	feedMost = 2000
	// feedParallel is how many tasks are put on the queue at once.
	feedParallel = 8
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
	for ctx.Err() == nil {
		depth := min(max(2, int(feedAhead.Seconds()*float64(w.create.Limit()))), feedMost)
		ids, wait, err := w.backlog.Take(ctx, w.name, depth)
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
		if wait < 0 {
			if _, err := w.await(ctx, keys.Ring); err == nil {
				continue // a new batch need not wait for the next look
			}
		}
		pause(ctx, max(feedEvery, wait))
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

// enqueue puts a snapshot on a queue unless it is there already. One whose room
// can never be sent ends.
func (w *Worker) enqueue(ctx context.Context, p tasks.SnapshotPayload, queue string) error {
	task, err := p.Task(asynq.Queue(queue))
	if isRoomError(err) {
		return w.refuse(ctx, p, err)
	}
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

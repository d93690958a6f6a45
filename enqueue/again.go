package enqueue

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"

	"tiwsnap/tasks"
)

// Again puts a snapshot of a single room back on its queue, under the id that
// it has, unless it is there still. Errors: *tasks.RoomError, or Redis'.
func (c *Client) Again(ctx context.Context, id string, room tasks.Room) error {
	task, err := tasks.SnapshotPayload{ID: id, Room: room}.Task(asynq.Queue(tasks.QueueInteractive))
	if err != nil {
		return err
	}
	_, err = c.queue.EnqueueContext(ctx, task)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		// It waits there, or runs, unless somebody archived it by hand.
		var info *asynq.TaskInfo
		info, err = c.inspector.GetTaskInfo(tasks.QueueInteractive, id)
		switch {
		case errors.Is(err, asynq.ErrTaskNotFound):
			return nil // it has ended just now; the sweeper puts it back
		case err == nil && info.State == asynq.TaskStateArchived:
			err = c.inspector.RunTask(tasks.QueueInteractive, id)
		}
	}
	if err != nil {
		return fmt.Errorf("enqueue snapshot %s again: %w", id, err)
	}
	return nil
}

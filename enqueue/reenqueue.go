package enqueue

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

// Reenqueue enqueues snapshots under their own ids, unless they are still on their
// queue: those of batches on the bulk queue, the others on the interactive one. It
// takes one round trip, however many they are. After an error some of them may be
// enqueued; the same call does the rest. Errors: *tasks.RoomError, or Redis'.
func (c *Client) Reenqueue(ctx context.Context, all ...tasks.SnapshotPayload) error {
	if len(all) == 0 {
		return nil
	}
	deferred := &pipeline{UniversalClient: c.rdb, pipe: c.rdb.Pipeline()}
	queue := asynq.NewClientFromRedisClient(deferred)
	for _, p := range all {
		task, err := p.Task(asynq.Queue(c.queueOf(p)))
		if err == nil {
			_, err = queue.EnqueueContext(ctx, task)
		}
		if err != nil {
			return fmt.Errorf("enqueue snapshot %s again: %w", p.ID, err)
		}
	}
	var refusal redis.Error
	if _, err := deferred.pipe.Exec(ctx); err != nil && !errors.As(err, &refusal) {
		return fmt.Errorf("enqueue %d snapshots again: %w", len(all), err)
	}
	for i, script := range deferred.scripts {
		if n, err := script.Int(); n == 1 && err == nil {
			continue
		}
		// It is on the queue, or Redis does not know the script, or refused it.
		if err := c.reenqueueOne(ctx, all[i]); err != nil {
			return fmt.Errorf("enqueue snapshot %s again: %w", all[i].ID, err)
		}
		if redis.HasErrorPrefix(script.Err(), "NOSCRIPT") {
			return c.Reenqueue(ctx, all[i+1:]...) // now Redis knows the script
		}
	}
	return nil
}

// reenqueueOne enqueues one snapshot. It runs its task at once if a person has archived
// it.
func (c *Client) reenqueueOne(ctx context.Context, p tasks.SnapshotPayload) error {
	queue := c.queueOf(p)
	task, err := p.Task(asynq.Queue(queue))
	if err != nil {
		return err
	}
	_, err = c.queue.EnqueueContext(ctx, task)
	if !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}
	// It waits or runs, unless a person has archived it.
	info, err := c.inspector.GetTaskInfo(queue, p.ID)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound):
		return nil // completed just now; the sweeper enqueues it again if needed
	case err == nil && info.State == asynq.TaskStateArchived:
		err = c.inspector.RunTask(queue, p.ID)
	}
	return err
}

func (c *Client) queueOf(p tasks.SnapshotPayload) string {
	if p.Batch != "" {
		return c.ns.QueueBulk()
	}
	return c.ns.QueueInteractive()
}

// pipeline lets an asynq client enqueue many tasks in one round trip, which asynq
// v0.26.0 cannot do. It adds the client's commands to a pipeline and reports success;
// the real results are known after the pipeline is executed.
type pipeline struct {
	redis.UniversalClient
	pipe    redis.Pipeliner
	scripts []*redis.Cmd // one for each task
}

// SAdd adds the queue to asynq's set of queues.
func (p *pipeline) SAdd(ctx context.Context, key string, members ...any) *redis.IntCmd {
	return p.pipe.SAdd(ctx, key, members...)
}

// EvalSha enqueues a task.
func (p *pipeline) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	cmd := p.pipe.EvalSha(ctx, sha, keys, args...)
	cmd.SetVal(int64(1))
	p.scripts = append(p.scripts, cmd)
	return cmd
}

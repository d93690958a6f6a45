package enqueue

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

// Again puts snapshots on their queues, under the ids that they have, unless
// they are there still: those of batches on the one for bulk, the others on the
// interactive one. It is one round trip, however many they are. With an error
// some of them may be there; the same call again does the rest. Errors:
// *tasks.RoomError, or Redis'.
func (c *Client) Again(ctx context.Context, all ...tasks.SnapshotPayload) error {
	if len(all) == 0 {
		return nil
	}
	later := &pipeline{UniversalClient: c.rdb, pipe: c.rdb.Pipeline()}
	queue := asynq.NewClientFromRedisClient(later)
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
	if _, err := later.pipe.Exec(ctx); err != nil && !errors.As(err, &refusal) {
		return fmt.Errorf("enqueue %d snapshots again: %w", len(all), err)
	}
	for i, script := range later.scripts {
		if n, err := script.Int(); n == 1 && err == nil {
			continue
		}
		// It is there, or Redis did not know the script, or said no.
		if err := c.again(ctx, all[i]); err != nil {
			return fmt.Errorf("enqueue snapshot %s again: %w", all[i].ID, err)
		}
		if redis.HasErrorPrefix(script.Err(), "NOSCRIPT") {
			return c.Again(ctx, all[i+1:]...) // now it does
		}
	}
	return nil
}

// again puts one snapshot on its queue.
func (c *Client) again(ctx context.Context, p tasks.SnapshotPayload) error {
	queue := c.queueOf(p)
	task, err := p.Task(asynq.Queue(queue))
	if err != nil {
		return err
	}
	_, err = c.queue.EnqueueContext(ctx, task)
	if !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}
	// It waits there, or runs, unless somebody archived it by hand.
	info, err := c.inspector.GetTaskInfo(queue, p.ID)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound):
		return nil // it has ended just now; the sweeper puts it back
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

// pipeline is the Redis of an asynq client that enqueues many tasks: asynq
// v0.26.0 does that one by one. What it runs is put into a pipeline and looks
// as if all had gone well; the truth is known when that was executed.
type pipeline struct {
	redis.UniversalClient
	pipe    redis.Pipeliner
	scripts []*redis.Cmd // one for each task
}

// SAdd is for the set of all queues.
func (p *pipeline) SAdd(ctx context.Context, key string, members ...any) *redis.IntCmd {
	return p.pipe.SAdd(ctx, key, members...)
}

// EvalSha is for the task.
func (p *pipeline) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	cmd := p.pipe.EvalSha(ctx, sha, keys, args...)
	cmd.SetVal(int64(1))
	p.scripts = append(p.scripts, cmd)
	return cmd
}

// Package enqueue is what producers call: one room, or a batch of any size.
// One room goes straight to the asynq queue that is served first; a batch
// goes to the backlog, all of it or nothing.
package enqueue

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/tasks"
)

// Client enqueues. It is safe for concurrent use.
type Client struct {
	queue     *asynq.Client
	inspector *asynq.Inspector
	backlog   *backlog.Backlog
}

// New returns a client on rdb, which stays the caller's to close.
func New(rdb redis.UniversalClient) *Client {
	return &Client{asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb), backlog.New(rdb)}
}

// Room enqueues one room, ahead of every batch, and returns its snapshot id.
// It is one round trip to Redis. Errors: *tasks.RoomError for a room that
// breaks the API's rules, or Redis'. After an error of Redis the room may have
// been enqueued all the same.
func (c *Client) Room(ctx context.Context, room tasks.Room) (string, error) {
	task, err := tasks.NewSnapshot(room)
	if err != nil {
		return "", err
	}
	info, err := c.queue.EnqueueContext(ctx, task)
	switch {
	case errors.Is(err, asynq.ErrTaskIDConflict):
		// The id is random: the conflict is with ourselves. The reply to a
		// first try was lost and the Redis client sent it again.
		return taskID(err, task)
	case err != nil:
		return "", fmt.Errorf("enqueue room %d: %w", room.RoomId, err)
	}
	return info.ID, nil
}

func taskID(err error, task *asynq.Task) (string, error) {
	p, perr := tasks.ParseSnapshot(task.Payload())
	if perr != nil {
		return "", errors.Join(err, perr)
	}
	return p.ID, nil
}

// BatchOptions are the settings of one batch.
type BatchOptions struct {
	// ID names the batch: 1 to 64 of a-z, 0-9 and "-". If it ends with "-",
	// twelve hex digits of the content are added, so that the same rooms with
	// the same defaults are the same batch. Default "batch-".
	ID string
	// Defaults fill in what a room leaves out.
	Defaults tasks.Room
}

// Batch is what became of a batch: made, or found under its id.
type Batch = backlog.Batch

// Batch enqueues all rooms as one batch. Nothing is visible before the last of
// them: if rooms yields an error, or the process dies on the way, nothing is
// enqueued, and the same call again makes the batch. Where a batch of that id
// exists already it is returned unchanged, with Created false. A room that
// breaks the API's rules, its defaults filled in, is an error that wraps a
// *tasks.RoomError; duplicates are not looked for. Memory does not grow with
// the number of rooms.
func (c *Client) Batch(ctx context.Context, rooms iter.Seq2[tasks.Room, error], o BatchOptions) (Batch, error) {
	if o.ID == "" {
		o.ID = "batch-"
	}
	load := c.backlog.Load()
	b, err := c.load(ctx, load, rooms, o)
	if err != nil {
		// An expired load leaves nothing either: this only says it sooner.
		return b, errors.Join(err, load.Discard(context.WithoutCancel(ctx)))
	}
	return b, nil
}

func (c *Client) load(ctx context.Context, load *backlog.Load, rooms iter.Seq2[tasks.Room, error], o BatchOptions) (Batch, error) {
	n := 0
	for room, err := range rooms {
		if err != nil {
			return Batch{}, err
		}
		n++
		whole := room.Over(o.Defaults)
		if err := whole.Validate(); err != nil {
			return Batch{}, fmt.Errorf("room number %d of the batch: %w", n, err)
		}
		if err := load.Add(ctx, &room); err != nil {
			return Batch{}, err
		}
	}
	return load.Seal(ctx, o.ID, o.Defaults)
}

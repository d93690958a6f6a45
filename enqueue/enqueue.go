// Package enqueue accepts work from producers: a single room, or a batch of any size.
// A single room goes to the asynq queue that is served first. A batch goes to the
// backlog, as a whole or not at all. It refuses work that Redis has no memory for, and
// retries failed snapshots.
package enqueue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// Client enqueues rooms and batches. It is safe for concurrent use.
type Client struct {
	rdb       redis.UniversalClient
	ns        keys.Namespace
	queue     *asynq.Client
	inspector *asynq.Inspector
	backlog   *backlog.Backlog
	ledger    *ledger.Ledger
	admission admission
}

// Namespace names an installation of tiwsnap: 1 to 32 of a-z, 0-9 and "-". The empty
// one is "tiwsnap".
type Namespace = keys.Namespace

// New returns a client of a namespace in rdb. It does not close rdb.
func New(rdb redis.UniversalClient, ns Namespace) *Client {
	b, l := backlog.New(rdb, ns), ledger.New(rdb, ledger.Options{Namespace: ns})
	return &Client{
		rdb:       rdb,
		ns:        ns,
		queue:     asynq.NewClientFromRedisClient(rdb),
		inspector: asynq.NewInspectorFromRedisClient(rdb),
		backlog:   b,
		ledger:    l,
		admission: admission{rdb: rdb, backlog: b, ledger: l},
	}
}

// ErrExists means that the id of a batch exists with other rooms, or the key of a room
// with other parameters. Nothing was enqueued.
var ErrExists = backlog.ErrExists

// RoomOptions are the settings of one room.
type RoomOptions struct {
	// Key is an idempotency key, such as the id of a class session: 1 to 255 bytes of
	// printable text. The same application, room and key are the same snapshot,
	// however often and by whom they are enqueued, until its record has expired.
	// Empty: a new snapshot each time.
	Key string
	// Replicated waits until the replicas of Redis have the snapshot.
	Replicated bool
}

// Snapshot is the snapshot of an enqueued room: a new one, or that of its key.
type Snapshot struct {
	ID      string
	Created bool // false: it existed already and is unchanged
}

// Room enqueues one room, ahead of all batches. If its key was enqueued before, it
// returns that snapshot unchanged, also after its end.
//
// Errors: *tasks.RoomError for an invalid room or key; ErrExists, with the snapshot, if
// the key has other parameters; *FullError, *EvictionError, ErrNotReplicated, or
// Redis'. After the last two the room may have been enqueued: a retry is safe with a
// key, and may make a second snapshot without one. A key never has two snapshots, but
// Created is only a hint. It may be false for a snapshot that this call has made, if
// the Redis client retried after a broken connection. It may be true in two calls that
// overlap with the request to Tencent.
func (c *Client) Room(ctx context.Context, room tasks.Room, o RoomOptions) (Snapshot, error) {
	s, err := c.room(ctx, room, o.Key)
	if err != nil {
		return s, c.admission.explain(ctx, err)
	}
	if o.Replicated {
		// A fast worker may have completed the task already; then there is a record.
		err = c.awaitReplicas(ctx, "snapshot "+s.ID,
			c.task(s.ID), place{c.ns.Snapshot(s.ID), c.ns.Replicated()})
	}
	return s, err
}

func (c *Client) room(ctx context.Context, room tasks.Room, key string) (Snapshot, error) {
	p := tasks.SnapshotPayload{ID: tasks.NewID(), Room: room}
	if key != "" {
		if err := tasks.CheckKey(key); err != nil {
			return Snapshot{}, err
		}
		p.ID = tasks.KeyID(room.SdkAppId, room.RoomId, key)
	}
	task, err := p.Task(asynq.Queue(c.ns.QueueInteractive()))
	if err != nil {
		return Snapshot{}, err
	}
	if key != "" {
		// An accepted snapshot has a record but no task any more. If it is accepted
		// right after this query, a second task is enqueued. That is harmless: the
		// worker checks the ledger first.
		s, err := c.begun(ctx, p)
		if !errors.Is(err, ledger.ErrNotFound) {
			return s, err
		}
	}
	if err := c.admission.room(ctx, len(task.Payload())); err != nil {
		return Snapshot{}, err
	}
	if err := c.ledger.Index(ctx, p.ID, room.Words()...); err != nil {
		return Snapshot{}, err
	}
	_, err = c.queue.EnqueueContext(ctx, task)
	switch {
	case err == nil && key != "":
		// Another call's task may have come and gone since the first query.
		s, err := c.begun(ctx, p)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return s, err
		}
		return Snapshot{p.ID, true}, nil
	case err == nil:
		return Snapshot{p.ID, true}, nil
	case !errors.Is(err, asynq.ErrTaskIDConflict):
		return Snapshot{}, fmt.Errorf("enqueue room %d: %w", room.RoomId, err)
	case key == "":
		// The id is random, so this call has enqueued it: the first reply was lost,
		// and the Redis client retried.
		return Snapshot{p.ID, true}, nil
	}
	info, err := c.inspector.GetTaskInfo(c.ns.QueueInteractive(), p.ID)
	if errors.Is(err, asynq.ErrTaskNotFound) {
		return c.begun(ctx, p) // completed meanwhile
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("look up snapshot %s on its queue: %w", p.ID, err)
	}
	first, err := tasks.ParseSnapshot(info.Payload)
	if err != nil {
		return Snapshot{}, fmt.Errorf("decode snapshot %s on its queue: %w", p.ID, err)
	}
	return existing(p, first.Room)
}

// begun returns the snapshot of p's id if it has a record. Errors: ErrExists,
// ledger.ErrNotFound, or Redis'.
func (c *Client) begun(ctx context.Context, p tasks.SnapshotPayload) (Snapshot, error) {
	record, err := c.ledger.Snapshot(ctx, p.ID)
	if err != nil {
		return Snapshot{}, err
	}
	return existing(p, record.Room)
}

// existing returns the snapshot of p's id, which was enqueued before with the room
// first. It returns ErrExists if p has another room.
func existing(p tasks.SnapshotPayload, first tasks.Room) (Snapshot, error) {
	before, err := json.Marshal(first)
	if err != nil {
		return Snapshot{}, fmt.Errorf("encode room: %w", err)
	}
	now, err := json.Marshal(p.Room)
	if err != nil {
		return Snapshot{}, fmt.Errorf("encode room: %w", err)
	}
	s := Snapshot{ID: p.ID}
	if !bytes.Equal(before, now) {
		err = fmt.Errorf("snapshot %s %w with other parameters", p.ID, ErrExists)
	}
	return s, err
}

// BatchOptions are the settings of one batch.
type BatchOptions struct {
	// ID is the id of the batch: 1 to 64 of a-z, 0-9 and "-". If it ends with "-",
	// twelve hex digits of the digest of the content are appended, so that the same
	// rooms with the same defaults are the same batch. Default "batch-".
	ID string
	// Defaults apply to fields that a room leaves out.
	Defaults tasks.Room
	// Webhook is the URL that receives the ends of the batch and of its snapshots,
	// instead of the workers' own. The workers must allow its host.
	Webhook string
	// By is the name of who enqueues the batch, for display. Enqueueing the same batch
	// again does not change it.
	By string
	// Replicated waits until the replicas of Redis have the batch.
	Replicated bool
}

// Batch is an enqueued batch: a new one, or that of its id.
type Batch = backlog.Batch

// Batch enqueues all rooms as one batch, atomically: if rooms yields an error or the
// process dies, nothing is enqueued, and the same call makes the batch. If a batch of
// that id exists, Batch returns it unchanged with Created false, and with ErrExists if
// it has other rooms (the order does not matter). An invalid room, with its defaults,
// is an error that wraps a *tasks.RoomError. Batch does not check for duplicates.
// Memory does not grow with the number of rooms.
//
// Other errors: *FullError if the whole batch does not fit, *EvictionError,
// ErrNotReplicated, or Redis'. After ErrNotReplicated the batch is enqueued, and the
// same call finds it.
func (c *Client) Batch(ctx context.Context, rooms iter.Seq2[tasks.Room, error], o BatchOptions) (Batch, error) {
	if o.ID == "" {
		o.ID = "batch-"
	}
	load := c.backlog.Load(o.Defaults)
	load.Admit, load.By = c.admission.rooms, o.By
	b, err := c.load(ctx, load, rooms, o)
	if err != nil {
		// The load would also expire by itself. This frees its memory at once.
		err = errors.Join(err, load.Discard(context.WithoutCancel(ctx)))
		return b, c.admission.explain(ctx, err)
	}
	if o.Replicated {
		err = c.awaitReplicas(ctx, "batch "+b.ID, place{c.ns.Batch(b.ID), c.ns.Replicated()})
	}
	return b, err
}

func (c *Client) load(ctx context.Context, load *backlog.Load, rooms iter.Seq2[tasks.Room, error],
	o BatchOptions) (Batch, error) {
	n := 0
	for room, err := range rooms {
		if err != nil {
			return Batch{}, err
		}
		n++
		whole := room.Over(o.Defaults)
		if err := whole.Validate(); err != nil {
			return Batch{}, fmt.Errorf("room %d of the batch: %w", n, err)
		}
		if err := load.Add(ctx, &room); err != nil {
			return Batch{}, err
		}
	}
	return load.Seal(ctx, o.ID, o.Webhook)
}

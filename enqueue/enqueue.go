// Package enqueue accepts work from producers: a single room, or a batch of any
// size. A single room goes to the asynq queue that is served first. A batch
// goes to the backlog, as a whole or not at all.
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

// Client enqueues. It is safe for concurrent use.
type Client struct {
	rdb       redis.UniversalClient
	ns        keys.Namespace
	queue     *asynq.Client
	inspector *asynq.Inspector
	backlog   *backlog.Backlog
	ledger    *ledger.Ledger
	admission admission
}

// Namespace names the installation of tiwsnap whose workers take what is
// enqueued: 1 to 32 of a-z, 0-9 and "-". The empty one is "tiwsnap".
type Namespace = keys.Namespace

// New returns a client of a namespace on rdb, which stays the caller's to close.
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

// ErrExists means that the id of a batch stands for other rooms already, or the
// key of a room for other parameters. Nothing was enqueued.
var ErrExists = backlog.ErrExists

// RoomOptions are the settings of one room.
type RoomOptions struct {
	// Key names what the snapshot is of, such as the id of a class session: 1
	// to 255 bytes of printable text. The same application, room and key are
	// the same snapshot, whatever number of times and by whomever they are
	// enqueued, until its record has expired. Empty: a new snapshot each time.
	Key string
	// Replicated waits until a replica of Redis has the snapshot too.
	Replicated bool
}

// Snapshot is what became of a room: a snapshot made, or found under its key.
type Snapshot struct {
	ID      string
	Created bool // false: it was there already and is unchanged
}

// Room enqueues one room, ahead of every batch. With a key that was enqueued
// before it returns the snapshot of then, unchanged, also after it has ended.
//
// Errors: *tasks.RoomError for a room or a key that breaks the rules, ErrExists beside the snapshot that has the key
// with other parameters, *FullError, *EvictionError, ErrNotReplicated, or Redis'. After the last two the room may have
// been enqueued all the same: to try again is safe with a key, and may be a second snapshot without. There is one
// snapshot for a key whatever happens, but Created is a hint: it may be false for what this very call has made, where a
// connection broke and the Redis client sent again, and true for two calls, where one overlaps the other's request to
// Tencent.
func (c *Client) Room(ctx context.Context, room tasks.Room, o RoomOptions) (Snapshot, error) {
	s, err := c.room(ctx, room, o.Key)
	if err != nil {
		return s, c.admission.explain(ctx, err)
	}
	if o.Replicated {
		// A fast worker may have ended its task already; then there is a record.
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
		// The task of a snapshot that was accepted is gone, its record is not.
		// (Where that happens right after this look there is a new task. The
		// worker looks into the ledger first and has nothing to do.)
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
		// Between the look and now another may have come and gone.
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
		// The id is random: the conflict is with ourselves. The reply to a
		// first try was lost and the Redis client sent it again.
		return Snapshot{p.ID, true}, nil
	}
	info, err := c.inspector.GetTaskInfo(c.ns.QueueInteractive(), p.ID)
	if errors.Is(err, asynq.ErrTaskNotFound) {
		return c.begun(ctx, p) // and ended in this very moment
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("look up snapshot %s on its queue: %w", p.ID, err)
	}
	first, err := tasks.ParseSnapshot(info.Payload)
	if err != nil {
		return Snapshot{}, fmt.Errorf("decode snapshot %s on its queue: %w", p.ID, err)
	}
	return found(p, first.Room)
}

// begun returns the snapshot of p's id if the ledger has it. Errors:
// ledger.ErrNotFound, or Redis'.
func (c *Client) begun(ctx context.Context, p tasks.SnapshotPayload) (Snapshot, error) {
	record, err := c.ledger.Snapshot(ctx, p.ID)
	if err != nil {
		return Snapshot{}, err
	}
	return found(p, record.Room)
}

// found is the snapshot of p's id, which was enqueued before with that room, and
// ErrExists where p's is another.
func found(p tasks.SnapshotPayload, first tasks.Room) (Snapshot, error) {
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
	// ID names the batch: 1 to 64 of a-z, 0-9 and "-". If it ends with "-",
	// twelve hex digits of the content are added, so that the same rooms with
	// the same defaults are the same batch. Default "batch-".
	ID string
	// Defaults fill in what a room leaves out.
	Defaults tasks.Room
	// Webhook is the URL that is told of the batch's end and of its snapshots'
	// ends, in place of the workers' own; the workers must allow its host.
	Webhook string
	// By is who enqueues it, for those who look at it. The same batch from
	// somebody else stays the first one's.
	By string
	// Replicated waits until a replica of Redis has the batch too.
	Replicated bool
}

// Batch is what became of a batch: made, or found under its id.
type Batch = backlog.Batch

// Batch enqueues all rooms as one batch. Nothing is visible before the last of
// them: if rooms yields an error, or the process dies on the way, nothing is
// enqueued, and the same call again makes the batch. Where a batch of that id
// exists already it is returned unchanged, with Created false, and with
// ErrExists if it has other rooms, in whatever order. A room that
// breaks the API's rules, its defaults filled in, is an error that wraps a
// *tasks.RoomError; duplicates are not looked for. Memory does not grow with
// the number of rooms.
//
// Other errors: *FullError where the batch as a whole would not fit,
// *EvictionError, ErrNotReplicated, or Redis'. After ErrNotReplicated the
// batch is enqueued, and the same call again finds it.
func (c *Client) Batch(ctx context.Context, rooms iter.Seq2[tasks.Room, error], o BatchOptions) (Batch, error) {
	if o.ID == "" {
		o.ID = "batch-"
	}
	load := c.backlog.Load(o.Defaults)
	load.Admit, load.By = c.admission.rooms, o.By
	b, err := c.load(ctx, load, rooms, o)
	if err != nil {
		// An expired load leaves nothing either: this only says it sooner.
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

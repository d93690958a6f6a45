// Package client is the Go client of tiwsnap: enqueue rooms, follow and wait
// for them, read the results, cancel. It connects to the Redis of the workers
// and to nothing else.
//
// A batch and a snapshot each have an id, which Batch and Room return and which
// the command line and the pages show.
package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
)

// What the methods take and return. Each is explained where it comes from.
type (
	Room         = tasks.Room           // parameters of one snapshot, by the API's own names
	RoomOptions  = enqueue.RoomOptions  // Key: the same room and key are the same snapshot
	BatchOptions = enqueue.BatchOptions // ID: the same id is the same batch
	Snapshot     = enqueue.Snapshot     // its id, and whether it is new
	Batch        = enqueue.Batch        // its id, how many rooms it has, and whether it is new
	Status       = ledger.Batch         // how many snapshots of a batch are in which state
	Result       = results.Result       // what became of one snapshot: state, error code, images
	Loss         = ledger.Loss          // that Redis has lost data: when, and what is missing
)

// Errors that a program may have to tell apart, by errors.As and errors.Is.
type (
	// RoomError is a room or a key that breaks the API's rules. To try again is no use.
	RoomError = tasks.RoomError
	// FullError means that Redis has no memory left for new work. Try again later.
	FullError = enqueue.FullError
	// EvictionError means that Redis throws keys away when it is full, instead of refusing new ones.
	EvictionError = enqueue.EvictionError
)

var (
	// ErrExists means that the id of a batch stands for other rooms already, or the key of a room for other parameters.
	ErrExists = enqueue.ErrExists
	// ErrNotReplicated means that a replica was to confirm what was enqueued, and none has.
	ErrNotReplicated = enqueue.ErrNotReplicated
	// ErrNotFound means that there is no batch or snapshot of that id, that its retention is over, or that Redis has lost
	// it: see Lost.
	ErrNotFound = ledger.ErrNotFound
)

// Client is a client of one namespace: of the workers that have it, and their queues. It is safe for concurrent use.
type Client struct {
	queue   *enqueue.Client
	ledger  *ledger.Ledger
	results *results.Reader
	close   func() error

	seen   ledger.Seen
	mu     sync.Mutex
	looked time.Time // for a loss
}

// Open returns a client on the Redis at redisURL, in the forms of TIWSNAP_REDIS_URL:
// redis://USER:PASSWORD@HOST:6379/DB, rediss:// (TLS), unix://, redis+sentinel://, redis+cluster://. It does not
// connect yet. "embedded" is refused: that Redis is inside one process, which no worker shares. For a CA of your own or
// a client certificate, use New.
//
// namespace is the TIWSNAP_NAMESPACE of the workers: 1 to 32 of a-z, 0-9 and "-"; empty: "tiwsnap".
func Open(redisURL, namespace string) (*Client, error) {
	conn, closeRedis, err := rdb.Open(redisURL)
	if err != nil {
		return nil, fmt.Errorf("redis URL %s: %w", rdb.Redact(redisURL), err)
	}
	c, err := New(conn, namespace)
	if err != nil {
		closeRedis()
		return nil, err
	}
	c.close = closeRedis
	return c, nil
}

// New returns a client on conn, which stays the caller's to close. conn should obey the deadlines of contexts
// (ContextTimeoutEnabled). For namespace see Open.
func New(conn redis.UniversalClient, namespace string) (*Client, error) {
	ns := keys.Default
	if namespace != "" {
		var err error
		if ns, err = keys.Parse(namespace); err != nil {
			return nil, fmt.Errorf("namespace %q: %w", namespace, err)
		}
	}
	return &Client{
		queue:   enqueue.New(conn, ns),
		ledger:  ledger.New(conn, ledger.Options{Namespace: ns}),
		results: results.NewReader(conn, ns),
		close:   func() error { return nil },
	}, nil
}

// Close closes the connections of Open. What was enqueued goes on.
func (c *Client) Close() error { return c.close() }

// lookEvery is the least time between two looks for a loss of data.
const lookEvery = 2 * time.Second

// look raises the alarm if Redis has lost data since this client has used it. The calls that follow report errors of
// Redis.
func (c *Client) look(ctx context.Context) {
	c.mu.Lock()
	due := time.Since(c.looked) >= lookEvery
	if due {
		c.looked = time.Now()
	}
	c.mu.Unlock()
	if due {
		_, _ = c.ledger.CheckLoss(ctx, &c.seen, false)
	}
}

// Lost returns the newest loss of Redis' data, if one was found within the last day: by a worker, by another
// process, or by this client, which looks for it before it enqueues. Enqueue again what is missing: the same id and
// rooms are the same batch, and the same room and key the same snapshot. It is nil if there is none. Errors: Redis'.
func (c *Client) Lost(ctx context.Context) (*Loss, error) {
	c.look(ctx)
	return c.ledger.LastLoss(ctx)
}

// Room enqueues one room, ahead of every batch. With a key that was enqueued before it returns the snapshot of then,
// unchanged, also after that has ended.
//
// Errors: *RoomError, ErrExists beside the snapshot that has the key with other parameters, *FullError, *EvictionError,
// ErrNotReplicated, or Redis'. After the last two the room may have been enqueued all the same: to try again is safe
// with a key, and may be a second snapshot without.
func (c *Client) Room(ctx context.Context, room Room, o RoomOptions) (Snapshot, error) {
	c.look(ctx)
	s, err := c.queue.Room(ctx, room, o)
	if err == nil {
		c.seen.Add(s.ID)
	}
	return s, err
}

// Batch enqueues all rooms as one batch, or none of them if rooms yields an error. Memory does not grow with their
// number. The same id and rooms again find the same batch, so that to try again is safe.
//
// Errors: *RoomError (wrapped, with the number of the room), ErrExists, *FullError, *EvictionError, ErrNotReplicated,
// or Redis'. After ErrNotReplicated the batch is enqueued.
func (c *Client) Batch(ctx context.Context, rooms iter.Seq2[Room, error], o BatchOptions) (Batch, error) {
	c.look(ctx)
	b, err := c.queue.Batch(ctx, rooms, o)
	if err == nil {
		c.seen.Add(b.ID)
	}
	return b, err
}

// Status returns how far a batch is. Errors: ErrNotFound, or Redis'.
func (c *Client) Status(ctx context.Context, batch string) (Status, error) {
	return c.ledger.Batch(ctx, batch)
}

// Result returns one snapshot, whether it was enqueued by itself or with a batch. Errors: ErrNotFound, or Redis'.
func (c *Client) Result(ctx context.Context, snapshot string) (Result, error) {
	s, err := c.results.Snapshot(ctx, snapshot)
	if err != nil {
		return Result{}, err
	}
	return c.results.Explain(ctx, s), nil
}

// Results returns the snapshots of a batch in the order in which they were enqueued, those that have not ended
// included. They are read a few hundred at a time. An error ends the sequence: ErrNotFound, or Redis'.
func (c *Client) Results(ctx context.Context, batch string) iter.Seq2[Result, error] {
	return func(yield func(Result, error) bool) {
		b, err := c.ledger.Batch(ctx, batch)
		if err != nil {
			yield(Result{}, err)
			return
		}
		for r, err := range c.results.Batch(ctx, b, 1, b.Total) {
			if !yield(r, err) {
				return
			}
		}
	}
}

// pollEvery is the time between two looks of somebody who waits.
const pollEvery = 500 * time.Millisecond

// Wait waits until a batch has ended, and returns how. Once it has seen the batch, it waits out a Redis that is away.
// Errors: ErrNotFound, Redis' at the first look, or the context's.
func (c *Client) Wait(ctx context.Context, batch string) (Status, error) {
	return wait(ctx, func() (Status, bool, error) {
		b, err := c.Status(ctx, batch)
		return b, b.Ended(), err
	})
}

// WaitSnapshot waits until a snapshot has ended, in the manner of Wait.
func (c *Client) WaitSnapshot(ctx context.Context, snapshot string) (Result, error) {
	return wait(ctx, func() (Result, bool, error) {
		r, err := c.Result(ctx, snapshot)
		return r, r.State.Ended(), err
	})
}

func wait[T any](ctx context.Context, look func() (v T, ended bool, err error)) (T, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for seen := false; ; seen = true {
		v, ended, err := look()
		switch {
		case err == nil && ended:
			return v, nil
		case err != nil && (!seen || errors.Is(err, ErrNotFound)):
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Cancel cancels a batch or one snapshot as far as Tencent has not accepted it: a task cannot be called back. It
// returns how many snapshots it has canceled at once. Those that are on their way follow, unless Tencent accepts them
// now; see Status. What it ends is kept for seven days. Errors: ErrNotFound, or Redis'.
func (c *Client) Cancel(ctx context.Context, id string) (canceled int, err error) {
	canceled, err = c.ledger.CancelBatch(ctx, id)
	if !errors.Is(err, ErrNotFound) {
		return canceled, err
	}
	s, err := c.results.Snapshot(ctx, id)
	if err != nil || s.State.Ended() {
		return 0, err
	}
	state, err := c.ledger.Cancel(ctx, id, s.Room)
	if err == nil && state == ledger.Canceled {
		canceled = 1
	}
	return canceled, err
}

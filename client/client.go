// Package client is the Go client of tiwsnap: it enqueues rooms, waits for them, reads the results and cancels.
//
// It connects only to the Redis of the workers. A batch and a snapshot each have an id, which Batch and Room return.
// The command line and the pages show the same ids.
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

// Arguments and results of the methods. The original types have the documentation.
type (
	Room         = tasks.Room           // parameters of one snapshot, by the API's own names
	RoomOptions  = enqueue.RoomOptions  // Key: the same room and key are the same snapshot
	BatchOptions = enqueue.BatchOptions // ID: the same id is the same batch
	Snapshot     = enqueue.Snapshot     // its id, and whether it is new
	Batch        = enqueue.Batch        // its id, how many rooms it has, and whether it is new
	Status       = ledger.Batch         // how many snapshots of a batch are in which state
	Result       = results.Result       // one snapshot: state, error code, images
	Loss         = ledger.Loss          // a loss of Redis' data: when, and what is missing
)

// Errors for errors.As and errors.Is.
type (
	// RoomError is a room or a key that breaks the rules of the API. A retry is of no use.
	RoomError = tasks.RoomError
	// FullError means that Redis has no memory for new work. Retry later.
	FullError = enqueue.FullError
	// EvictionError means that Redis evicts keys when it is full, instead of refusing new ones.
	EvictionError = enqueue.EvictionError
)

var (
	// ErrExists means that the id of a batch is taken by other rooms, or the key of a room by other parameters.
	ErrExists = enqueue.ErrExists
	// ErrNotReplicated means that no replica has confirmed the enqueue in time.
	ErrNotReplicated = enqueue.ErrNotReplicated
	// ErrNotFound means that no batch or snapshot has that id, that its retention is over, or that Redis has lost it:
	// see Lost.
	ErrNotFound = ledger.ErrNotFound
)

// Client is a client of one namespace, that of the workers. It is safe for concurrent use.
type Client struct {
	queue   *enqueue.Client
	ledger  *ledger.Ledger
	results *results.Reader
	close   func() error

	seen    ledger.Seen
	mu      sync.Mutex
	checked time.Time // time of the last check for lost data
}

// Open returns a client of the Redis at redisURL, in the forms of TIWSNAP_REDIS_URL:
// redis://USER:PASSWORD@HOST:6379/DB, rediss:// (TLS), unix://, redis+sentinel://, redis+cluster://. It does not
// connect yet. It refuses "embedded", because that Redis is inside one process. For a CA of your own or a client
// certificate, use New.
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

// New returns a client on conn, which the caller closes. conn should obey the deadlines of contexts
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

// Close closes the connections of Open. Enqueued work goes on.
func (c *Client) Close() error { return c.close() }

// checkEvery is the minimum time between two checks for lost data.
const checkEvery = 2 * time.Second

// checkLoss records a loss if Redis has lost data since this client has used it. It ignores errors of Redis, which the
// next call returns.
func (c *Client) checkLoss(ctx context.Context) {
	c.mu.Lock()
	due := time.Since(c.checked) >= checkEvery
	if due {
		c.checked = time.Now()
	}
	c.mu.Unlock()
	if due {
		_, _ = c.ledger.CheckLoss(ctx, &c.seen, false)
	}
}

// Lost returns the newest loss of Redis' data within the last day, or nil. A worker, another process or this client
// has found it; the client checks before it enqueues. Enqueue the missing work again: the same id and rooms are the
// same batch, and the same room and key are the same snapshot. Errors: those of Redis.
func (c *Client) Lost(ctx context.Context) (*Loss, error) {
	c.checkLoss(ctx)
	return c.ledger.LastLoss(ctx)
}

// Room enqueues one room, ahead of every batch. If its key was enqueued before, Room returns that snapshot unchanged,
// even if it has ended.
//
// Errors: *RoomError, ErrExists with the snapshot that has the key and other parameters, *FullError, *EvictionError,
// ErrNotReplicated, or that of Redis. After the last two the room may be enqueued. A retry is safe with a key; without
// one it may make a second snapshot.
func (c *Client) Room(ctx context.Context, room Room, o RoomOptions) (Snapshot, error) {
	c.checkLoss(ctx)
	s, err := c.queue.Room(ctx, room, o)
	if err == nil {
		c.seen.Add(s.ID)
	}
	return s, err
}

// Batch enqueues all rooms as one batch, or none if rooms yields an error. Memory does not grow with their number. The
// same id and rooms are the same batch, so a retry is safe.
//
// Errors: *RoomError (wrapped, with the number of the room), ErrExists, *FullError, *EvictionError, ErrNotReplicated,
// or that of Redis. After ErrNotReplicated the batch is enqueued.
func (c *Client) Batch(ctx context.Context, rooms iter.Seq2[Room, error], o BatchOptions) (Batch, error) {
	c.checkLoss(ctx)
	b, err := c.queue.Batch(ctx, rooms, o)
	if err == nil {
		c.seen.Add(b.ID)
	}
	return b, err
}

// Status returns the progress of a batch. Errors: ErrNotFound, or that of Redis.
func (c *Client) Status(ctx context.Context, batch string) (Status, error) {
	return c.ledger.Batch(ctx, batch)
}

// Result returns one snapshot, with or without a batch. Errors: ErrNotFound, or that of Redis.
func (c *Client) Result(ctx context.Context, snapshot string) (Result, error) {
	s, err := c.results.Snapshot(ctx, snapshot)
	if err != nil {
		return Result{}, err
	}
	return c.results.Explain(ctx, s), nil
}

// Results returns the snapshots of a batch in the order of enqueueing, including those that have not ended. It reads a
// few hundred at a time. An error ends the sequence: ErrNotFound, or that of Redis.
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

// pollEvery is the time between two polls while waiting.
const pollEvery = 500 * time.Millisecond

// Wait waits until a batch has ended, and returns it. After the first poll it tolerates that Redis is unavailable.
// Errors: ErrNotFound, that of Redis at the first poll, or that of the context.
func (c *Client) Wait(ctx context.Context, batch string) (Status, error) {
	return wait(ctx, func() (Status, bool, error) {
		b, err := c.Status(ctx, batch)
		return b, b.Ended(), err
	})
}

// WaitSnapshot waits until a snapshot has ended, like Wait.
func (c *Client) WaitSnapshot(ctx context.Context, snapshot string) (Result, error) {
	return wait(ctx, func() (Result, bool, error) {
		r, err := c.Result(ctx, snapshot)
		return r, r.State.Ended(), err
	})
}

// wait calls poll every pollEvery until it reports the end.
func wait[T any](ctx context.Context, poll func() (v T, ended bool, err error)) (T, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for seen := false; ; seen = true {
		v, ended, err := poll()
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

// Cancel cancels the snapshots of a batch, or one snapshot, unless Tencent has accepted them: a task cannot be
// canceled. It returns how many snapshots it canceled at once. Those in flight follow, unless Tencent accepts them
// now; see Status. The records are kept for seven days. Errors: ErrNotFound, or that of Redis.
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

package backlog

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

// Room returns room n (from 1) of a batch, with the batch's defaults. Errors:
// ErrNotFound, or Redis'.
func (b *Backlog) Room(ctx context.Context, batch string, n int) (tasks.Room, error) {
	p, err := b.Snapshot(ctx, batch, n)
	return p.Room, err
}

// Snapshot returns the payload of the task of room n (from 1) of a batch. Errors:
// ErrNotFound, or Redis'.
func (b *Backlog) Snapshot(ctx context.Context, batch string, n int) (tasks.SnapshotPayload, error) {
	c, err := b.chunk(ctx, batch, n-1)
	if err != nil {
		return tasks.SnapshotPayload{}, err
	}
	room, err := c.room(n - 1)
	return tasks.SnapshotPayload{ID: tasks.RowID(batch, n), Batch: batch, List: c.list, Room: room}, err
}

// Rooms returns all rooms of a batch in their order, with the batch's defaults. It
// reads a chunk at a time. An error ends the sequence.
func (b *Backlog) Rooms(ctx context.Context, batch string) iter.Seq2[tasks.Room, error] {
	return b.RoomsFrom(ctx, batch, 1)
}

// RoomsFrom is Rooms, starting at room n (from 1).
func (b *Backlog) RoomsFrom(ctx context.Context, batch string, n int) iter.Seq2[tasks.Room, error] {
	return func(yield func(tasks.Room, error) bool) {
		total, err := b.rdb.HGet(ctx, b.ns.Batch(batch), "total").Int()
		if errors.Is(err, redis.Nil) {
			err = fmt.Errorf("%w: %s", ErrNotFound, batch)
		}
		if err != nil {
			yield(tasks.Room{}, err)
			return
		}
		scan := &Backlog{rdb: b.rdb, ns: b.ns, cache: chunkCache{max: scanCache}}
		for next := max(n, 1) - 1; next < total; {
			c, err := scan.chunk(ctx, batch, next)
			if err != nil {
				yield(tasks.Room{}, err)
				return
			}
			for end := max(c.first+len(c.lines), next+1); next < end; next++ {
				if room, err := c.room(next); !yield(room, err) || err != nil {
					return
				}
			}
		}
	}
}

// ClearCache clears the cache of rooms. After a loss of data in Redis a batch id may
// have other rooms.
func (b *Backlog) ClearCache() { b.cache.clear() }

package backlog

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

// The rooms of a batch are a hash of chunks, each compressed by DEFLATE. Chunk N is the
// field "N", with a line of JSON for each room. A large chunk is split into parts: then
// the field "N" is a JSON array of the first row of each part, counted from 0 in the
// chunk, and a part is the field "N.ROW". The field "N.f" is the filter of the chunk.

const (
	// chunkRows is the number of rooms in a chunk. It is part of the format: the chunk
	// of a row follows by division.
	chunkRows = 512
	// maxPart bounds an inflated chunk or part, in bytes. The last room of a part may
	// exceed partBytes, and a room may have half a million bytes.
	maxPart = 1 << 20
)

// chunk is one field of the hash: a chunk, a part of one, or the starts of its parts.
type chunk struct {
	list     string // prefix of the digest of the batch
	defaults tasks.Room
	first    int      // first row in the batch, from 0
	lines    [][]byte // rooms
	parts    []int    // first rows of the parts, from 0 in the chunk
}

// room returns the room of a row of the batch, from 0.
func (c *chunk) room(row int) (tasks.Room, error) {
	i := row - c.first
	if i >= len(c.lines) {
		return tasks.Room{}, fmt.Errorf("%w: there is no row %d", ErrNotFound, row+1)
	}
	var r tasks.Room
	if err := json.Unmarshal(c.lines[i], &r); err != nil {
		return r, fmt.Errorf("decode room: %w", err)
	}
	return r.Over(c.defaults), nil
}

// size returns its approximate memory, in bytes.
func (c *chunk) size() int {
	n := 500
	for _, line := range c.lines {
		n += len(line) + 25
	}
	return n
}

// chunkID names a field of the hash of a batch: chunk n, or its part that starts at row
// start (from 0 in the chunk). start is -1 for the chunk.
type chunkID struct {
	batch    string
	n, start int
}

func (id chunkID) name() string {
	if id.start < 0 {
		return strconv.Itoa(id.n)
	}
	return fmt.Sprintf("%d.%d", id.n, id.start)
}

// chunk returns the chunk, or the part of one, that has a row (from 0) of a batch.
func (b *Backlog) chunk(ctx context.Context, batch string, row int) (*chunk, error) {
	n, at := row/chunkRows, row%chunkRows
	c, err := b.field(ctx, chunkID{batch, n, -1})
	if err != nil || len(c.parts) == 0 {
		return c, err
	}
	after, _ := slices.BinarySearch(c.parts, at+1) // the first part starts at 0
	return b.field(ctx, chunkID{batch, n, c.parts[max(after-1, 0)]})
}

// field reads one field. Errors: ErrNotFound, or Redis'.
func (b *Backlog) field(ctx context.Context, id chunkID) (*chunk, error) {
	all, err := b.fieldsOf(ctx, []chunkID{id})
	if err == nil && all[0] == nil {
		err = fmt.Errorf("%w: %s", ErrNotFound, id.batch)
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// fieldsOf reads fields of batches in one round trip. A field that does not exist is
// nil.
func (b *Backlog) fieldsOf(ctx context.Context, ids []chunkID) ([]*chunk, error) {
	all := make([]*chunk, len(ids))
	blobs, lists := make([]*redis.StringCmd, len(ids)), make([]*redis.SliceCmd, len(ids))
	pipe := b.rdb.Pipeline()
	for i, id := range ids {
		if all[i] = b.cache.get(id); all[i] == nil {
			blobs[i] = pipe.HGet(ctx, b.ns.Rows(id.batch), id.name())
			lists[i] = pipe.HMGet(ctx, b.ns.Batch(id.batch), "defaults", "digest")
		}
	}
	pipe.Exec(ctx) // each reply has its own error
	for i, id := range ids {
		if all[i] != nil {
			continue
		}
		err := cmp.Or(blobs[i].Err(), lists[i].Err())
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("read rooms of batch %s: %w", id.batch, err)
		}
		var list struct {
			Defaults string `redis:"defaults"`
			Digest   string `redis:"digest"`
		}
		if err == nil {
			err = lists[i].Scan(&list)
		}
		if err != nil || list.Defaults == "" {
			continue
		}
		c := &chunk{first: id.n*chunkRows + max(id.start, 0), list: fmt.Sprintf("%.12s", list.Digest)}
		if err := json.Unmarshal([]byte(list.Defaults), &c.defaults); err != nil {
			return nil, fmt.Errorf("defaults of batch %s: %w", id.batch, err)
		}
		text, err := inflate([]byte(blobs[i].Val()))
		if err == nil && bytes.HasPrefix(text, []byte("[")) {
			err = json.Unmarshal(text, &c.parts)
		}
		if err != nil {
			return nil, fmt.Errorf("chunk %s of batch %s: %w", id.name(), id.batch, err)
		}
		c.lines = bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
		b.cache.put(id, c)
		all[i] = c
	}
	return all, nil
}

func inflate(b []byte) ([]byte, error) {
	r := flate.NewReader(bytes.NewReader(b))
	text, err := io.ReadAll(io.LimitReader(r, maxPart+1))
	if err == nil && len(text) > maxPart {
		err = fmt.Errorf("larger than %d bytes", maxPart)
	}
	return text, err
}

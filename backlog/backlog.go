// Package backlog stores the rooms of open batches, as compressed chunks that
// never change, and how far each batch has been fed to the queue. The feeder
// takes rooms from all open batches in turn, so a small batch never waits
// behind a large one.
package backlog

import (
	"bytes"
	"cmp"
	"container/list"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
)

// staleAfter is how long a snapshot may be in transit, taken and not begun,
// before it is handed out again. The queue behind the feeder is a few seconds
// long, so that this much means that the task was lost.
const staleAfter = time.Minute

// What has been in transit for longer than lateAfter does not count as that any
// more: its worker has died or hangs, and the other ones are not to wait until
// asynq gives it to them. At most lateBound depths are in transit in all.
const (
	lateAfter = 10 * time.Second
	lateBound = 5
)

// One call of the script takes from so many batches, and one Take makes so many
// calls at most.
const (
	takeBatches = 32
	takeCalls   = 16
)

// feederLease is how long a feeder stays the feeder without taking. When it
// dies the queue has to last for that much longer.
const feederLease = 700 * time.Millisecond

// ErrNotFound means that there is no such batch, or that it has expired.
var ErrNotFound = errors.New("no such batch")

var (
	//go:embed take.lua
	takeSource string
	takeScript = redis.NewScript(takeSource)
	//go:embed leave.lua
	leaveSource string
	leaveScript = redis.NewScript(leaveSource)
	//go:embed pause.lua
	pauseSource string
	pauseScript = redis.NewScript(pauseSource)
	//go:embed seal.lua
	sealSource string
	sealScript = redis.NewScript(sealSource)
)

// Backlog is the waiting batches in one Redis. It is safe for concurrent use.
type Backlog struct {
	rdb   redis.UniversalClient
	ns    keys.Namespace
	cache chunkCache

	mu   sync.Mutex // of a Take, and
	next []string   // the batches whose turn was next after it
}

// New returns the backlog of a namespace that lies in rdb.
func New(rdb redis.UniversalClient, ns keys.Namespace) *Backlog {
	return &Backlog{rdb: rdb, ns: ns, cache: chunkCache{max: maxCache}}
}

// Take takes snapshots from the open batches, one from each in turn, until
// depth of them are in transit: taken within the last ten seconds, and not
// begun by any worker yet. Snapshots that have been in transit for over a minute are among those
// returned, again: enqueueing them twice is harmless because the TaskID is the
// snapshot id.
//
// Only one owner at a time is given any; the others get none until it has
// stopped for 700 ms. That saves work, nothing depends on it. While sending is
// stopped nobody is given any, but for those that are wanted to see whether it
// works again (see b.ns.Breaker()).
//
// wait is until it is this owner's turn to ask again: 0 while it is that one,
// negative as long as b.ns.Ring() is empty, but a minute at most. The more owners
// ask, the later it is each one's turn: after ten seconds at the latest.
func (b *Backlog) Take(ctx context.Context, owner string, depth int) (ids []string, wait time.Duration, err error) {
	// What was next at the last call is next now, but for what has changed since.
	b.mu.Lock()
	defer b.mu.Unlock()
	for range takeCalls {
		k := []string{b.ns.Ring(), b.ns.Transit(), b.ns.Feeder(), b.ns.Breaker(), b.ns.FeederTurn(), b.ns.Totals()}
		args := []any{
			owner, depth, feederLease.Milliseconds(), staleAfter.Milliseconds(), lateAfter.Milliseconds(),
			lateBound * depth, takeBatches,
		}
		for _, batch := range b.next {
			k = append(k, b.ns.Batch(batch), b.ns.Again(batch), b.ns.Rows(batch))
			args = append(args, batch)
		}
		reply, err := takeScript.Run(ctx, b.rdb, k, args...).Slice()
		if err != nil {
			return ids, 0, fmt.Errorf("take from the backlog: %w", err)
		}
		b.next = texts(reply[2])
		ids = append(ids, texts(reply[3])...)
		wait = time.Duration(reply[0].(int64)) * time.Millisecond
		if reply[1].(int64) == 0 {
			break
		}
	}
	return ids, wait, nil
}

func texts(list any) []string {
	var all []string
	for _, v := range list.([]any) {
		all = append(all, v.(string))
	}
	return all
}

// Leave says that the owner takes no more, so that another one can at once.
func (b *Backlog) Leave(ctx context.Context, owner string) error {
	if err := leaveScript.Run(ctx, b.rdb, []string{b.ns.Feeder()}, owner).Err(); err != nil {
		return fmt.Errorf("stop feeding: %w", err)
	}
	return nil
}

// Pause stops feeding a batch; what was fed goes on. Errors: ErrNotFound, or
// Redis'.
func (b *Backlog) Pause(ctx context.Context, batch string) error {
	return b.setPaused(ctx, batch, true)
}

// Resume feeds a paused batch again. Errors: ErrNotFound, or Redis'.
func (b *Backlog) Resume(ctx context.Context, batch string) error {
	return b.setPaused(ctx, batch, false)
}

func (b *Backlog) setPaused(ctx context.Context, batch string, paused bool) error {
	found, err := pauseScript.Run(ctx, b.rdb,
		[]string{b.ns.Batch(batch), b.ns.Ring(), b.ns.Again(batch), b.ns.Totals()}, batch, paused).Bool()
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("batch %s: %w", batch, err)
	}
	return nil
}

// Room returns room n (from 1) of a batch, the batch's defaults filled in.
// Errors: ErrNotFound, or Redis'.
func (b *Backlog) Room(ctx context.Context, batch string, n int) (tasks.Room, error) {
	p, err := b.Snapshot(ctx, batch, n)
	return p.Room, err
}

// Snapshot returns what is enqueued for room n (from 1) of a batch. Errors:
// ErrNotFound, or Redis'.
func (b *Backlog) Snapshot(ctx context.Context, batch string, n int) (tasks.SnapshotPayload, error) {
	c, err := b.chunk(ctx, batch, n-1)
	if err != nil {
		return tasks.SnapshotPayload{}, err
	}
	room, err := c.room(n - 1)
	return tasks.SnapshotPayload{ID: tasks.RowID(batch, n), Batch: batch, List: c.list, Room: room}, err
}

// Forget forgets the rooms that were read: where Redis has lost its data, a batch
// may come back with others.
func (b *Backlog) Forget() { b.cache.clear() }

// Rooms returns all rooms of a batch in their order, the batch's defaults
// filled in. It reads a chunk at a time. An error ends the sequence.
func (b *Backlog) Rooms(ctx context.Context, batch string) iter.Seq2[tasks.Room, error] {
	return b.RoomsFrom(ctx, batch, 1)
}

// RoomsFrom is Rooms from room n (from 1) on.
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

// chunk returns the chunk that holds a row (from 0), or the part of it.
func (b *Backlog) chunk(ctx context.Context, batch string, row int) (*chunk, error) {
	n, at := row/chunkRows, row%chunkRows
	c, err := b.field(ctx, chunkID{batch, n, -1})
	if err != nil || len(c.parts) == 0 {
		return c, err
	}
	after, _ := slices.BinarySearch(c.parts, at+1) // the first part starts with 0
	return b.field(ctx, chunkID{batch, n, c.parts[max(after-1, 0)]})
}

// field reads one field of the rows of a batch.
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

// fieldsOf reads fields of the rows of batches, in one round trip. What does not
// exist is nil.
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
	pipe.Exec(ctx) // each reply has its error
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

// chunk is up to chunkRows rooms of a batch, each as one line of JSON; or a
// part of such, or where its parts start.
type chunk struct {
	list     string // beginning of the digest of the batch
	defaults tasks.Room
	first    int // its first row in the batch, from 0
	lines    [][]byte
	parts    []int
}

// room returns that of a row of the batch, from 0.
func (c *chunk) room(row int) (tasks.Room, error) {
	i := row - c.first
	if i >= len(c.lines) {
		return tasks.Room{}, fmt.Errorf("%w: it has no row %d", ErrNotFound, row+1)
	}
	var r tasks.Room
	if err := json.Unmarshal(c.lines[i], &r); err != nil {
		return r, fmt.Errorf("decode room: %w", err)
	}
	return r.Over(c.defaults), nil
}

// size is about the memory that it takes, in bytes.
func (c *chunk) size() int {
	n := 500
	for _, line := range c.lines {
		n += len(line) + 25
	}
	return n
}

// chunkID is a field of the rows of a batch: a chunk, or the part of it that
// begins with row start (from 0); start is -1 for the chunk.
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

// maxCache is how much a chunkCache keeps, in bytes: more than a hundred chunks
// of plain rooms.
const maxCache = 4 << 20

// scanCache is the same for who reads all rooms in their order: that needs no chunk
// twice, only where the parts of one start.
const scanCache = 64 << 10

// chunkCache keeps the chunks used last. Chunks never change, but a batch id
// may come back with other rooms: after a loss, see Forget, or after the batch has
// expired, days later. A chunk is forgotten long before that.
type chunkCache struct {
	max  int // bytes
	mu   sync.Mutex
	size int
	byID map[chunkID]*list.Element
	used list.List // of cachedChunk, last used first
}

type cachedChunk struct {
	id    chunkID
	chunk *chunk
	read  time.Time
}

func (cc *chunkCache) get(id chunkID) *chunk {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	e := cc.byID[id]
	if e == nil || time.Since(e.Value.(cachedChunk).read) > time.Hour {
		return nil
	}
	cc.used.MoveToFront(e)
	return e.Value.(cachedChunk).chunk
}

func (cc *chunkCache) put(id chunkID, c *chunk) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cc.byID == nil {
		cc.byID = make(map[chunkID]*list.Element)
	}
	if e := cc.byID[id]; e != nil {
		cc.drop(e)
	}
	cc.byID[id] = cc.used.PushFront(cachedChunk{id, c, time.Now()})
	cc.size += c.size()
	for cc.size > cc.max && cc.used.Len() > 1 {
		cc.drop(cc.used.Back())
	}
}

func (cc *chunkCache) clear() {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	clear(cc.byID)
	cc.used.Init()
	cc.size = 0
}

func (cc *chunkCache) drop(e *list.Element) {
	c := cc.used.Remove(e).(cachedChunk)
	delete(cc.byID, c.id)
	cc.size -= c.chunk.size()
}

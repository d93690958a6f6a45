package backlog

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
)

var (
	//go:embed seal.lua
	sealSource string
	sealScript = redis.NewScript(sealSource)
)

const (
	// partBytes is the size at which a part of a chunk ends, in bytes. It bounds the
	// memory of the writer and of readers.
	partBytes = 64 << 10
	// pushFields is how many chunks, parts and filters are written in one round trip,
	// pushBytes how many bytes at most, but for the last of them.
	pushFields = 32
	pushBytes  = 256 << 10
	// loadTTL is how long an unfinished load is kept after its last push.
	loadTTL = 10 * time.Minute
	// maxLabelNames bounds the number of label names of a batch, because each is a
	// column of its result list.
	maxLabelNames = 1000
)

// ErrLoadLost means that the load expired before Seal, because nothing was added for
// ten minutes. Nothing was enqueued.
var ErrLoadLost = errors.New("the load has expired in Redis before it was complete")

// ErrLabels means that a batch has more than 1000 different label names.
var ErrLabels = fmt.Errorf("the batch has more than %d different label names", maxLabelNames)

// ErrExists means that a batch of that id has other rooms. Nothing was enqueued.
var ErrExists = errors.New("exists already")

// Load is a batch that is being loaded into the backlog. Seal makes all added rooms
// visible at once. A load that is never sealed expires.
type Load struct {
	// Admit, if set, is called before every push with the number of all rooms of the
	// load so far and the bytes of this push. Its error ends the load.
	Admit func(ctx context.Context, rooms, bytes int) error
	// By is the name of who enqueues the batch, for display.
	By string

	rdb      redis.UniversalClient
	ns       keys.Namespace
	defaults tasks.Room
	key      string
	rows     int       // all rooms so far
	text     roomLines // of the chunk or part being filled
	start    int       // row of the first of them, from 0 in the chunk
	parts    []int     // starts of the finished parts of the chunk
	fields   int       // all fields so far
	words    words     // of the chunk being filled
	flate    *flate.Writer
	packed   bytes.Buffer // fields of the next push
	push     []pushed
	args     []any // of HSET, reused
	digest   hash.Hash
	bare     bool       // there are no defaults
	room     tasks.Room // the current one, with the defaults
	whole    roomLines  // its text
	sum      roomSum
	labels   map[string]bool // names
}

// Batch is the result of Seal.
type Batch struct {
	ID      string
	Rooms   int
	Created bool // false: a batch of this id existed already and is unchanged
}

// Load starts a new batch. The defaults apply to fields that its rooms leave out.
func (b *Backlog) Load(defaults tasks.Room) *Load {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return &Load{
		rdb: b.rdb, ns: b.ns, defaults: defaults, key: b.ns.Loading(rand.Text()),
		flate: w, digest: sha256.New(), bare: reflect.ValueOf(defaults).IsZero(), labels: make(map[string]bool),
	}
}

// Add adds one room. Errors: ErrLabels, that of Admit, or Redis'.
func (l *Load) Add(ctx context.Context, room *tasks.Room) error {
	for name := range room.Label {
		l.labels[name] = true
	}
	if len(l.labels) > maxLabelNames {
		return ErrLabels
	}
	begin := l.text.Len()
	err := l.text.add(room)
	whole := l.text.Bytes()[begin:]
	if err == nil && !l.bare {
		l.room = room.Over(l.defaults)
		l.whole.Reset()
		err = l.whole.add(&l.room)
		whole = l.whole.Bytes()
	}
	if err != nil {
		return fmt.Errorf("encode room: %w", err)
	}
	l.sum.add(whole)
	if l.bare {
		l.words.add(room)
	} else {
		l.words.add(&l.room)
	}
	l.rows++
	switch {
	case l.rows%chunkRows == 0:
		return l.endChunk(ctx)
	case l.text.Len() >= partBytes:
		return l.endPart(ctx)
	}
	return nil
}

func (l *Load) endChunk(ctx context.Context) error {
	n := (l.rows - 1) / chunkRows
	chunk := strconv.Itoa(n)
	if len(l.parts) > 0 {
		if l.text.Len() > 0 {
			if err := l.endPart(ctx); err != nil {
				return err
			}
		}
		starts, err := json.Marshal(l.parts)
		if err != nil {
			return fmt.Errorf("encode parts: %w", err)
		}
		l.text.Write(append(starts, '\n'))
	} else {
		l.digest.Write(l.text.Bytes())
	}
	l.start, l.parts = 0, l.parts[:0]
	l.compress()
	if err := l.put(ctx, chunk); err != nil {
		return err
	}
	l.packed.Write(l.words.appendFilter(l.packed.AvailableBuffer()))
	return l.put(ctx, filterName(n))
}

func (l *Load) endPart(ctx context.Context) error {
	chunk := (l.rows - 1) / chunkRows
	name := fmt.Sprintf("%d.%d", chunk, l.start)
	l.parts = append(l.parts, l.start)
	l.start = l.rows - chunk*chunkRows
	l.digest.Write(l.text.Bytes())
	l.compress()
	return l.put(ctx, name)
}

// compress appends the compressed text to packed, and clears the text.
func (l *Load) compress() {
	l.flate.Reset(&l.packed)
	l.flate.Write(l.text.Bytes()) // to a buffer: cannot fail
	l.flate.Close()
	l.text.Reset()
}

// put ends the current field of packed and names it. It pushes if enough is packed.
func (l *Load) put(ctx context.Context, name string) error {
	l.fields++
	l.push = append(l.push, pushed{name, l.packed.Len()})
	if len(l.push) < pushFields && l.packed.Len() < pushBytes {
		return nil
	}
	return l.flush(ctx)
}

func (l *Load) flush(ctx context.Context) error {
	if l.Admit != nil {
		if err := l.Admit(ctx, l.rows, l.packed.Len()); err != nil {
			return err
		}
	}
	l.args = l.args[:0]
	begin := 0
	for _, p := range l.push {
		l.args = append(l.args, p.name, l.packed.Bytes()[begin:p.end])
		begin = p.end
	}
	pipe := l.rdb.Pipeline()
	pipe.HSet(ctx, l.key, l.args...)
	pipe.PExpire(ctx, l.key, loadTTL)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("push rooms: %w", err)
	}
	l.push = l.push[:0]
	l.packed.Reset()
	return nil
}

// Seal makes the batch visible under the id, or returns the batch that already has
// this id. If id ends with "-", twelve hex digits of the digest of the content are
// appended, so that the same rooms in the same order with the same defaults are the
// same batch. webhook is the URL of its own receiver, or empty. Errors: ErrExists,
// with the batch, if that has other rooms (the order does not matter); ErrLoadLost, or
// Redis'. After an error nothing is enqueued, unless the connection broke: then
// loading the same rooms again finds the batch if it exists.
func (l *Load) Seal(ctx context.Context, id, webhook string) (Batch, error) {
	if l.rows == 0 {
		return Batch{}, errors.New("a batch needs at least one room")
	}
	if l.rows%chunkRows > 0 {
		if err := l.endChunk(ctx); err != nil {
			return Batch{}, err
		}
	}
	if len(l.push) > 0 {
		if err := l.flush(ctx); err != nil {
			return Batch{}, err
		}
	}
	words, err := json.Marshal(l.defaults)
	if err != nil {
		return Batch{}, fmt.Errorf("encode defaults: %w", err)
	}
	l.digest.Write(words)
	digest := hex.EncodeToString(l.digest.Sum(nil))
	if id != "" && id[len(id)-1] == '-' {
		id += digest[:12]
	}
	if !tasks.ValidBatchID(id) {
		return Batch{}, fmt.Errorf("batch id %.80q: it must be 1 to 64 of a-z, 0-9 and -", id)
	}
	for name := range l.defaults.Label {
		l.labels[name] = true
	}
	labels, err := json.Marshal(slices.Sorted(maps.Keys(l.labels)))
	if err != nil {
		return Batch{}, fmt.Errorf("encode label names: %w", err)
	}
	got, err := sealScript.Run(ctx, l.rdb,
		[]string{
			l.key, l.ns.Rows(id), l.ns.Batch(id), l.ns.Batches(), l.ns.Ring(), l.ns.Running(),
			l.ns.Totals(),
			l.ns.Packed(id), l.ns.Failed(id), l.ns.Held(id), l.ns.Refeed(id), l.ns.CopiesOf(id), l.ns.Copying(id),
			l.ns.LostImages(id),
		},
		id, l.rows, l.fields, digest, words, l.key, labels, webhook, l.sum.String(), l.By,
	).Slice()
	switch {
	case redis.HasErrorPrefix(err, "LOADLOST"):
		return Batch{}, ErrLoadLost
	case err != nil:
		return Batch{}, fmt.Errorf("seal batch %s: %w", id, err)
	}
	b := Batch{ID: id, Rooms: int(got[1].(int64)), Created: got[0].(int64) == 1}
	if got[2].(int64) == 0 {
		return b, fmt.Errorf("batch %s %w with other rooms (%d of them)", id, ErrExists, b.Rooms)
	}
	return b, nil
}

// Discard deletes the load.
func (l *Load) Discard(ctx context.Context) error {
	return l.rdb.Unlink(ctx, l.key).Err()
}

// pushed is a field to push, and its end in packed.
type pushed struct {
	name string
	end  int
}

// roomLines are rooms, one line of JSON each.
type roomLines struct {
	bytes.Buffer
	json *json.Encoder
}

func (l *roomLines) add(room *tasks.Room) error {
	if !plain(room) {
		if l.json == nil {
			l.json = json.NewEncoder(&l.Buffer)
		}
		return l.json.Encode(room)
	}
	// Most rooms of large batches are plain: this is 4 times as fast as encoding/json.
	b := l.AvailableBuffer()
	if room.SdkAppId != 0 {
		b = append(b, `{"SdkAppId":`...)
		b = strconv.AppendUint(b, room.SdkAppId, 10)
		b = append(b, `,"RoomId":`...)
	} else {
		b = append(b, `{"RoomId":`...)
	}
	b = strconv.AppendUint(b, room.RoomId, 10)
	b = append(b, "}\n"...)
	l.Write(b)
	return nil
}

// plain reports whether a room has only SdkAppId and RoomId.
func plain(room *tasks.Room) bool {
	return room.Whiteboard == nil && room.COS == nil && len(room.Label) == 0 &&
		room.CallbackURL == "" && room.SnapshotMode == ""
}

// roomSum is the sum of the digests of all rooms, with their defaults. It is the same
// for batches of the same rooms in any order.
type roomSum [4]uint64

func (s *roomSum) add(room []byte) {
	digest := sha256.Sum256(room)
	for i := range s {
		s[i] += binary.BigEndian.Uint64(digest[8*i:])
	}
}

func (s roomSum) String() string { return fmt.Sprintf("%016x%016x%016x%016x", s[0], s[1], s[2], s[3]) }

package ledger

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

var (
	//go:embed index.lua
	indexSource string
	indexScript = redis.NewScript(prelude + indexSource)
)

// The index maps a word (RoomId, value of a label, TaskID, RequestId) to the snapshots
// that may have it. It is a hash for each day; prelude.lua describes its buckets. An
// entry is
//
//	2 bytes of the word's digest
//	1 byte: the length of the rest, plus ofSingle if the snapshot has no batch
//	of a batch: 4 bytes of the digest of the batch id, then the row number, most
//	significant byte first; else the snapshot id

// These numbers are part of the format, see prelude.lua.
const (
	bucketEntries = 32
	extraLevels   = 8
	batchDigest   = 4 // bytes of the digest of a batch id
	ofSingle      = 0x80
)

const dayMilli = 24 * 60 * 60 * 1000

func today() int64 { return time.Now().UnixMilli() / dayMilli }

// hashWord returns the hash of a word, which chooses the bucket, and its mark, which
// identifies its entries there.
func hashWord(word string) (hash uint32, mark []byte) {
	digest := sha256.Sum256([]byte(word))
	return binary.BigEndian.Uint32(digest[:]) >> 1, digest[4:6]
}

// indexArgs returns the words of a snapshot as arguments of a script: hash and entry
// of each. Empty words are left out.
func indexArgs(id string, words ...string) (args []any) {
	ref := reference(id)
	slices.Sort(words)
	for _, word := range slices.Compact(words) {
		if word != "" {
			hash, mark := hashWord(word)
			args = append(args, hash, slices.Concat(mark, ref))
		}
	}
	return args
}

// reference returns the part of an entry that names the snapshot, from the length on.
func reference(id string) []byte {
	batch, row, ok := tasks.SplitRowID(id)
	if !ok {
		return append([]byte{byte(len(id)) | ofSingle}, id...)
	}
	digest := sha256.Sum256([]byte(batch))
	number := binary.BigEndian.AppendUint32(nil, uint32(row))
	for number[0] == 0 {
		number = number[1:]
	}
	return slices.Concat([]byte{byte(batchDigest + len(number))}, digest[:batchDigest], number)
}

// Index adds a snapshot to the index before it is begun. Call it before a single room
// is enqueued, so that Find never misses one on the queue.
func (l *Ledger) Index(ctx context.Context, id string, words ...string) error {
	if err := l.run(ctx, indexScript, id, batchOf(id), nil, indexArgs(id, words...)...).Err(); err != nil {
		return fmt.Errorf("index snapshot %s: %w", id, err)
	}
	return nil
}

// candidates returns the ids that the index has for a word, newest days first, each
// once. more is true if the index could not store them all.
func (l *Ledger) candidates(ctx context.Context, word string) (ids []string, more bool, err error) {
	days, err := l.rdb.ZRevRange(ctx, l.ns.Indexes(), 0, -1).Result()
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", l.ns.Indexes(), err)
	}
	hash, mark := hashWord(word)
	counts := make([]*redis.SliceCmd, len(days))
	key := func(day string) string {
		n, _ := strconv.ParseInt(day, 10, 64) // only our scripts write them
		return l.ns.Index(n)
	}
	pipe := l.rdb.Pipeline()
	for i, day := range days {
		counts[i] = pipe.HMGet(ctx, key(day), "n", fmt.Sprintf("more:%d", hash))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, false, fmt.Errorf("read the index: %w", err)
	}
	pipe = l.rdb.Pipeline()
	buckets := make([]*redis.SliceCmd, len(days))
	for i, day := range days {
		n, _ := counts[i].Val()[0].(string)
		more = more || counts[i].Val()[1] != nil
		var fields []string
		for level, size := 0, 1; level <= levelOf(atoi(n))+extraLevels; level, size = level+1, size*2 {
			fields = append(fields, fmt.Sprintf("%d:%d", level, int(hash)%size))
		}
		buckets[i] = pipe.HMGet(ctx, key(day), fields...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, false, fmt.Errorf("read the index: %w", err)
	}
	seen := make(map[string]bool)
	for i, day := range days {
		var refs []string
		for _, b := range buckets[i].Val() {
			bucket, _ := b.(string)
			refs = append(refs, entries(bucket, mark)...)
		}
		slices.Reverse(refs)
		all, err := l.resolve(ctx, key(day), refs)
		if err != nil {
			return nil, false, err
		}
		for _, id := range all {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return ids, more, nil
}

// levelOf returns the level of an index with n entries.
func levelOf(n int) int {
	level := 0
	for size := 1; bucketEntries*2*size <= n; size *= 2 {
		level++
	}
	return level
}

// entries returns the references in a bucket that have a mark.
func entries(bucket string, mark []byte) (refs []string) {
	for len(bucket) > 2 {
		end := min(3+int(bucket[2]&^ofSingle), len(bucket))
		if bucket[:2] == string(mark) {
			refs = append(refs, bucket[2:end])
		}
		bucket = bucket[end:]
	}
	return refs
}

// resolve returns the ids of references in an index.
func (l *Ledger) resolve(ctx context.Context, index string, refs []string) ([]string, error) {
	digest := func(ref string) string { return ref[1:min(1+batchDigest, len(ref))] }
	names := make(map[string]string) // batch ids by field of the index
	for _, ref := range refs {
		if ref[0]&ofSingle == 0 {
			names["batch:"+digest(ref)] = ""
		}
	}
	if len(names) > 0 {
		fields := slices.Collect(maps.Keys(names))
		all, err := l.rdb.HMGet(ctx, index, fields...).Result()
		if err != nil {
			return nil, fmt.Errorf("read the index: %w", err)
		}
		for i, f := range fields {
			names[f], _ = all[i].(string)
		}
	}
	ids := make([]string, 0, len(refs))
	for _, ref := range refs {
		if ref[0]&ofSingle != 0 {
			ids = append(ids, ref[1:])
			continue
		}
		row := 0
		for _, c := range []byte(ref[1+len(digest(ref)):]) {
			row = row<<8 | int(c)
		}
		ids = append(ids, tasks.RowID(names["batch:"+digest(ref)], row))
	}
	return ids, nil
}

// keepIndexes extends the life of the index of each day until its records have
// expired. Records of a batch expire after the batch's end, which is unknown while it
// is open, and the process that indexed them may not have known the retention.
func (l *Ledger) keepIndexes(ctx context.Context) error {
	days, err := l.rdb.ZRange(ctx, l.ns.Indexes(), 0, -1).Result()
	if err != nil {
		return fmt.Errorf("read %s: %w", l.ns.Indexes(), err)
	}
	oldest, err := l.rdb.ZRangeWithScores(ctx, l.ns.Running(), 0, 0).Result()
	if err != nil {
		return fmt.Errorf("read %s: %w", l.ns.Running(), err)
	}
	for _, day := range days {
		n, err := strconv.ParseInt(day, 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", l.ns.Indexes(), err)
		}
		end := time.UnixMilli((n + 1) * dayMilli)
		need := time.Until(end.Add(l.o.Retention + 24*time.Hour))
		if len(oldest) > 0 && time.UnixMilli(int64(oldest[0].Score)).Before(end) {
			need = l.o.Retention + 3*24*time.Hour
		}
		left, err := l.rdb.PTTL(ctx, l.ns.Index(n)).Result()
		switch {
		case err != nil:
		case left == -2: // go-redis' value for a key that does not exist
			err = l.rdb.ZRem(ctx, l.ns.Indexes(), day).Err()
		case left < need-time.Hour: // not at each call
			err = l.rdb.PExpire(ctx, l.ns.Index(n), need).Err()
		}
		if err != nil {
			return fmt.Errorf("keep the index of day %d: %w", n, err)
		}
	}
	return nil
}

package ledger

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/tasks"
)

//go:embed copies.lua
var copiesSource string

// TencentKeeps is how long Tencent keeps an image that is not in a bucket of
// one's own.
const TencentKeeps = 72 * time.Hour

// CopyState says where an image is.
type CopyState string

// The states of an image.
const (
	Remote  CopyState = "remote"  // only where its URL leads, and nobody copies it
	Pending CopyState = "pending" // the same, and it will be copied
	Copied  CopyState = "copied"
	Lost    CopyState = "lost" // it was to be copied, and that failed for as long as Tencent kept it
)

// Copy is what became of one image.
type Copy struct {
	State  CopyState
	Format string // Copied: png or jpg, as the name of the copy ends
}

// copyLetters are the states as copies.lua has them.
var copyLetters = map[byte]Copy{'.': {Pending, ""}, 'x': {Lost, ""}, 'p': {Copied, "png"}, 'j': {Copied, "jpg"}}

func (c Copy) letter() byte {
	for letter, copy := range copyLetters {
		if c == copy {
			return letter
		}
	}
	return '.' // Remote has none: it is written where it is to be copied
}

// copyKeys are the KEYS that copies.lua describes.
func (l *Ledger) copyKeys(id string) []string {
	of, _ := copyPlace(id)
	return []string{l.ns.CopiesOf(of), l.ns.Copying(batchOf(id)), l.ns.Copies(), l.ns.Archives(),
		l.ns.LostImages(batchOf(id))}
}

// copyPlace is where it is kept what became of the images of a snapshot.
func copyPlace(id string) (of, field string) {
	if batch, row, ok := tasks.SplitRowID(id); ok {
		return batch, strconv.Itoa(row)
	}
	return id, "0"
}

// readCopies reads what became of the images of snapshots, and where the copies of
// their batches are, in at most one round trip. What was written of other images
// counts for nothing.
func (l *Ledger) readCopies(ctx context.Context, all []Snapshot) error {
	byPlace := make(map[string][]int) // indexes in all
	for i, s := range all {
		all[i].Copies = slices.Repeat([]Copy{{State: Remote}}, len(s.Images))
		if len(s.Images) > 0 {
			of, _ := copyPlace(s.ID)
			byPlace[of] = append(byPlace[of], i)
		}
	}
	if len(byPlace) == 0 {
		return nil
	}
	pipe := l.rdb.Pipeline()
	copies, folders := make(map[string]*redis.SliceCmd), make(map[string]*redis.StringCmd)
	for of, in := range byPlace {
		fields := make([]string, len(in))
		for n, i := range in {
			_, fields[n] = copyPlace(all[i].ID)
		}
		copies[of] = pipe.HMGet(ctx, l.ns.CopiesOf(of), fields...)
		folders[of] = pipe.HGet(ctx, l.ns.Batch(of), "folder")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read copies of images: %w", err)
	}
	for of, in := range byPlace {
		for n, i := range in {
			s := &all[i]
			s.Folder = folders[of].Val()
			value, _ := copies[of].Val()[n].(string)
			letters, rest, _ := strings.Cut(value, " ")
			task, why, _ := strings.Cut(rest, " ")
			if task != copyFence(*s) || len(letters) != len(s.Images) {
				continue
			}
			s.CopyProblem = why
			for n := range letters {
				s.Copies[n] = copyLetters[letters[n]]
			}
		}
	}
	return nil
}

// copyFence tells the images of a snapshot from those that it had before a retry.
func copyFence(s Snapshot) string { return s.TaskID[:min(8, len(s.TaskID))] }

// Count returns how many images of the snapshot are in a state.
func (s Snapshot) Count(state CopyState) (n int) {
	for _, c := range s.Copies {
		if c.State == state {
			n++
		}
	}
	return n
}

// GoneAt is when Tencent deletes the images of the snapshot, or has: reckoned
// from its acceptance, so that it is early by the time that the task has run.
// It is zero where they are in a bucket of the user's own.
func (s Snapshot) GoneAt() time.Time {
	if s.Room.COS != nil || s.AcceptedAt.IsZero() || len(s.Images) == 0 {
		return time.Time{}
	}
	return s.AcceptedAt.Add(TencentKeeps)
}

// Gone reports whether the images that have no copy are deleted by then.
func (s Snapshot) Gone(now time.Time) bool {
	at := s.GoneAt()
	return !at.IsZero() && !now.Before(at)
}

// LostImages returns the snapshots of a batch, or with "" those that have no batch,
// that have images that are lost, in the manner of Failures.
func (l *Ledger) LostImages(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		for s, err := range l.newestFirst(ctx, l.ns.LostImages(batch)) {
			if err == nil && s.Count(Lost) == 0 {
				continue // it was retried, and has other images or will have
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

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

// TencentKeeps is how long Tencent keeps an image, unless the room has a bucket of the
// user's own (parameter COS).
const TencentKeeps = 72 * time.Hour

// CopyState is the state of the copy of an image.
type CopyState string

// The states.
const (
	Remote  CopyState = "remote"  // there is no copy, and none is planned
	Pending CopyState = "pending" // to be copied
	Copied  CopyState = "copied"
	Lost    CopyState = "lost" // copying failed until Tencent deleted the image
)

// Copy is the copy of one image.
type Copy struct {
	State  CopyState
	Format string // Copied: png or jpg, the suffix of the copy's name
}

// copyLetters are the states as copies.lua stores them.
var copyLetters = map[byte]Copy{'.': {Pending, ""}, 'x': {Lost, ""}, 'p': {Copied, "png"}, 'j': {Copied, "jpg"}}

func (c Copy) letter() byte {
	for letter, copy := range copyLetters {
		if c == copy {
			return letter
		}
	}
	return '.' // Remote has no letter: it is stored only once it is to be copied
}

// copyKeys returns the KEYS of copies.lua.
func (l *Ledger) copyKeys(id string) []string {
	of, _ := copyPlace(id)
	return []string{l.ns.CopiesOf(of), l.ns.Copying(batchOf(id)), l.ns.Copies(), l.ns.Archives(),
		l.ns.LostImages(batchOf(id))}
}

// copyPlace returns where the copies of a snapshot are stored: the argument of
// keys.CopiesOf, and the field of that hash.
func copyPlace(id string) (of, field string) {
	if batch, row, ok := tasks.SplitRowID(id); ok {
		return batch, strconv.Itoa(row)
	}
	return id, "0"
}

// readCopies sets Copies, CopyProblem and Folder of snapshots, in at most one round
// trip. It ignores copies of the images that a snapshot had before a retry.
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

// copyFence returns the prefix of the TaskID that identifies the images of a snapshot,
// as opposed to those before a retry.
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

// GoneAt returns when Tencent deletes the images of the snapshot, or has deleted them.
// It counts from the acceptance, so it is early by the duration of the task. It is
// zero if the images are in a bucket of the user's own, or there are none.
func (s Snapshot) GoneAt() time.Time {
	if s.Room.COS != nil || s.AcceptedAt.IsZero() || len(s.Images) == 0 {
		return time.Time{}
	}
	return s.AcceptedAt.Add(TencentKeeps)
}

// Gone reports whether Tencent has deleted the images at a time.
func (s Snapshot) Gone(now time.Time) bool {
	at := s.GoneAt()
	return !at.IsZero() && !now.Before(at)
}

// LostImages returns the snapshots of a batch, or with "" the single ones, that have
// lost images. It iterates as Failures does.
func (l *Ledger) LostImages(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		for s, err := range l.newestFirst(ctx, l.ns.LostImages(batch)) {
			if err == nil && s.Count(Lost) == 0 {
				continue // it was retried
			}
			if !yield(s, err) {
				return
			}
		}
	}
}

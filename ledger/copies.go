package ledger

import (
	"context"
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

// TakeCopies hands out at most n snapshots that have images to copy: of the batches
// in turn, and of each those first whose images are deleted first. Nobody else gets
// them before the lease is over; Copied gives them back. With fewer than n, no
// other is due.
func (l *Ledger) TakeCopies(ctx context.Context, n int, lease time.Duration) ([]Snapshot, error) {
	now, err := l.rdb.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("take images to copy: %w", err)
	}
	due, err := l.rdb.ZRangeByScore(ctx, l.ns.Copies(), &redis.ZRangeBy{
		Min: "-inf", Max: strconv.FormatInt(now.UnixMilli(), 10), Count: int64(n),
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("take images to copy: %w", err)
	}
	var ids []string
	for i, batch := range due {
		share := (n - len(ids) + len(due) - i - 1) / (len(due) - i) // of this batch and those behind it
		got, err := takeCopiesScript.Run(ctx, l.rdb, []string{l.ns.Copying(batch), l.ns.Copies()},
			batch, share, lease.Milliseconds()).StringSlice()
		if err != nil {
			return nil, fmt.Errorf("take images to copy: %w", err)
		}
		ids = append(ids, got...)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	all, err := l.Snapshots(ctx, ids)
	if err != nil {
		return nil, err
	}
	// What has expired, or has no such images any more, is off the queue for good.
	var lost []Snapshot
	all = slices.DeleteFunc(all, func(s Snapshot) bool {
		if s.Count(Pending) > 0 {
			return false
		}
		lost = append(lost, s)
		return true
	})
	for _, s := range lost {
		if err := l.rdb.ZRem(ctx, l.ns.Copying(batchOf(s.ID)), s.ID).Err(); err != nil {
			return nil, fmt.Errorf("take images to copy: %w", err)
		}
	}
	return all, nil
}

// RenewCopies makes the lease of snapshots that TakeCopies has handed out last that
// long from now on.
func (l *Ledger) RenewCopies(ctx context.Context, ids []string, lease time.Duration) error {
	now, err := l.rdb.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("renew leases of images: %w", err)
	}
	pipe := l.rdb.Pipeline()
	for _, id := range ids {
		pipe.ZAddXX(ctx, l.ns.Copying(batchOf(id)), redis.Z{Score: float64(now.Add(lease).UnixMilli()), Member: id})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("renew leases of images: %w", err)
	}
	return nil
}

// Copied writes what became of the images of a snapshot that TakeCopies has handed
// out: its Copies, and CopyProblem. Those that are Pending are due again after wait.
// Errors: ErrLate if it has other images by now, or Redis'.
func (l *Ledger) Copied(ctx context.Context, s Snapshot, wait time.Duration) error {
	letters := make([]byte, len(s.Copies))
	left := int64(-1)
	for i, c := range s.Copies {
		letters[i] = c.letter()
		if c.State == Pending {
			left = wait.Milliseconds()
		}
	}
	reply, err := l.run(ctx, copiedScript, s.ID, batchOf(s.ID),
		append([]string{l.ns.Early(), l.ns.Expiring()}, l.copyKeys(s.ID)...),
		copyFence(s), letters, s.CopyProblem, left, false).Text()
	return late(reply, err, "write the copies of snapshot %s", s.ID)
}

// CopyAgain makes the images of an ended snapshot that have no copy due to be copied,
// those that are lost too, and returns how many they are.
func (l *Ledger) CopyAgain(ctx context.Context, s Snapshot) (n int, err error) {
	letters := make([]byte, len(s.Copies))
	for i, c := range s.Copies {
		letters[i] = c.letter()
		if c.State == Remote || c.State == Lost {
			letters[i] = '.'
			n++
		}
	}
	if n == 0 || !s.State.Ended() {
		return 0, nil
	}
	reply, err := l.run(ctx, copiedScript, s.ID, batchOf(s.ID),
		append([]string{l.ns.Early(), l.ns.Expiring()}, l.copyKeys(s.ID)...),
		copyFence(s), letters, "", 0, true).Text()
	return n, late(reply, err, "copy the images of snapshot %s again", s.ID)
}

// CopyFolder returns the folder of the copies of a batch: the one that it has, or
// from now on this one. Errors: ErrNotFound, or Redis'.
func (l *Ledger) CopyFolder(ctx context.Context, batch, folder string) (string, error) {
	if n, err := l.rdb.Exists(ctx, l.ns.Batch(batch)).Result(); err != nil || n == 0 {
		if err == nil {
			err = ErrNotFound
		}
		return "", fmt.Errorf("folder of batch %s: %w", batch, err)
	}
	pipe := l.rdb.TxPipeline()
	pipe.HSetNX(ctx, l.ns.Batch(batch), "folder", folder)
	got := pipe.HGet(ctx, l.ns.Batch(batch), "folder")
	if _, err := pipe.Exec(ctx); err != nil {
		return "", fmt.Errorf("folder of batch %s: %w", batch, err)
	}
	return got.Val(), nil
}

// Archives hands out at most n batches whose copies may have changed since their
// lists were written. Nobody else gets them before the lease is over; ArchiveLater
// gives them back.
func (l *Ledger) Archives(ctx context.Context, n int, lease time.Duration) ([]Batch, error) {
	ids, err := l.due(ctx, l.ns.Archives(), 0, n, lease)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	all, err := l.BatchesOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(b Batch) bool { return b.ID == id }) { // it has expired
			if err := l.rdb.ZRem(ctx, l.ns.Archives(), id).Err(); err != nil {
				return nil, fmt.Errorf("drop expired batch %s: %w", id, err)
			}
		}
	}
	return all, nil
}

// ArchiveLater looks at a batch again after wait.
func (l *Ledger) ArchiveLater(ctx context.Context, batch string, wait time.Duration) error {
	now, err := l.rdb.Time(ctx).Result()
	if err == nil {
		err = l.rdb.ZAddXX(ctx, l.ns.Archives(), redis.Z{Score: float64(now.Add(wait).UnixMilli()), Member: batch}).Err()
	}
	if err != nil {
		return fmt.Errorf("put off the lists of batch %s: %w", batch, err)
	}
	return nil
}

// Archive notes that the lists of a batch are written as they were at a time that
// the text stands for. Where it had images to copy, and all have a copy then or are
// lost, that is told by webhook.
func (l *Ledger) Archive(ctx context.Context, b Batch, text string) error {
	err := l.run(ctx, archivedScript, "", b.ID, nil, b.Archived, text,
		b.PendingImages == 0 && b.CopiedImages+b.LostImages > 0).Err()
	if err != nil {
		return fmt.Errorf("note the lists of batch %s: %w", b.ID, err)
	}
	return nil
}

// KeepFolder notes that a folder of copies was written now.
func (l *Ledger) KeepFolder(ctx context.Context, folder string) error {
	err := l.rdb.ZAdd(ctx, l.ns.Folders(), redis.Z{Score: float64(time.Now().UnixMilli()), Member: folder}).Err()
	if err != nil {
		return fmt.Errorf("note folder %s: %w", folder, err)
	}
	return nil
}

// OldFolders returns the folders of copies, at most 100, that were last written longer
// ago than age.
func (l *Ledger) OldFolders(ctx context.Context, age time.Duration) ([]string, error) {
	old, err := l.rdb.ZRangeByScore(ctx, l.ns.Folders(), &redis.ZRangeBy{
		Min: "-inf", Max: strconv.FormatInt(time.Now().Add(-age).UnixMilli(), 10), Count: 100,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("look for old folders: %w", err)
	}
	return old, nil
}

// ForgetFolder notes that a folder of copies is removed.
func (l *Ledger) ForgetFolder(ctx context.Context, folder string) error {
	if err := l.rdb.ZRem(ctx, l.ns.Folders(), folder).Err(); err != nil {
		return fmt.Errorf("forget folder %s: %w", folder, err)
	}
	return nil
}

// CopyTrouble is why no image can be copied at the moment.
type CopyTrouble struct {
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

// copyTroubleFor is how long a trouble stands that nobody reports again.
const copyTroubleFor = 2 * time.Minute

// ReportCopyTrouble notes why no image can be copied, for two minutes, or with ""
// that they can.
func (l *Ledger) ReportCopyTrouble(ctx context.Context, why string) error {
	pipe := l.rdb.TxPipeline()
	if why == "" {
		pipe.Del(ctx, l.ns.CopyTrouble())
	} else {
		pipe.HSetNX(ctx, l.ns.CopyTrouble(), "since", time.Now().UnixMilli())
		pipe.HSet(ctx, l.ns.CopyTrouble(), "why", why)
		pipe.PExpire(ctx, l.ns.CopyTrouble(), copyTroubleFor)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("note why no image is copied: %w", err)
	}
	return nil
}

// CopyTrouble returns why no image can be copied at the moment, nil where they can.
func (l *Ledger) CopyTrouble(ctx context.Context) (*CopyTrouble, error) {
	f, err := l.rdb.HGetAll(ctx, l.ns.CopyTrouble()).Result()
	if err != nil {
		return nil, fmt.Errorf("read why no image is copied: %w", err)
	}
	if f["why"] == "" {
		return nil, nil
	}
	return &CopyTrouble{f["why"], unixMilli(f["since"])}, nil
}

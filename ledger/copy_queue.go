package ledger

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed copied.lua
	copiedSource string
	copiedScript = redis.NewScript(prelude + copiesSource + copiedSource)
	//go:embed take_copies.lua
	takeCopiesSource string
	takeCopiesScript = redis.NewScript(takeCopiesSource)
)

// TakeCopies leases at most n snapshots that have images to copy: from the batches in
// turn, and of each batch the earliest due first. Copied ends the lease. If it returns
// fewer than n, no other is due.
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
	// Snapshots that have expired or have nothing to copy any more leave the queue.
	var obsolete []Snapshot
	all = slices.DeleteFunc(all, func(s Snapshot) bool {
		if s.Count(Pending) > 0 {
			return false
		}
		obsolete = append(obsolete, s)
		return true
	})
	for _, s := range obsolete {
		if err := l.rdb.ZRem(ctx, l.ns.Copying(batchOf(s.ID)), s.ID).Err(); err != nil {
			return nil, fmt.Errorf("take images to copy: %w", err)
		}
	}
	return all, nil
}

// RenewCopies extends the leases of snapshots from TakeCopies to a lease from now on.
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

// Copied stores the Copies and the CopyProblem of a snapshot from TakeCopies, and ends
// its lease. Images that are still Pending are due again after wait. Errors: ErrLate
// if it has other images by now, or Redis'.
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
	return replyError(reply, err, "write the copies of snapshot %s", s.ID)
}

// CopyAgain queues the images of an ended snapshot that have no copy, lost ones
// included, and returns their number.
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
	return n, replyError(reply, err, "copy the images of snapshot %s again", s.ID)
}

// CopyTrouble says why no image can be copied at the moment.
type CopyTrouble struct {
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

// copyTroubleFor is how long a trouble is shown unless it is reported again.
const copyTroubleFor = 2 * time.Minute

// ReportCopyTrouble records for two minutes why no image can be copied, or with ""
// that images can be copied.
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
		return fmt.Errorf("record why no image is copied: %w", err)
	}
	return nil
}

// CopyTrouble returns why no image can be copied at the moment, or nil.
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

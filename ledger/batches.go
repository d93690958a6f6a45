package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Batches returns at most n batches, newest first; 0 means all.
func (l *Ledger) Batches(ctx context.Context, n int) ([]Batch, error) {
	ids, err := l.rdb.ZRevRange(ctx, l.ns.Batches(), 0, int64(n)-1).Result()
	if err != nil {
		return nil, fmt.Errorf("read batches: %w", err)
	}
	all, err := l.BatchesOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	return all, l.dropExpired(ctx)
}

// OpenBatches returns at most n batches that have not ended, newest first, and the
// total number of these.
func (l *Ledger) OpenBatches(ctx context.Context, n int) (newest []Batch, total int, err error) {
	return l.openBatches(ctx, l.rdb.ZRevRange, n)
}

// OldestOpen returns at most n batches that have not ended, oldest first.
func (l *Ledger) OldestOpen(ctx context.Context, n int) ([]Batch, error) {
	all, _, err := l.openBatches(ctx, l.rdb.ZRange, n)
	return all, err
}

func (l *Ledger) openBatches(
	ctx context.Context, read func(ctx context.Context, key string, start, stop int64) *redis.StringSliceCmd, n int,
) (all []Batch, total int, err error) {
	ids, err := read(ctx, l.ns.Running(), 0, int64(n)-1).Result()
	var number int64
	if err == nil {
		number, err = l.rdb.ZCard(ctx, l.ns.Running()).Result()
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read open batches: %w", err)
	}
	all, err = l.BatchesOf(ctx, ids)
	return all, int(number), err
}

// BatchesWithTrouble returns the ids of the batches that have failed snapshots,
// unknown outcomes or lost images, newest first. It reads three counters of every
// batch.
func (l *Ledger) BatchesWithTrouble(ctx context.Context) (ids []string, err error) {
	for all, err := range l.ranks(ctx, l.ns.Batches()) {
		if err != nil {
			return nil, err
		}
		pipe := l.rdb.Pipeline()
		counts := make([]*redis.SliceCmd, len(all))
		for i, id := range all {
			counts[i] = pipe.HMGet(ctx, l.ns.Batch(id), "failed", "unknown", "images_lost")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, fmt.Errorf("read batches: %w", err)
		}
		for i, id := range all {
			for _, v := range counts[i].Val() {
				if n, _ := v.(string); atoi(n) > 0 {
					ids = append(ids, id)
					break
				}
			}
		}
	}
	return ids, nil
}

// ErrCursor means that a cursor is not one that an earlier call has returned.
var ErrCursor = errors.New("not a cursor")

// BatchPage returns at most n batches, newest first, from the cursor of the previous
// page on; empty: from the newest on. next is the cursor of the next page, empty if
// there is none. Errors: ErrCursor, or Redis'.
func (l *Ledger) BatchPage(ctx context.Context, cursor string, n int) (all []Batch, next string, err error) {
	from, seen := "+inf", ""
	if cursor != "" {
		var ok bool
		from, seen, ok = strings.Cut(cursor, ".")
		if _, err := strconv.ParseInt(from, 10, 64); !ok || err != nil {
			return nil, "", ErrCursor
		}
	}
	var found []redis.Z
	for offset := int64(0); len(found) <= n; {
		got, err := l.rdb.ZRevRangeByScoreWithScores(ctx, l.ns.Batches(),
			&redis.ZRangeBy{Min: "-inf", Max: from, Offset: offset, Count: int64(n) + 1}).Result()
		if err != nil {
			return nil, "", fmt.Errorf("read batches: %w", err)
		}
		for _, z := range got {
			if score(z) != from || z.Member.(string) < seen { // else it was on the previous page
				found = append(found, z)
			}
		}
		if len(got) <= n {
			break
		}
		offset += int64(len(got))
	}
	if len(found) > n {
		found = found[:n]
		last := found[n-1]
		next = score(last) + "." + last.Member.(string)
	}
	all, err = l.BatchesOf(ctx, names(found))
	return all, next, err
}

// Cursor returns the cursor of the page after the batch.
func (b Batch) Cursor() string { return strconv.FormatInt(b.CreatedAt.UnixMilli(), 10) + "." + b.ID }

// CursorBefore returns the cursor of the batches that were created before t.
func CursorBefore(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) + "." }

func names(members []redis.Z) []string {
	ids := make([]string, len(members))
	for i, m := range members {
		ids[i] = m.Member.(string)
	}
	return ids
}

func score(z redis.Z) string { return strconv.FormatInt(int64(z.Score), 10) }

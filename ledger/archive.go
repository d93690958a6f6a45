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
	//go:embed archive.lua
	archiveSource string
	archiveScript = redis.NewScript(prelude + archiveSource)
)

// CopyFolder returns the folder of the copies of a batch. If the batch has none, it
// becomes folder. Errors: ErrNotFound, or Redis'.
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

// TakeArchives leases at most n batches whose copies may have changed since the lists
// in their folders were written. PostponeArchive ends the lease.
func (l *Ledger) TakeArchives(ctx context.Context, n int, lease time.Duration) ([]Batch, error) {
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

// PostponeArchive makes a batch due for TakeArchives after wait.
func (l *Ledger) PostponeArchive(ctx context.Context, batch string, wait time.Duration) error {
	now, err := l.rdb.Time(ctx).Result()
	if err == nil {
		err = l.rdb.ZAddXX(ctx, l.ns.Archives(), redis.Z{Score: float64(now.Add(wait).UnixMilli()), Member: batch}).Err()
	}
	if err != nil {
		return fmt.Errorf("postpone the lists of batch %s: %w", batch, err)
	}
	return nil
}

// Archive records that the lists of a batch are written; version identifies their
// content. If the batch has copies and none is pending, it also makes a notice of
// kind images.
func (l *Ledger) Archive(ctx context.Context, b Batch, version string) error {
	err := l.run(ctx, archiveScript, "", b.ID, nil, b.Archived, version,
		b.PendingImages == 0 && b.CopiedImages+b.LostImages > 0).Err()
	if err != nil {
		return fmt.Errorf("record the lists of batch %s: %w", b.ID, err)
	}
	return nil
}

// TouchFolder records that a folder of copies was written now.
func (l *Ledger) TouchFolder(ctx context.Context, folder string) error {
	err := l.rdb.ZAdd(ctx, l.ns.Folders(), redis.Z{Score: float64(time.Now().UnixMilli()), Member: folder}).Err()
	if err != nil {
		return fmt.Errorf("record folder %s: %w", folder, err)
	}
	return nil
}

// OldFolders returns at most 100 folders of copies that were last written longer ago
// than age.
func (l *Ledger) OldFolders(ctx context.Context, age time.Duration) ([]string, error) {
	old, err := l.rdb.ZRangeByScore(ctx, l.ns.Folders(), &redis.ZRangeBy{
		Min: "-inf", Max: strconv.FormatInt(time.Now().Add(-age).UnixMilli(), 10), Count: 100,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("read old folders: %w", err)
	}
	return old, nil
}

// ForgetFolder deletes the record of a folder of copies, which was removed.
func (l *Ledger) ForgetFolder(ctx context.Context, folder string) error {
	if err := l.rdb.ZRem(ctx, l.ns.Folders(), folder).Err(); err != nil {
		return fmt.Errorf("forget folder %s: %w", folder, err)
	}
	return nil
}

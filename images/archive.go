package images

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

const (
	// archiveEvery is the time between two polls for batches whose lists may be due. A poll takes at most
	// archiveMany batches.
	archiveEvery, archiveMany = 250 * time.Millisecond, 4
	// A batch that is in progress or has images to copy is checked again after archiveSoon, a large one after
	// archivePerRoom for each room. A complete batch is checked each archiveLate, because a retry may change it.
	archiveSoon, archiveLate = 500 * time.Millisecond, 10 * time.Minute
	archivePerRoom           = 10 * time.Millisecond
	// imagelessEvery is the time between two searches for batches without an image to copy. A search reads the
	// imagelessMany newest batches and takes those that ended within imagelessWithin.
	imagelessEvery, imagelessMany, imagelessWithin = 10 * time.Second, 100, 24 * time.Hour
)

// archiveAll writes the lists of each batch that has ended. It writes them again when the batch has changed.
func (c *Copier) archiveAll(ctx context.Context) {
	var searched time.Time
	for pause(ctx, archiveEvery) {
		if c.storeErr() != nil {
			continue
		}
		// Two copiers may take the same batch if a lease runs out. Both write the same lists.
		batches, err := c.Ledger.TakeArchives(ctx, archiveMany, c.Lease)
		if err == nil && time.Since(searched) >= imagelessEvery {
			searched = time.Now()
			var imageless []ledger.Batch
			imageless, err = c.imageless(ctx)
			batches = append(batches, imageless...)
		}
		for _, b := range batches {
			if err == nil {
				err = c.archive(ctx, b)
			}
		}
		if err != nil && ctx.Err() == nil {
			c.Log.Warn("cannot write the lists of a batch, retrying", "err", err)
			pause(ctx, time.Second)
		}
	}
}

// imageless returns the batches without an image to copy whose lists are due. Their rooms failed, or their images
// are in a bucket of the user. Their results must outlive the records in Redis, too.
func (c *Copier) imageless(ctx context.Context) ([]ledger.Batch, error) {
	all, err := c.Ledger.Batches(ctx, imagelessMany)
	return slices.DeleteFunc(all, func(b ledger.Batch) bool {
		return !b.Ended() || Archived(b) || time.Since(b.EndedAt) > imagelessWithin || imagesToCopy(b) > 0
	}), err
}

// imagesToCopy returns how many images of a batch were or are to be copied.
func imagesToCopy(b ledger.Batch) int { return b.CopiedImages + b.PendingImages + b.LostImages }

// archiveVersion identifies the state of a batch that its lists show.
func archiveVersion(b ledger.Batch) string {
	return fmt.Sprint(b.EndedAt.UnixMilli(), b.CopiedImages, b.PendingImages, b.LostImages)
}

// Archived reports whether the lists of a batch are written and show its present state.
func Archived(b ledger.Batch) bool { return b.Ended() && b.Archived == archiveVersion(b) }

// archive writes the lists of one batch if they are due, and says when to check the batch again.
func (c *Copier) archive(ctx context.Context, b ledger.Batch) error {
	soon := min(max(archiveSoon, time.Duration(b.Total)*archivePerRoom), c.Lease)
	switch {
	case !b.Ended():
		return c.Ledger.PostponeArchive(ctx, b.ID, archiveSoon)
	case Archived(b) && b.PendingImages > 0:
		return c.Ledger.PostponeArchive(ctx, b.ID, soon)
	case Archived(b):
		return c.Ledger.PostponeArchive(ctx, b.ID, archiveLate)
	}
	err := c.writeLists(ctx, b)
	var storeErr *StoreError
	if errors.As(err, &storeErr) {
		c.storeFailed(err)
	}
	if err == nil {
		err = c.Ledger.Archive(ctx, b, archiveVersion(b))
	}
	later := context.WithoutCancel(ctx)
	return errors.Join(err, c.Ledger.PostponeArchive(later, b.ID, soon))
}

// writeLists writes the lists of a batch into its folder. URLs of copies are relative to the folder.
func (c *Copier) writeLists(ctx context.Context, b ledger.Batch) (err error) {
	if b.Folder == "" {
		if b.Folder, err = c.folderOf(ctx, b.ID); err != nil {
			return err
		}
	}
	relative := func(yield func(results.Result, error) bool) {
		for r, err := range c.Results.Batch(ctx, b, 1, b.Total) {
			for i := range r.CopyList {
				r.CopyList[i].URL = strings.TrimPrefix(Name(r.Snapshot, i+1), b.Folder+"/")
			}
			if !yield(r, err) {
				return
			}
		}
	}
	if err := WriteLists(ctx, c.Store, b.Folder, b, relative); err != nil {
		return fmt.Errorf("lists of batch %s: %w", b.ID, err)
	}
	return c.Ledger.TouchFolder(ctx, b.Folder)
}

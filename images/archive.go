package images

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

const (
	// archiveEvery is how often batches are looked for whose lists may have to be
	// written, and archiveMany how many are handled in one go.
	archiveEvery, archiveMany = 250 * time.Millisecond, 4
	// While a batch has images to copy, or has not ended, it is looked at again
	// after archiveSoon, or longer where it is large; then each archiveLate, as a
	// retry may change it.
	archiveSoon, archiveLate = 500 * time.Millisecond, 10 * time.Minute
	archivePerRoom           = 10 * time.Millisecond
	// bareEvery is how often the bareMany newest batches are looked at for those that
	// have ended within bareWithin and have no image to copy.
	bareEvery, bareMany, bareWithin = 10 * time.Second, 100, 24 * time.Hour
	// cleanEvery is how often old copies are looked for.
	cleanEvery = time.Hour
)

// Writer is what a Store and a Zip have in common.
type Writer interface {
	Put(ctx context.Context, name, mediaType string, fill func(io.Writer) error) error
}

// WriteLists writes what stands beside the copies of a batch into its folder:
// results.csv, as Excel opens it, results.jsonl, and index.html, a page that needs
// nothing but the folder. The URLs of copies in the results are relative to it.
func WriteLists(ctx context.Context, w Writer, folder string, b ledger.Batch,
	all iter.Seq2[results.Result, error]) error {
	var n counts
	sheet, err := results.NewSheet(b.Labels, time.UTC, func(yield func(results.Result, error) bool) {
		for r, err := range all {
			n.add(r)
			if !yield(r, err) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	defer sheet.Close()
	err = w.Put(ctx, path.Join(folder, "results.csv"), "text/csv; charset=utf-8", sheet.WriteCSV)
	if err != nil {
		return err
	}
	err = w.Put(ctx, path.Join(folder, "results.jsonl"), "application/x-ndjson", func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return sheet.Each(func(r results.Result) error { return enc.Encode(r) })
	})
	if err != nil {
		return err
	}
	return w.Put(ctx, path.Join(folder, "index.html"), "text/html; charset=utf-8", func(w io.Writer) error {
		return writeIndex(w, b, n, sheet.Each)
	})
}

// archiveAll writes the lists of batches that have ended, and again when they have
// changed.
func (c *Copier) archiveAll(ctx context.Context) {
	var looked time.Time
	for pause(ctx, archiveEvery) {
		c.mu.Lock()
		away := c.trouble != nil
		c.mu.Unlock()
		if away {
			continue
		}
		batches, err := c.Ledger.Archives(ctx, archiveMany, c.Lease) // whoever is slower writes the same
		if err == nil && time.Since(looked) >= bareEvery {
			looked = time.Now()
			var bare []ledger.Batch
			bare, err = c.bare(ctx)
			batches = append(batches, bare...)
		}
		for _, b := range batches {
			if err == nil {
				err = c.archive(ctx, b)
			}
		}
		if err != nil && ctx.Err() == nil {
			c.Log.Warn("lists of copies wait", "err", err)
			pause(ctx, time.Second)
		}
	}
}

// bare are batches without an image to copy whose lists are to be written: what has
// failed, or lies in a bucket of the user's own, is to be known in ten years, too.
func (c *Copier) bare(ctx context.Context) ([]ledger.Batch, error) {
	all, err := c.Ledger.Batches(ctx, bareMany)
	return slices.DeleteFunc(all, func(b ledger.Batch) bool {
		return !b.Ended() || Archived(b) || time.Since(b.EndedAt) > bareWithin || copiesOf(b) > 0
	}), err
}

// copiesOf is how many images of a batch were to be copied.
func copiesOf(b ledger.Batch) int { return b.CopiedImages + b.PendingImages + b.LostImages }

// archivedAs stands for the batch as lists are written of it.
func archivedAs(b ledger.Batch) string {
	return fmt.Sprint(b.EndedAt.UnixMilli(), b.CopiedImages, b.PendingImages, b.LostImages)
}

// Archived reports whether the lists of a batch are written as it is now.
func Archived(b ledger.Batch) bool { return b.Ended() && b.Archived == archivedAs(b) }

// archive writes the lists of one batch, if they are to be written.
func (c *Copier) archive(ctx context.Context, b ledger.Batch) error {
	soon := min(max(archiveSoon, time.Duration(b.Total)*archivePerRoom), c.Lease)
	switch {
	case !b.Ended():
		return c.Ledger.ArchiveLater(ctx, b.ID, archiveSoon)
	case Archived(b) && b.PendingImages > 0:
		return c.Ledger.ArchiveLater(ctx, b.ID, soon)
	case Archived(b):
		return c.Ledger.ArchiveLater(ctx, b.ID, archiveLate)
	}
	err := c.writeLists(ctx, b)
	var away *StoreError
	if errors.As(err, &away) {
		c.storeFailed(err)
	}
	if err == nil {
		err = c.Ledger.Archive(ctx, b, archivedAs(b))
	}
	later := context.WithoutCancel(ctx)
	return errors.Join(err, c.Ledger.ArchiveLater(later, b.ID, soon))
}

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
	return c.Ledger.KeepFolder(ctx, b.Folder)
}

// cleanUp removes copies that are older than they are to be kept, and what killed
// processes have left in a folder.
func (c *Copier) cleanUp(ctx context.Context) {
	for {
		if err := c.cleanUpOnce(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn("old copies of images stay for now", "err", err)
		}
		if !pause(ctx, cleanEvery) {
			return
		}
	}
}

func (c *Copier) cleanUpOnce(ctx context.Context) error {
	if f, ok := c.Store.(folder); ok {
		if err := f.clean(); err != nil {
			return err
		}
	}
	if c.Keep == 0 {
		return nil
	}
	old, err := c.Ledger.OldFolders(ctx, c.Keep)
	if err != nil {
		return err
	}
	for _, name := range old {
		for _, name := range []string{name, path.Join(thumbFolder, name)} {
			if err := c.Store.RemoveAll(ctx, name); err != nil {
				return err
			}
		}
		if err := c.Ledger.ForgetFolder(ctx, name); err != nil {
			return err
		}
		c.Log.Info("old copies of images deleted", "folder", name, "older_than", c.Keep)
	}
	return nil
}

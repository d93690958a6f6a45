package images

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strconv"
	"time"

	"tiwsnap/internal/spool"
	"tiwsnap/ledger"
	"tiwsnap/results"
)

// Exported is what Export has done.
type Exported struct {
	Images  int // that are there now
	Kept    int // of them, those that were there already
	Missing int // that could not be read, or are gone
	Why     error
}

// Export writes the images of a batch, from wherever they are, and its lists into the
// folder of w that has the id of the batch. Images that are there already stay, so
// that it can be called again; those that are older than the end of their snapshot
// are another batch's. An image that cannot be read is counted, and the others go
// on. Errors: those of w, of the results, or of ctx.
func Export(
	ctx context.Context, w Writer, s *Source, b ledger.Batch, all iter.Seq2[results.Result, error],
) (Exported, error) {
	folder := b.ID
	var done Exported
	exporting := func(yield func(results.Result, error) bool) {
		for r, err := range all {
			if err == nil {
				err = s.export(ctx, w, folder, &r, &done)
			}
			if !yield(r, err) {
				return
			}
		}
	}
	// The lists are written last, and read the results to their end first.
	err := WriteLists(ctx, w, folder, b, exporting)
	return done, err
}

// export writes the images of one snapshot, and says in its CopyList where.
func (s *Source) export(ctx context.Context, w Writer, folder string, r *results.Result, done *Exported) error {
	own := r.Snapshot
	own.Folder = ""
	for i := range r.CopyList {
		format, kept, err := s.exportImage(ctx, w, path.Join(folder, Folder(own)), r.Snapshot, i+1)
		var away *StoreError
		switch {
		case err == nil:
			done.Images++
			if kept {
				done.Kept++
			}
			name := path.Join(Folder(own), strconv.Itoa(i+1)+"."+string(format))
			r.CopyList[i] = results.Copy{State: string(ledger.Copied), URL: name}
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &away):
			return err
		default:
			done.Missing++
			done.Why = fmt.Errorf("image %d of snapshot %s: %w", i+1, r.ID, err)
			r.CopyList[i] = results.Copy{State: string(ledger.Remote)}
			if errors.Is(err, ErrGone) {
				r.CopyList[i].State = "gone"
			}
		}
	}
	return nil
}

func (s *Source) exportImage(
	ctx context.Context, w Writer, folder string, snap ledger.Snapshot, n int,
) (format Format, kept bool, err error) {
	if store, ok := w.(Store); ok {
		for _, f := range []Format{PNG, JPEG} {
			o, err := store.Open(ctx, path.Join(folder, strconv.Itoa(n)+"."+string(f)))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return "", false, err
			}
			o.Close()
			if !o.Modified.Before(snap.EndedAt) {
				return f, true, nil
			}
		}
	}
	p, err := s.Open(ctx, snap, n)
	if err != nil {
		return "", false, err
	}
	defer p.Close()
	name := path.Join(folder, strconv.Itoa(n)+"."+string(p.Format))
	return p.Format, false, w.Put(ctx, name, p.Format.MediaType(), func(w io.Writer) error {
		_, err := io.Copy(w, p)
		return err
	})
}

// Zip is a Writer of a ZIP archive. Close it, or Discard it.
type Zip struct {
	w     *zip.Writer
	at    time.Time
	entry spool.Spool // of what is being put: one for all, as there may be a million
}

// NewZip returns an archive that is written to w as it comes. at is the time of what
// is in it.
func NewZip(w io.Writer, at time.Time) *Zip { return &Zip{w: zip.NewWriter(w), at: at} }

// Put has what it puts in memory, or in a temporary file, first: an entry that was
// begun cannot be taken back.
func (z *Zip) Put(_ context.Context, name, mediaType string, fill func(io.Writer) error) error {
	if err := z.entry.Reset(); err != nil {
		return err
	}
	if err := fill(&z.entry); err != nil {
		return err
	}
	r, err := z.entry.Reader()
	if err != nil {
		return err
	}
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: z.at}
	if mediaType == PNG.MediaType() || mediaType == JPEG.MediaType() {
		h.Method = zip.Store // they are compressed
	}
	entry, err := z.w.CreateHeader(h)
	if err == nil {
		_, err = io.Copy(entry, r)
	}
	if err != nil {
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}

// Close writes the directory of the archive. The writer stays the caller's.
func (z *Zip) Close() error {
	z.Discard()
	return z.w.Close()
}

// Discard removes the temporary file of an archive that is not to be finished.
func (z *Zip) Discard() { z.entry.Close() }

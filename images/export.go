package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strconv"

	"tiwsnap/ledger"
	"tiwsnap/results"
)

// Exported counts what Export has done.
type Exported struct {
	Images  int   // in the folder now
	Kept    int   // of these, images that were in the folder before
	Missing int   // could not be read
	Why     error // why the last missing image could not be read
}

// Export writes the images of a batch and its lists into the folder of w that is named by the id of the batch. It reads
// each image from the copy or from Tencent. Export can be repeated: an image that is in the folder stays, unless it is
// older than the end of its snapshot and therefore of another batch. An image that cannot be read is counted, and the
// export goes on. Errors: those of w, of the results, or of ctx.
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
	// WriteLists reads all results, and thereby exports the images, before it writes the first list.
	err := WriteLists(ctx, w, folder, b, exporting)
	return done, err
}

// export writes the images of one snapshot, and sets their place in its CopyList.
func (s *Source) export(ctx context.Context, w Writer, folder string, r *results.Result, done *Exported) error {
	own := r.Snapshot
	own.Folder = ""
	for i := range r.CopyList {
		format, kept, err := s.exportImage(ctx, w, path.Join(folder, Folder(own)), r.Snapshot, i+1)
		var storeErr *StoreError
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
		case errors.As(err, &storeErr):
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

// exportImage writes image n of a snapshot into a folder, unless w has it (kept).
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

package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"tiwsnap/ledger"
)

var (
	// ErrNoImage means that a snapshot has no image of that number.
	ErrNoImage = errors.New("there is no such image")
	// ErrGone means that an image was deleted: by Tencent before it was copied, or from the store.
	ErrGone = errors.New("the image is gone")
)

// Source opens images wherever they are: the copy if there is one, else the original at Tencent.
type Source struct {
	Store   Store // nil: none
	Fetcher *Fetcher
}

// Opened is an image that a Source has opened. Close it.
type Opened struct {
	io.ReadCloser
	Format Format
	Size   int64         // bytes; -1 if it is not known
	Seeker io.ReadSeeker // the same image, if it is a copy; else nil
}

// Open opens image n of a snapshot, from 1. Errors: ErrNoImage, ErrGone, a
// *StoreError, a *FetchError, or that of ctx.
func (s *Source) Open(ctx context.Context, snap ledger.Snapshot, n int) (*Opened, error) {
	if n < 1 || n > len(snap.Images) {
		return nil, ErrNoImage
	}
	name := Name(snap, n)
	switch {
	case name != "" && s.Store == nil:
		return nil, fmt.Errorf("%w here: it was copied, and this process has no store: "+
			"set TIWSNAP_IMAGES_STORE as the workers have it", ErrGone)
	case name != "":
		o, err := s.Store.Open(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: its copy %s is not in the store", ErrGone, name)
		}
		if err != nil {
			return nil, err
		}
		return &Opened{o, Format(path.Ext(name)[1:]), o.Size, o}, nil
	case snap.Gone(time.Now()):
		return nil, fmt.Errorf("%w: Tencent keeps images for three days, and it was not copied", ErrGone)
	}
	img, err := s.Fetcher.Open(ctx, snap.Images[n-1])
	if err != nil {
		return nil, err
	}
	return &Opened{img, img.Format, img.Size, nil}, nil
}

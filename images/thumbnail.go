package images

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/image/draw"
	"golang.org/x/sync/singleflight"

	"tiwsnap/ledger"
)

const (
	// thumbFolder is where thumbnails are kept in a store, under the names of
	// their images.
	thumbFolder = ".thumbnails"
	// thumbQuality is that of a JPEG: lines stay clear, and 320 pixels take about
	// 10 kB.
	thumbQuality = 80
	// thumbMakers is how many thumbnails a process makes at a time. One takes up
	// to 200 MB for a moment, and 4 MB mostly.
	thumbMakers = 2
	// maxPixels is the most that an image may have for a thumbnail to be made of
	// it: a few bytes of PNG can claim any number.
	maxPixels = 50_000_000
	// thumbMemory bounds the thumbnails of images that have no copy, in bytes.
	thumbMemory = 8 << 20
)

// Thumbnails makes thumbnails, once each: those of copies are kept in the store,
// the others in memory, the most recent ones. It is safe for concurrent use.
type Thumbnails struct {
	source *Source
	once   singleflight.Group
	makers chan struct{}

	mu   sync.Mutex
	by   map[string]*list.Element
	used *list.List // of kept, the most recent first
	size int
}

type kept struct {
	name string
	jpeg []byte
}

// NewThumbnails returns what makes thumbnails of the images of a source.
func NewThumbnails(s *Source) *Thumbnails {
	return &Thumbnails{source: s, makers: make(chan struct{}, thumbMakers), by: map[string]*list.Element{},
		used: list.New()}
}

// Open returns image n of a snapshot, from 1, as a JPEG of at most that width in
// pixels. Errors are those of Source.Open.
func (t *Thumbnails) Open(ctx context.Context, snap ledger.Snapshot, n, width int) ([]byte, error) {
	if n < 1 || n > len(snap.Images) {
		return nil, ErrNoImage
	}
	name := snap.Images[n-1]
	copied := snap.Copies[n-1].State == ledger.Copied && t.source.Store != nil
	if copied {
		name = Name(snap, n)
	}
	name = thumbName(name, width)
	if !copied {
		if b := t.remembered(name); b != nil && !snap.Gone(time.Now()) {
			return b, nil
		}
	}
	made := t.once.DoChan(name, func() (any, error) {
		// Others may wait for it when this caller has left.
		make, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchWithin)
		defer cancel()
		if copied {
			if b, err := readAll(make, t.source.Store, name); !errors.Is(err, fs.ErrNotExist) {
				return b, err
			}
		}
		t.makers <- struct{}{}
		defer func() { <-t.makers }()
		b, err := t.make(make, snap, n, width)
		if err != nil {
			return nil, err
		}
		if !copied {
			t.remember(name, b)
			return b, nil
		}
		err = t.source.Store.Put(make, name, JPEG.MediaType(), func(w io.Writer) error {
			_, err := w.Write(b)
			return err
		})
		var full *StoreError
		if errors.As(err, &full) {
			err = nil // it is made again next time
		}
		return b, err
	})
	select {
	case r := <-made:
		b, _ := r.Val.([]byte)
		return b, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// thumbName is the name of the thumbnail of an image.
func thumbName(name string, width int) string {
	return path.Join(thumbFolder, fmt.Sprintf("%s-%d.jpg", strings.TrimSuffix(name, path.Ext(name)), width))
}

func readAll(ctx context.Context, s Store, name string) ([]byte, error) {
	o, err := s.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(io.LimitReader(o, thumbMemory))
}

func (t *Thumbnails) make(ctx context.Context, snap ledger.Snapshot, n, width int) ([]byte, error) {
	p, err := t.source.Open(ctx, snap, n)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return thumbnail(p, p.Format, width)
}

// thumbnail reads an image and returns it as a JPEG on white, no wider than
// width.
func thumbnail(r io.Reader, f Format, width int) ([]byte, error) {
	decode, header := png.Decode, png.DecodeConfig
	if f == JPEG {
		decode, header = jpeg.Decode, jpeg.DecodeConfig
	}
	var head bytes.Buffer
	c, err := header(io.TeeReader(r, &head))
	switch {
	case err != nil:
		return nil, fmt.Errorf("make a thumbnail: %w", err)
	case c.Width*c.Height > maxPixels:
		return nil, fmt.Errorf("make a thumbnail: the image claims to be %d by %d pixels", c.Width, c.Height)
	}
	img, err := decode(io.MultiReader(&head, r))
	if err != nil {
		return nil, fmt.Errorf("make a thumbnail: %w", err)
	}
	width = min(width, c.Width)
	small := image.NewRGBA(image.Rect(0, 0, width, max(1, c.Height*width/c.Width)))
	draw.Draw(small, small.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.CatmullRom.Scale(small, small.Bounds(), img, img.Bounds(), draw.Over, nil)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, small, &jpeg.Options{Quality: thumbQuality}); err != nil {
		return nil, fmt.Errorf("make a thumbnail: %w", err)
	}
	return b.Bytes(), nil
}

func (t *Thumbnails) remembered(name string) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.by[name]
	if e == nil {
		return nil
	}
	t.used.MoveToFront(e)
	return e.Value.(kept).jpeg
}

func (t *Thumbnails) remember(name string, b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.by[name] = t.used.PushFront(kept{name, b})
	for t.size += len(b); t.size > thumbMemory; {
		last := t.used.Remove(t.used.Back()).(kept)
		t.size -= len(last.jpeg)
		delete(t.by, last.name)
	}
}

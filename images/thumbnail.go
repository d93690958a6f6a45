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
	// thumbFolder holds the thumbnails in a store, under the names of their images.
	thumbFolder = ".thumbnails"
	// thumbQuality is the quality of a JPEG: lines stay sharp, and a width of 320 pixels takes about 10 kB.
	thumbQuality = 80
	// thumbWorkers is how many thumbnails a process makes at a time. One takes up to 200 MB for a moment, usually 4 MB.
	thumbWorkers = 2
	// maxPixels bounds the size of an image: a few bytes of PNG can claim any number of pixels.
	maxPixels = 50_000_000
	// thumbCache bounds the thumbnails of images without a copy, in bytes.
	thumbCache = 8 << 20
)

// Thumbnails makes each thumbnail once. It keeps thumbnails of copies in the store, and others in a cache in memory. It
// is safe for concurrent use.
type Thumbnails struct {
	source  *Source
	once    singleflight.Group
	workers chan struct{}

	mu     sync.Mutex
	cache  map[string]*list.Element
	recent *list.List // of cached, the most recently used first
	size   int        // bytes of all
}

type cached struct {
	name string
	jpeg []byte
}

// NewThumbnails returns the thumbnails of the images of a source.
func NewThumbnails(s *Source) *Thumbnails {
	return &Thumbnails{source: s, workers: make(chan struct{}, thumbWorkers), cache: map[string]*list.Element{},
		recent: list.New()}
}

// Open returns a JPEG of image n of a snapshot, from 1, at most width pixels wide. Errors are those of Source.Open.
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
		if b := t.cached(name); b != nil && !snap.Gone(time.Now()) {
			return b, nil
		}
	}
	made := t.once.DoChan(name, func() (any, error) {
		// Other callers may wait for the thumbnail after this one has left.
		make, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchWithin)
		defer cancel()
		if copied {
			if b, err := readAll(make, t.source.Store, name); !errors.Is(err, fs.ErrNotExist) {
				return b, err
			}
		}
		t.workers <- struct{}{}
		defer func() { <-t.workers }()
		b, err := t.make(make, snap, n, width)
		if err != nil {
			return nil, err
		}
		if !copied {
			t.addToCache(name, b)
			return b, nil
		}
		err = t.source.Store.Put(make, name, JPEG.MediaType(), func(w io.Writer) error {
			_, err := w.Write(b)
			return err
		})
		var storeErr *StoreError
		if errors.As(err, &storeErr) {
			err = nil // the next request makes the thumbnail again
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

// thumbName returns the name of the thumbnail of an image.
func thumbName(name string, width int) string {
	return path.Join(thumbFolder, fmt.Sprintf("%s-%d.jpg", strings.TrimSuffix(name, path.Ext(name)), width))
}

func readAll(ctx context.Context, s Store, name string) ([]byte, error) {
	o, err := s.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(io.LimitReader(o, thumbCache))
}

func (t *Thumbnails) make(ctx context.Context, snap ledger.Snapshot, n, width int) ([]byte, error) {
	p, err := t.source.Open(ctx, snap, n)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return thumbnail(p, p.Format, width)
}

// thumbnail reads an image and returns it as a JPEG on white, at most width pixels wide.
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

// cached returns a thumbnail of the cache, or nil.
func (t *Thumbnails) cached(name string) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.cache[name]
	if e == nil {
		return nil
	}
	t.recent.MoveToFront(e)
	return e.Value.(cached).jpeg
}

func (t *Thumbnails) addToCache(name string, b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cache[name] = t.recent.PushFront(cached{name, b})
	for t.size += len(b); t.size > thumbCache; {
		oldest := t.recent.Remove(t.recent.Back()).(cached)
		t.size -= len(oldest.jpeg)
		delete(t.cache, oldest.name)
	}
}

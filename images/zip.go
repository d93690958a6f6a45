package images

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"time"

	"tiwsnap/internal/spool"
)

// Zip writes a ZIP archive. Close it, or Discard it.
type Zip struct {
	w     *zip.Writer
	at    time.Time
	entry spool.Spool // the entry being written; reused, because there may be a million
}

// NewZip returns an archive that is streamed to w. All entries get the time at.
func NewZip(w io.Writer, at time.Time) *Zip { return &Zip{w: zip.NewWriter(w), at: at} }

// Put buffers the entry in memory or in a temporary file first, because a partly written entry cannot be undone.
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
		h.Method = zip.Store // images are compressed already
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

// Close writes the directory of the archive. It does not close the writer.
func (z *Zip) Close() error {
	z.Discard()
	return z.w.Close()
}

// Discard removes the temporary file of an archive that will not be finished.
func (z *Zip) Discard() { z.entry.Close() }

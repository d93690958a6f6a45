package images

import (
	"bytes"
	"context"
	"fmt"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
)

// Image is an image that a Fetcher is reading. Read returns io.EOF only if the image is whole. Close it.
type Image struct {
	Format Format
	Size   int64 // bytes; -1 if the host does not say

	host string
	max  int64
	body io.Reader // the whole body, with the header that was read before
	resp *http.Response
	stop context.CancelFunc
	n    int64   // bytes read so far
	tail [8]byte // the last of them
	done bool    // the end marker of the image was among them
}

// Format is the format of an image, and the extension of its file name.
type Format string

const (
	PNG  Format = "png"
	JPEG Format = "jpg"
)

// MediaType returns the media type of the format.
func (f Format) MediaType() string {
	if f == JPEG {
		return "image/jpeg"
	}
	return "image/png"
}

// readHeader reads the header and sets the format. It fails if the header is damaged.
func (i *Image) readHeader(r io.Reader) error {
	var magic [2]byte
	if _, err := io.ReadFull(r, magic[:]); err != nil {
		return fmt.Errorf("it is cut off: %w", err)
	}
	decode := png.DecodeConfig
	switch magic {
	case [2]byte{0x89, 'P'}:
		i.Format = PNG
	case [2]byte{0xff, 0xd8}:
		i.Format, decode = JPEG, jpeg.DecodeConfig
	default:
		return fmt.Errorf("it is neither PNG nor JPEG: it begins with %q", magic)
	}
	if _, err := decode(io.MultiReader(bytes.NewReader(magic[:]), r)); err != nil {
		return fmt.Errorf("its header cannot be read: %w", err)
	}
	return nil
}

// Read returns io.EOF only at the end of a whole image. Other errors are a *FetchError.
func (i *Image) Read(p []byte) (int, error) {
	n, err := i.body.Read(p)
	i.n += int64(n)
	i.findEnd(p[:n])
	switch {
	case i.n > i.max:
		err = &FetchError{Host: i.host, Err: fmt.Errorf("it has more than %d bytes", i.max)}
	case err == io.EOF && !i.done: // even if Content-Length was right
		err = &FetchError{Host: i.host, Err: fmt.Errorf("it is cut off after %d bytes", i.n)}
	case err != nil && err != io.EOF:
		err = &FetchError{Host: i.host, Err: fmt.Errorf("it breaks off after %d bytes: %w", i.n, err)}
	}
	return n, err
}

// findEnd searches the next bytes for the marker that ends the image. Bytes after it do no harm. In a JPEG the marker
// counts only after the last start of a scan, because thumbnails in the header have both markers.
func (i *Image) findEnd(p []byte) {
	if len(p) == 0 {
		return
	}
	seam := append(i.tail[:len(i.tail):len(i.tail)], p[:min(len(p), len(i.tail))]...)
	copy(i.tail[:], seam[len(seam)-len(i.tail):])
	if len(p) > len(i.tail) {
		copy(i.tail[:], p[len(p)-len(i.tail):])
	}
	for _, part := range [][]byte{seam, p} {
		if i.Format == PNG {
			i.done = i.done || bytes.Contains(part, []byte("IEND\xae\x42\x60\x82"))
			continue
		}
		end, scan := bytes.LastIndex(part, []byte{0xff, 0xd9}), bytes.LastIndex(part, []byte{0xff, 0xda})
		if end >= 0 || scan >= 0 {
			i.done = end > scan
		}
	}
}

// Close aborts the request if it is still running.
func (i *Image) Close() error {
	i.stop()
	return i.resp.Body.Close()
}

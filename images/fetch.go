package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/time/rate"

	"tiwsnap/internal/guard"
)

const (
	// MaxBytes is the size of an image at most.
	MaxBytes = 40 << 20
	// maxHeader is where the header of an image ends at the latest.
	maxHeader = 1 << 20
	// maxRedirects is how many redirects of one image are followed.
	maxRedirects = 5
	// headersWithin bounds the time to the headers of an answer, and
	// fetchWithin that of a whole image.
	headersWithin, fetchWithin = 15 * time.Second, 2 * time.Minute
)

// FetcherOptions are the settings of a Fetcher.
type FetcherOptions struct {
	Private  guard.Private // hosts of images that may be at a private address
	Requests rate.Limit    // requests a second; default: no bound
	Bytes    rate.Limit    // bytes a second; default: no bound
	MaxBytes int64         // of one image; default MaxBytes
	Timeout  time.Duration // of one image; default 2 min
}

// Fetcher reads images from the hosts that results name. It never reads from a
// private network, and checks what comes. It is safe for concurrent use.
type Fetcher struct {
	o               FetcherOptions
	dialer          *guard.Dialer
	transport       *http.Transport
	client          *http.Client
	requests, bytes *rate.Limiter
}

// NewFetcher returns a fetcher. Close it.
func NewFetcher(o FetcherOptions) *Fetcher {
	if o.MaxBytes == 0 {
		o.MaxBytes = MaxBytes
	}
	if o.Timeout == 0 {
		o.Timeout = fetchWithin
	}
	f := &Fetcher{o: o, dialer: o.Private.Dialer(0)}
	f.requests, f.bytes = limiter(o.Requests), limiter(o.Bytes)
	f.transport = &http.Transport{
		Proxy:                  nil, // it would dial in our place, past the guard
		DialContext:            f.dialer.DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  headersWithin,
		DisableCompression:     true, // so that Content-Length is that of the image
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        30 * time.Second,
		ForceAttemptHTTP2:      true,
	}
	f.client = &http.Client{Transport: f.transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		return checkURL(r.URL)
	}}
	return f
}

// limiter allows r in each second, all of it at once if need be.
func limiter(r rate.Limit) *rate.Limiter {
	if r == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(r, max(1, int(r)))
}

// Close closes the idle connections.
func (f *Fetcher) Close() { f.transport.CloseIdleConnections() }

func checkURL(u *url.URL) error {
	if u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return errors.New("is neither an https:// nor an http:// URL")
	}
	return nil
}

// FetchError says why an image could not be read. It names the host alone: the
// rest of a URL may be a key.
type FetchError struct {
	Host   string
	Status int // of the answer, where that is the reason; else 0
	Err    error
}

func (e *FetchError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("%s answered %d %s", e.Host, e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("image of %s: %v", e.Host, e.Err)
}

func (e *FetchError) Unwrap() error { return e.Err }

// Image is an image that is being read. Read returns io.EOF only where all of it
// has come. Close it.
type Image struct {
	Format Format
	Size   int64 // bytes; -1 where the host does not tell

	host string
	max  int64
	body io.Reader // with what was read of it already
	resp *http.Response
	stop context.CancelFunc
	n    int64   // bytes so far
	tail [8]byte // the last ones
	done bool    // the end of the image is among them
}

// Format is the format of an image, as file names end.
type Format string

// The formats.
const (
	PNG  Format = "png"
	JPEG Format = "jpg"
)

// MediaType is the media type of the format.
func (f Format) MediaType() string {
	if f == JPEG {
		return "image/jpeg"
	}
	return "image/png"
}

// Open begins to read an image, follows redirects, and checks its header. The
// error is a *FetchError, or that of ctx.
func (f *Fetcher) Open(ctx context.Context, rawURL string) (*Image, error) {
	u, err := url.Parse(rawURL)
	if err == nil {
		err = checkURL(u)
	}
	if err != nil {
		return nil, &FetchError{Host: "unknown host", Err: errors.New("its URL cannot be read")}
	}
	if err := f.requests.Wait(ctx); err != nil {
		return nil, err
	}
	fetch, cancel := context.WithTimeout(ctx, f.o.Timeout)
	img, err := f.open(fetch, u)
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	img.stop = cancel
	return img, nil
}

func (f *Fetcher) open(ctx context.Context, u *url.URL) (*Image, error) {
	fail := func(err error) error {
		var e *url.Error // has the whole URL in its text
		if errors.As(err, &e) {
			err = e.Err
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("not read within %s: %w", f.o.Timeout, ctx.Err())
		}
		return &FetchError{Host: u.Host, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fail(errors.New("its URL cannot be read"))
	}
	req.Header.Set("User-Agent", "tiwsnap")
	req.Header.Set("Accept", "image/png, image/jpeg")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fail(err)
	}
	img := &Image{host: u.Host, max: f.o.MaxBytes, resp: resp, Size: resp.ContentLength}
	err = func() error {
		switch {
		case resp.StatusCode != http.StatusOK:
			return &FetchError{Host: u.Host, Status: resp.StatusCode}
		case img.Size > img.max:
			return fail(fmt.Errorf("it has %d bytes, more than %d", img.Size, img.max))
		}
		body := &slowed{ctx, resp.Body, f.bytes}
		var head bytes.Buffer
		if err := img.readHeader(io.TeeReader(io.LimitReader(body, maxHeader), &head)); err != nil {
			return fail(err)
		}
		img.body = io.MultiReader(&head, body)
		return nil
	}()
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return img, nil
}

// readHeader reads format and size in pixels.
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
		return fmt.Errorf("it is no PNG or JPEG but begins with %q", magic)
	}
	if _, err := decode(io.MultiReader(bytes.NewReader(magic[:]), r)); err != nil {
		return fmt.Errorf("its header cannot be read: %w", err)
	}
	return nil
}

// Read returns io.EOF only at the end of the image. Other errors are a
// *FetchError.
func (i *Image) Read(p []byte) (int, error) {
	n, err := i.body.Read(p)
	i.n += int64(n)
	i.lookForEnd(p[:n])
	switch {
	case i.n > i.max:
		err = &FetchError{Host: i.host, Err: fmt.Errorf("it has more than %d bytes", i.max)}
	case err == io.EOF && !i.done: // whatever its length says
		err = &FetchError{Host: i.host, Err: fmt.Errorf("it is cut off after %d bytes", i.n)}
	case err != nil && err != io.EOF:
		err = &FetchError{Host: i.host, Err: fmt.Errorf("it breaks off after %d bytes: %w", i.n, err)}
	}
	return n, err
}

// lookForEnd notes whether the image has come to its end, after these bytes. Bytes
// behind the end do no harm. In a JPEG the marker that ends it counts behind that
// of the last scan: images within its header have both.
func (i *Image) lookForEnd(p []byte) {
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

// Close ends the request.
func (i *Image) Close() error {
	i.stop()
	return i.resp.Body.Close()
}

// slowed reads no faster than a limiter allows.
type slowed struct {
	ctx   context.Context
	r     io.Reader
	bytes *rate.Limiter
}

func (s *slowed) Read(p []byte) (int, error) {
	if burst := s.bytes.Burst(); burst > 0 && len(p) > burst {
		p = p[:burst]
	}
	n, err := s.r.Read(p)
	if n > 0 {
		if wait := s.bytes.WaitN(s.ctx, n); wait != nil {
			return n, wait
		}
	}
	return n, err
}

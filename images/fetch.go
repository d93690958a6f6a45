package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/time/rate"

	"tiwsnap/internal/guard"
)

const (
	// maxBytes is the default limit on the size of an image.
	maxBytes = 40 << 20
	// maxHeader bounds the header of an image, in bytes.
	maxHeader = 1 << 20
	// maxRedirects is how many redirects a fetch follows.
	maxRedirects = 5
	// headersWithin bounds the time to the headers of a response, and fetchWithin that to its last byte.
	headersWithin, fetchWithin = 15 * time.Second, 2 * time.Minute
)

// FetcherOptions are the settings of a Fetcher.
type FetcherOptions struct {
	Private  guard.Private // hosts that may resolve to a private address
	Requests rate.Limit    // requests a second; default: unlimited
	Bytes    rate.Limit    // bytes a second; default: unlimited
	MaxBytes int64         // of one image; default 40 MiB
	Timeout  time.Duration // of one image; default 2 min
}

// Fetcher fetches images from the hosts that results name. It refuses private addresses and checks that each image is
// a whole PNG or JPEG. It is safe for concurrent use.
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
		o.MaxBytes = maxBytes
	}
	if o.Timeout == 0 {
		o.Timeout = fetchWithin
	}
	f := &Fetcher{o: o, dialer: o.Private.Dialer(0)}
	f.requests, f.bytes = limiter(o.Requests), limiter(o.Bytes)
	f.transport = &http.Transport{
		Proxy:                  nil, // a proxy would connect to private addresses past the guard
		DialContext:            f.dialer.DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  headersWithin,
		DisableCompression:     true, // so that Content-Length is the size of the image
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

// limiter returns a limiter of r a second with a burst of one second; 0 is unlimited.
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

// FetchError is a failure to fetch an image. It names only the host, because the rest of a URL may be secret.
type FetchError struct {
	Host   string
	Status int // HTTP status, if that is the reason; else 0
	Err    error
}

func (e *FetchError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("%s answered %d %s", e.Host, e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("image of %s: %v", e.Host, e.Err)
}

func (e *FetchError) Unwrap() error { return e.Err }

// Open starts to fetch an image: it follows redirects and checks the image's header. The error is a *FetchError, or
// that of ctx.
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
		var e *url.Error // its text has the whole URL
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
		body := &throttled{ctx, resp.Body, f.bytes}
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

// throttled is a reader that a limiter slows down.
type throttled struct {
	ctx   context.Context
	r     io.Reader
	bytes *rate.Limiter
}

func (t *throttled) Read(p []byte) (int, error) {
	if burst := t.bytes.Burst(); burst > 0 && len(p) > burst {
		p = p[:burst]
	}
	n, err := t.r.Read(p)
	if n > 0 {
		if wait := t.bytes.WaitN(t.ctx, n); wait != nil {
			return n, wait
		}
	}
	return n, err
}

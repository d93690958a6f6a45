package images

import (
	"errors"
	"fmt"
	"net/url"
	"sync"
)

// After badHost failures in a row a host gets only badHostShare of the images in flight, so that images of other hosts
// need not wait for it.
const badHost, badHostShare = 8, 8

// host is the state of a host that images are read from. failures counts those in a row.
type host struct{ inFlight, failures int }

// enterHost reserves a place for reading an image from its host. The error is a *FetchError: the host is failing and
// has its share of the places in use. Call leave with the result of reading; only the first call counts.
func (c *Copier) enterHost(rawURL string) (leave func(error), err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, &FetchError{Host: "unknown host", Err: errors.New("its URL cannot be read")}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[u.Host]
	if h == nil {
		h = &host{}
		c.hosts[u.Host] = h
	}
	if h.failures >= badHost && h.inFlight >= badHostShare {
		return nil, &FetchError{Host: u.Host,
			Err: fmt.Errorf("%d images in a row have failed, this one waits", h.failures)}
	}
	h.inFlight++
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			h.inFlight--
			var remote *FetchError
			switch {
			case err == nil:
				h.failures = 0
			case errors.As(err, &remote) && remote.Status == 0: // an HTTP status comes fast, and is no reason to slow down
				h.failures++
			}
			if h.inFlight == 0 && (h.failures == 0 || len(c.hosts) > 1000) {
				delete(c.hosts, u.Host)
			}
		})
	}, nil
}

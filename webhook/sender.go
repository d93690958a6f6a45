// Package webhook delivers events to the servers of users.
//
// The ledger records events in its outbox. A Dispatcher turns them into webhooks on a queue of asynq and delivers
// them, with limits for each host. A Sender makes one request, signed as https://www.standardwebhooks.com describes.
// An Outbox counts the queued webhooks of each host and knows which receivers are gone.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tiwsnap/internal/guard"
)

// Options are the settings of a Sender. Secrets are required.
type Options struct {
	Secrets []Secret // each signs every webhook; during a rotation there are two
	// Hosts are the allowed receivers in the form of Host, without wildcards.
	Hosts   []string
	HTTP    bool          // allow http:// receivers
	Private guard.Private // hosts that may be at a private address
	Timeout time.Duration // of one request, including the DNS lookup; default 10 s
}

// Sender sends webhooks. It is safe for concurrent use.
type Sender struct {
	o         Options
	transport *http.Transport
	dialer    *guard.Dialer
}

const (
	// maxDrained is how much of a response is read, in bytes, so that its connection can be reused. It is discarded.
	maxDrained = 4 << 10
	// maxRetryAfter bounds the header Retry-After.
	maxRetryAfter = time.Hour
)

// New returns a sender.
func New(o Options) (*Sender, error) {
	if len(o.Secrets) == 0 || slices.ContainsFunc(o.Secrets, func(s Secret) bool { return s.key == nil }) {
		return nil, errors.New("webhook: Options.Secrets are required")
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	s := &Sender{
		o:      o,
		dialer: o.Private.Dialer(o.Timeout),
	}
	s.transport = &http.Transport{
		Proxy:                  nil, // a proxy would connect for us, past the guard
		DialContext:            s.dialer.DialContext,
		TLSHandshakeTimeout:    o.Timeout,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        30 * time.Second,
	}
	return s, nil
}

// Close closes the idle connections.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

// Error means that a webhook was not delivered.
type Error struct {
	Host       string        // of the receiver; empty if the URL has none
	Status     int           // of the response; 0: no response
	Final      bool          // a retry is of no use
	RetryAfter time.Duration // that the receiver asks for, at most an hour; 0: none
	Err        error         // the reason, if Status does not say it
}

func (e *Error) Error() string {
	switch {
	case e.Host == "":
		return "webhook URL " + e.Err.Error()
	case e.Status != 0:
		return strings.TrimRight(fmt.Sprintf("%s answered %d %s", e.Host, e.Status, http.StatusText(e.Status)), " ") +
			suffix(e.Err)
	}
	return e.Host + suffix(e.Err)
}

func suffix(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

var (
	errRedirect = errors.New("redirects are not followed, the final URL is needed")
	errGone     = errors.New("it wants no more webhooks")
	errUnlisted = errors.New("not among the hosts that webhooks may go to")
)

// Send makes one request to the URL. The id identifies the event: it is the same in each attempt, and must not contain
// a dot, because the signature is over ID.TIME.BODY. now is the time of this attempt. The body of the response is
// ignored.
//
// The error is an *Error. As Standard Webhooks says, 2xx is success and every other status is a failure. Final are 410
// Gone, redirects, URLs that are not allowed, and addresses in private networks; every other failure can be retried.
func (s *Sender) Send(ctx context.Context, url, id string, now time.Time, body []byte) error {
	u, err := ParseURL(url, s.o.HTTP)
	if err != nil {
		return &Error{Final: true, Err: err}
	}
	host := Host(u)
	if !slices.Contains(s.o.Hosts, host) {
		return &Error{Host: host, Final: true, Err: errUnlisted}
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return &Error{Final: true, Err: errors.New("is not a URL")}
	}
	signatures := make([]string, len(s.o.Secrets))
	for i, secret := range s.o.Secrets {
		signatures[i] = secret.sign(id, now, body)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "tiwsnap")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", strings.Join(signatures, " "))

	// An http.Client would follow redirects.
	resp, err := s.transport.RoundTrip(req)
	switch {
	case errors.Is(err, guard.ErrPrivate):
		return &Error{Host: host, Final: true, Err: fmt.Errorf("at an address that webhooks may not go to: %w", err)}
	case ctx.Err() != nil:
		return &Error{Host: host, Err: fmt.Errorf("no answer within %s: %w", s.o.Timeout, ctx.Err())}
	case err != nil:
		return &Error{Host: host, Err: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols { // its body is the connection, which no deadline ends
		io.CopyN(io.Discard, resp.Body, maxDrained)
	}

	e := &Error{Host: host, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header, now)}
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return nil
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		e.Final, e.Err = true, errRedirect
	case resp.StatusCode == http.StatusGone:
		e.Final, e.Err = true, errGone
	}
	return e
}

// retryAfter reads the header Retry-After: seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

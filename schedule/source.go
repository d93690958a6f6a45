package schedule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"tiwsnap/internal/rooms"
	"tiwsnap/tasks"
)

// Bounds of a source.
const (
	MaxBytes    = 256 << 20        // of an answer: ten million plain rows
	readWithin  = 5 * time.Minute  // for all of it
	answerTime  = 30 * time.Second // until it begins
	maxReasons  = 5                // faults of rows that are kept
	maxReason   = 300              // bytes of each
	maxRedirect = 5
)

// Source is where the rooms of a schedule come from. It prints no secret.
type Source struct {
	name string // for people
	open func(context.Context) (io.ReadCloser, error)
}

// String names the source: "list", the file, or the host of the URL.
func (s Source) String() string { return s.name }

// List is a class list that is always the same.
func List(text string) Source {
	return Source{"list", func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

// File is a class list on disk, as it is at the tick.
func File(name string) Source {
	return Source{name, func(context.Context) (io.ReadCloser, error) {
		// The opening of a pipe may last for ever.
		if info, err := os.Stat(name); err != nil {
			return nil, err
		} else if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", name)
		}
		return os.Open(name)
	}}
}

// URL is a class list that rawURL answers with, http or https. token, unless
// empty, is sent as a bearer token. The URL is the operator's own, so any host
// may be dialed, private ones and a proxy of the environment too; but a
// redirect is followed only to the same host, so that nobody else decides.
func URL(rawURL, token string) (Source, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return Source{}, errors.New("the URL of the rooms must be https://HOST/PATH")
	}
	name := u.Scheme + "://" + u.Host // the rest may be a key
	client := http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: answerTime}).DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    answerTime,
			ResponseHeaderTimeout:  answerTime,
			MaxResponseHeaderBytes: 64 << 10,
			DisableKeepAlives:      true, // the next tick is long after this one
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			switch {
			case next.URL.Scheme != u.Scheme || next.URL.Host != u.Host:
				return fmt.Errorf("it redirects to %.80q: only redirects to the same host are followed",
					next.URL.Scheme+"://"+next.URL.Host)
			case len(via) > maxRedirect:
				return fmt.Errorf("it redirects more than %d times", maxRedirect)
			}
			return nil
		},
	}
	return Source{name, func(ctx context.Context) (io.ReadCloser, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, errors.New("the URL is not valid")
		}
		req.Header.Set("Accept", "text/csv, application/jsonl, application/x-ndjson;q=0.9, */*;q=0.5")
		req.Header.Set("User-Agent", "tiwsnap")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, withoutURL(err)
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, fmt.Errorf("it answers %s", resp.Status)
		}
		if resp.ContentLength > MaxBytes {
			resp.Body.Close()
			return nil, errTooLarge
		}
		return &bounded{resp.Body, MaxBytes}, nil
	}}, nil
}

// withoutURL drops the URL from an error of net/http: its path may be a key.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

var errTooLarge = fmt.Errorf("the class list is larger than %d MB", MaxBytes>>20)

// bounded fails where a plain limit would make a short list of a long one.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// SourceError says why the rooms cannot be had.
type SourceError struct {
	Source string
	Err    error
}

func (e *SourceError) Error() string { return fmt.Sprintf("rooms of %s: %v", e.Source, e.Err) }

func (e *SourceError) Unwrap() error { return e.Err }

// Report is what was wrong with the rows of a source.
type Report struct {
	BadRows int      `json:"bad_rows,omitempty"`
	Reasons []string `json:"reasons"` // of the first few
	Notes   []string `json:"notes"`   // the first few of what rooms.Read notes
}

// Rooms reads the source now, as enqueue.Client.Batch takes it. Rows that are
// wrong are left out and counted in report. The source is an error as a whole
// if it cannot be read to its end or has no good row.
func (s Schedule) Rooms(ctx context.Context, report *Report) iter.Seq2[tasks.Room, error] {
	return func(yield func(tasks.Room, error) bool) {
		*report = Report{}
		ctx, cancel := context.WithTimeout(ctx, readWithin)
		defer cancel()
		in, err := s.Source.open(ctx)
		if err != nil {
			yield(tasks.Room{}, &SourceError{s.Source.name, err})
			return
		}
		defer in.Close()
		good := 0
		note := func(n rooms.Note) {
			if len(report.Notes) < maxReasons {
				report.Notes = append(report.Notes, fmt.Sprintf("%.*s", maxReason, n))
			}
		}
		for row, err := range rooms.Read(in,
			rooms.Options{Defaults: s.Defaults, CheckCallback: s.CheckCallback, Notes: note}) {
			var bad *rooms.RowError
			switch {
			case errors.As(err, &bad):
				if report.BadRows++; report.BadRows <= maxReasons {
					report.Reasons = append(report.Reasons, fmt.Sprintf("%.*s", maxReason, bad.Error()))
				}
			case err != nil:
				yield(tasks.Room{}, &SourceError{s.Source.name, err})
				return
			default:
				good++
				if !yield(row.Room, nil) {
					return
				}
			}
		}
		if good == 0 {
			yield(tasks.Room{}, &SourceError{s.Source.name, fmt.Errorf("none of %d rows is valid: %s",
				report.BadRows, strings.Join(report.Reasons, "; "))})
		}
	}
}

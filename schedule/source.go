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

const (
	// MaxBytes bounds a class list that is fetched: ten million plain rows.
	MaxBytes = 256 << 20
	// readWithin bounds the time to read a class list, and answerWithin the time until a response begins.
	readWithin, answerWithin = 5 * time.Minute, 30 * time.Second
	// A report keeps maxReasons faults of rows, each of at most maxReason bytes.
	maxReasons, maxReason = 5, 300
	maxRedirects          = 5
)

// Source is the class list of a schedule. It prints no secret.
type Source struct {
	name string // for people
	open func(context.Context) (io.ReadCloser, error)
}

// String names the source: "list", the file, or the host of the URL.
func (s Source) String() string { return s.name }

// List returns a source with a fixed class list.
func List(text string) Source {
	return Source{"list", func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

// File returns a source that reads a file at each tick.
func File(name string) Source {
	return Source{name, func(context.Context) (io.ReadCloser, error) {
		// Opening a pipe could block for ever.
		if info, err := os.Stat(name); err != nil {
			return nil, err
		} else if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", name)
		}
		return os.Open(name)
	}}
}

// URL returns a source that fetches rawURL, http or https, at each tick. token is sent as a bearer token unless empty.
// The operator has chosen the URL, so any host is allowed: private ones, too, and a proxy of the environment. Redirects
// are followed only to the same host, so that nobody else chooses.
func URL(rawURL, token string) (Source, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return Source{}, errors.New("the URL of the rooms must be https://HOST/PATH")
	}
	name := u.Scheme + "://" + u.Host // the rest may be secret
	client := http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: answerWithin}).DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    answerWithin,
			ResponseHeaderTimeout:  answerWithin,
			MaxResponseHeaderBytes: 64 << 10,
			DisableKeepAlives:      true, // the next tick is long after this one
		},
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			switch {
			case next.URL.Scheme != u.Scheme || next.URL.Host != u.Host:
				return fmt.Errorf("it redirects to %.80q: only redirects to the same host are followed",
					next.URL.Scheme+"://"+next.URL.Host)
			case len(via) > maxRedirects:
				return fmt.Errorf("it redirects more than %d times", maxRedirects)
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

// withoutURL removes the URL from an error of net/http, because its path may be secret.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

var errTooLarge = fmt.Errorf("the class list is larger than %d MB", MaxBytes>>20)

// bounded fails after too many bytes. io.LimitReader would end the list in silence.
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

// SourceError means that the rooms cannot be read.
type SourceError struct {
	Source string
	Err    error
}

func (e *SourceError) Error() string { return fmt.Sprintf("rooms of %s: %v", e.Source, e.Err) }

func (e *SourceError) Unwrap() error { return e.Err }

// Report counts the bad rows of a source.
type Report struct {
	BadRows int      `json:"bad_rows,omitempty"`
	Reasons []string `json:"reasons"` // faults of the first five bad rows
	Notes   []string `json:"notes"`   // the first five notes of rooms.Read
}

// Rooms reads the source, for enqueue.Client.Batch. It skips bad rows and counts them in report. It yields a
// *SourceError if the source cannot be read to its end or has no good row.
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

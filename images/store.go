// Package images keeps the images of snapshots. Tencent deletes them after three days.
//
// A Copier fetches each image and copies it into a Store, a folder or an S3 bucket, under names that people can browse.
// It writes the results and a page beside the copies of a batch. A Source opens an image wherever it is: the copy, or
// the original at Tencent. Thumbnails and Export read from a Source.
package images

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"time"
)

// Store is a place for copies. Names are paths with slashes, as in monday/0017-3B/1.png. It is safe for concurrent use.
//
// Errors: those of fill, those of ctx, fs.ErrNotExist, else a *StoreError.
type Store interface {
	// Put replaces an object atomically with what fill writes. If fill fails, the old object stays.
	Put(ctx context.Context, name, mediaType string, fill func(io.Writer) error) error
	// Open opens an object. Errors: fs.ErrNotExist if it does not exist.
	Open(ctx context.Context, name string) (*Object, error)
	// Holds reports whether a folder contains any object.
	Holds(ctx context.Context, folder string) (bool, error)
	// RemoveAll removes an object, or a folder with all objects in it.
	RemoveAll(ctx context.Context, name string) error
	// URL returns the URL of an object: file://, or a signed https:// URL of a bucket.
	URL(ctx context.Context, name string) (string, error)
	// String names the store in messages, without secrets.
	String() string
}

// Object is an open object of a store. Close it.
type Object struct {
	io.ReadSeekCloser
	Size     int64 // bytes
	Modified time.Time
}

// StoreError is a failure of the store: it is unreachable, full, or denies access. The image is not at fault, and a
// later retry may succeed.
type StoreError struct {
	Store string
	Err   error
}

func (e *StoreError) Error() string { return fmt.Sprintf("store %s: %v", e.Store, e.Err) }

func (e *StoreError) Unwrap() error { return e.Err }

// Credentials are those of an S3 store. If they are empty, the usual sources of AWS are used: AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, the role of the machine.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
}

// OpenStore returns the store of a URL. It does not connect to it. The URL is one of
//
//	file:///srv/boards
//	s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION
//
// The prefix, the endpoint (default: AWS) and the region are optional.
func OpenStore(rawURL string, c Credentials) (Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("must be a URL as in file:///srv/boards or s3://bucket/prefix?endpoint=https://HOST")
	}
	switch u.Scheme {
	case "file":
		return newFolder(u)
	case "s3":
		return newBucket(u, c)
	}
	return nil, fmt.Errorf("has the scheme %q: it must be file:///FOLDER or s3://BUCKET/PREFIX?endpoint=https://HOST",
		u.Scheme)
}

// Check writes, reads and removes one object. Errors are those of a Store.
func Check(ctx context.Context, s Store) error {
	const text = "tiwsnap checks that copies of images can be written here"
	name := path.Join(tempFolder, "check-"+rand.Text()) // others may check at the same time
	if err := s.Put(ctx, name, "text/plain", func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}); err != nil {
		return err
	}
	o, err := s.Open(ctx, name)
	if err != nil {
		return fmt.Errorf("the object written as a check cannot be read: %w", err)
	}
	defer o.Close()
	got, err := io.ReadAll(io.LimitReader(o, 1<<10))
	if err != nil || string(got) != text {
		return fmt.Errorf("the object written as a check reads as %.60q, %v", got, err)
	}
	return s.RemoveAll(ctx, name)
}

// sink is the writer that a store hands to fill. It counts bytes and keeps the errors of writing, so that they can be
// told apart from other errors that fill returns.
type sink struct {
	w   io.Writer
	n   int64 // bytes
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.n += int64(n)
	s.err = errors.Join(s.err, err)
	return n, err
}

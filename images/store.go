// Package images copies images into a folder or an S3 bucket before Tencent
// deletes them after three days, under names that people can browse.
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

// Store is a place for copies. Names are paths with slashes, as in
// monday/0017-3B/1.png. It is safe for concurrent use.
//
// Errors are a *StoreError, but those of fill, of ctx, and fs.ErrNotExist.
type Store interface {
	// Put writes an object in one go: whoever reads the name sees all that fill
	// has written, or what was there before. An error of fill leaves that.
	Put(ctx context.Context, name, mediaType string, fill func(io.Writer) error) error
	// Open opens an object. Errors: fs.ErrNotExist where there is none.
	Open(ctx context.Context, name string) (*Object, error)
	// Holds reports whether there is any object in a folder.
	Holds(ctx context.Context, folder string) (bool, error)
	// RemoveAll removes a folder with all objects in it, or one object.
	RemoveAll(ctx context.Context, name string) error
	// URL is where people and programs find an object: a URL of the store, which
	// is signed where it can be.
	URL(ctx context.Context, name string) (string, error)
	// String names the store in messages, without anything secret.
	String() string
}

// Object is an object that is being read. Close it.
type Object struct {
	io.ReadSeekCloser
	Size     int64 // bytes
	Modified time.Time
}

// StoreError says why a store did not do what it should: it is away, full, or
// forbids it. No image is at fault, and trying again later may help.
type StoreError struct {
	Store string
	Err   error
}

func (e *StoreError) Error() string { return fmt.Sprintf("store %s: %v", e.Store, e.Err) }

func (e *StoreError) Unwrap() error { return e.Err }

// Credentials are those of an S3 store. Where they are empty they come from where
// AWS' own tools look: AWS_ACCESS_KEY_ID and its like, ~/.aws/credentials, the
// machine's role.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
}

// OpenStore returns the store of a URL. It does not touch it.
//
//	file:///srv/boards
//	s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION
//
// The prefix, the endpoint (default: AWS') and the region may be left out.
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

// Check writes, reads and removes one object, as a copy would be.
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
		return fmt.Errorf("what was written cannot be read: %w", err)
	}
	defer o.Close()
	got, err := io.ReadAll(io.LimitReader(o, 1<<10))
	if err != nil || string(got) != text {
		return fmt.Errorf("what was written reads as %.60q, %v", got, err)
	}
	return s.RemoveAll(ctx, name)
}

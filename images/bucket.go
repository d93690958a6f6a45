package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"tiwsnap/internal/spool"
)

const (
	// signedFor is the lifetime of a signed URL: the longest that S3 allows.
	signedFor = 7 * 24 * time.Hour
	// bucketTries is the number of attempts of a request to a bucket.
	bucketTries = 3
)

// bucket is a store in a bucket of S3 or of a compatible service.
type bucket struct {
	client       *minio.Client
	name, prefix string // the prefix ends with a slash, or is empty
	text         string // for messages: s3://BUCKET/PREFIX
}

func newBucket(u *url.URL, c Credentials) (Store, error) {
	query := u.Query()
	for name := range query {
		if name != "endpoint" && name != "region" {
			return nil, fmt.Errorf("has the parameter %q: there are endpoint and region", name)
		}
	}
	if u.Host == "" || u.User != nil {
		return nil, errors.New("must be s3:// and the name of a bucket, as in s3://boards?endpoint=https://HOST")
	}
	endpoint := &url.URL{Scheme: "https", Host: "s3.amazonaws.com"}
	if text := query.Get("endpoint"); text != "" {
		var err error
		endpoint, err = url.Parse(text)
		if err != nil || endpoint.Host == "" || endpoint.Scheme != "https" && endpoint.Scheme != "http" ||
			strings.Trim(endpoint.Path, "/") != "" || endpoint.User != nil || endpoint.RawQuery != "" {
			return nil, errors.New("has an endpoint that is not https://HOST or http://HOST:PORT")
		}
	}
	key := credentials.NewStaticV4(c.AccessKeyID, c.SecretAccessKey, "")
	if c.AccessKeyID == "" {
		key = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{},
			&credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}},
		})
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       30 * time.Second,
		ForceAttemptHTTP2:     true,
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: key, Secure: endpoint.Scheme == "https", Region: query.Get("region"), Transport: transport,
		MaxRetries: bucketTries,
	})
	if err != nil {
		return nil, fmt.Errorf("is not an S3 bucket: %w", err)
	}
	b := &bucket{client: client, name: u.Host, prefix: strings.Trim(u.Path, "/")}
	b.text = "s3://" + path.Join(b.name, b.prefix)
	if b.prefix != "" {
		b.prefix += "/"
	}
	return b, nil
}

func (b *bucket) String() string { return b.text }

// fail returns an error of minio as Store documents it.
func (b *bucket) fail(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case minio.ToErrorResponse(err).Code == minio.NoSuchKey:
		return fs.ErrNotExist
	}
	return &StoreError{b.text, err}
}

// Put buffers the object in memory or in a temporary file first, because S3 needs its size beforehand.
func (b *bucket) Put(ctx context.Context, name, mediaType string, fill func(io.Writer) error) error {
	var whole spool.Spool
	defer whole.Close()
	w := &sink{w: &whole}
	err := fill(w)
	if w.err != nil {
		return &StoreError{b.text, w.err}
	}
	if err != nil {
		return err
	}
	r, err := whole.Reader()
	if err != nil {
		return &StoreError{b.text, err}
	}
	_, err = b.client.PutObject(ctx, b.name, b.prefix+name, r, w.n, minio.PutObjectOptions{
		ContentType: mediaType, SendContentMd5: true, DisableMultipart: w.n <= maxBytes,
	})
	return b.fail(ctx, err)
}

func (b *bucket) Open(ctx context.Context, name string) (*Object, error) {
	o, err := b.client.GetObject(ctx, b.name, b.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, b.fail(ctx, err)
	}
	info, err := o.Stat()
	if err != nil {
		o.Close()
		return nil, b.fail(ctx, err)
	}
	return &Object{o, info.Size, info.LastModified}, nil
}

func (b *bucket) Holds(ctx context.Context, name string) (bool, error) {
	list, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range b.client.ListObjectsIter(list, b.name, minio.ListObjectsOptions{
		Prefix: b.prefix + name + "/", Recursive: true, MaxKeys: 1,
	}) {
		return o.Err == nil, b.fail(ctx, o.Err)
	}
	return false, nil
}

func (b *bucket) RemoveAll(ctx context.Context, name string) error {
	if err := b.client.RemoveObject(ctx, b.name, b.prefix+name, minio.RemoveObjectOptions{}); err != nil {
		return b.fail(ctx, err)
	}
	for o := range b.client.ListObjectsIter(ctx, b.name,
		minio.ListObjectsOptions{Prefix: b.prefix + name + "/", Recursive: true}) {
		err := o.Err
		if err == nil {
			err = b.client.RemoveObject(ctx, b.name, o.Key, minio.RemoveObjectOptions{})
		}
		if err != nil {
			return b.fail(ctx, err)
		}
	}
	return nil
}

func (b *bucket) URL(ctx context.Context, name string) (string, error) {
	u, err := b.client.PresignedGetObject(ctx, b.name, b.prefix+name, signedFor, nil)
	if err != nil {
		return "", b.fail(ctx, err)
	}
	return u.String(), nil
}

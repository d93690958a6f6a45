package images_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"tiwsnap/images"
)

const testKey, testSecret = "test-key", "test-secret"

func openStore(t *testing.T, rawURL string) images.Store {
	t.Helper()
	s, err := images.OpenStore(rawURL, images.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func putText(t *testing.T, s images.Store, name, text string) error {
	return s.Put(t.Context(), name, "image/png", func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

func getText(t *testing.T, s images.Store, name string) (string, error) {
	o, err := s.Open(t.Context(), name)
	if err != nil {
		return "", err
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if int(o.Size) != len(b) {
		t.Errorf("%s has %d bytes, want Size %d", name, len(b), o.Size)
	}
	return string(b), err
}

func TestStores(t *testing.T) {
	t.Parallel()
	for kind, store := range map[string]func(*testing.T) images.Store{
		"folder": func(t *testing.T) images.Store { return openStore(t, "file://"+t.TempDir()) },
		"S3":     func(t *testing.T) images.Store { return openStore(t, startS3(t, t.TempDir())) },
		"S3 with a prefix": func(t *testing.T) images.Store {
			return openStore(t, strings.Replace(startS3(t, t.TempDir()), "boards", "boards/of/school", 1))
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := store(t)
			if err := images.Check(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			const name = "monday/0001-高二（3）班/1.png"
			if _, err := getText(t, s, name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Open() of a missing object = %v", err)
			}
			if holds, err := s.Holds(t.Context(), "monday"); holds || err != nil {
				t.Errorf("Holds() of an empty folder = true, or %v", err)
			}
			for _, text := range []string{"one", "another"} {
				if err := putText(t, s, name, text); err != nil {
					t.Fatal(err)
				}
				if got, err := getText(t, s, name); got != text || err != nil {
					t.Errorf("object has %q (%v), want %q", got, err, text)
				}
			}
			broken := errors.New("broken")
			if err := s.Put(t.Context(), name, "image/png", func(w io.Writer) error {
				io.WriteString(w, "half")
				return broken
			}); !errors.Is(err, broken) || errors.As(err, new(*images.StoreError)) {
				t.Errorf("Put() with a failing writer = %v, want its error", err)
			}
			if got, err := getText(t, s, name); got != "another" || err != nil {
				t.Errorf("object after a failed Put: %q, %v", got, err)
			}
			link, err := s.URL(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if u, _ := url.Parse(link); u.Scheme == "file" {
				if b, err := os.ReadFile(u.Path); string(b) != "another" {
					t.Errorf("%s: %q, %v", link, b, err)
				}
			} else if resp, err := http.Get(link); err != nil || resp.StatusCode != http.StatusOK ||
				resp.Header.Get("Content-Type") != "image/png" {
				t.Errorf("%s: %v, %v", link, resp, err)
			} else {
				resp.Body.Close()
				http.DefaultTransport.(*http.Transport).CloseIdleConnections()
			}
			if holds, err := s.Holds(t.Context(), "monday"); !holds || err != nil {
				t.Errorf("Holds() = false, or %v", err)
			}
			if err := putText(t, s, "mondays/1.png", "other"); err != nil {
				t.Fatal(err)
			}
			if err := s.RemoveAll(t.Context(), "monday"); err != nil {
				t.Fatal(err)
			}
			if _, err := getText(t, s, name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Open() after RemoveAll = %v", err)
			}
			if got, err := getText(t, s, "mondays/1.png"); got != "other" || err != nil {
				t.Errorf("object of another folder: %q, %v", got, err)
			}
		})
	}
}

func TestOpenStore(t *testing.T) {
	for _, bad := range []string{
		"", "/srv/boards", "boards", "file:boards", "file://host/boards", "file:///boards?x=1", "ftp://host/boards",
		"s3://", "s3:///boards",
		"s3://b?endpoint=host", "s3://b?endpoint=ftp://host", "s3://b?endpoint=https://h/path", "s3://b?reigon=x",
		"s3://u:p@b",
	} {
		if s, err := images.OpenStore(bad, images.Credentials{}); err == nil {
			t.Errorf("OpenStore(%q) = %s, want an error", bad, s)
		}
	}
}

// Check compares what it reads with what it wrote.
func TestCheckComparesContent(t *testing.T) {
	t.Parallel()
	if err := images.Check(t.Context(), wrongStore{openStore(t, "file://"+t.TempDir())}); err == nil ||
		!strings.Contains(err.Error(), "reads as") {
		t.Errorf("Check() of a store that returns other data = %v", err)
	}
}

// wrongStore is a store that returns other data than it was given.
type wrongStore struct{ images.Store }

func (l wrongStore) Open(context.Context, string) (*images.Object, error) {
	return &images.Object{ReadSeekCloser: nopCloser{bytes.NewReader([]byte("else"))}, Size: 4}, nil
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

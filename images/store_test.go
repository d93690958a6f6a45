package images_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tiwsnap/images"
	"tiwsnap/internal/needs"
)

const testKey, testSecret = "test-key", "test-secret"

// gateway starts an S3 server over a folder and returns the URL of a bucket in it.
func gateway(t *testing.T, dir string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	gatewayAt(t, addr, dir)
	return "s3://boards?region=us-east-1&endpoint=" + url.QueryEscape("http://"+addr)
}

// gatewayAt starts an S3 server at an address. kill ends it.
func gatewayAt(t *testing.T, addr, dir string) (kill func()) {
	t.Helper()
	program := needs.Program(t, "versitygw")
	if err := os.MkdirAll(filepath.Join(dir, "boards"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--quiet", "--port", addr, "--access", testKey, "--secret", testSecret, "posix",
		"--sidecar", t.TempDir(), dir)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(kill)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
			return kill
		}
		select {
		case <-ctx.Done():
			t.Fatalf("versitygw does not listen: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func open(t *testing.T, rawURL string) images.Store {
	t.Helper()
	s, err := images.OpenStore(rawURL, images.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s images.Store, name, text string) error {
	return s.Put(t.Context(), name, "image/png", func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}

func get(t *testing.T, s images.Store, name string) (string, error) {
	o, err := s.Open(t.Context(), name)
	if err != nil {
		return "", err
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if int(o.Size) != len(b) {
		t.Errorf("%s has %d bytes, and should have %d", name, len(b), o.Size)
	}
	return string(b), err
}

func TestStores(t *testing.T) {
	t.Parallel()
	for kind, store := range map[string]func(*testing.T) images.Store{
		"folder": func(t *testing.T) images.Store { return open(t, "file://"+t.TempDir()) },
		"S3":     func(t *testing.T) images.Store { return open(t, gateway(t, t.TempDir())) },
		"S3 with a prefix": func(t *testing.T) images.Store {
			return open(t, strings.Replace(gateway(t, t.TempDir()), "boards", "boards/of/school", 1))
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := store(t)
			if err := images.Check(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			const name = "monday/0001-高二（3）班/1.png"
			if _, err := get(t, s, name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("of what is not there: %v", err)
			}
			if holds, err := s.Holds(t.Context(), "monday"); holds || err != nil {
				t.Errorf("an empty folder holds something: %v", err)
			}
			for _, text := range []string{"one", "another"} {
				if err := put(t, s, name, text); err != nil {
					t.Fatal(err)
				}
				if got, err := get(t, s, name); got != text || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			}
			broken := errors.New("broken")
			if err := s.Put(t.Context(), name, "image/png", func(w io.Writer) error {
				io.WriteString(w, "half")
				return broken
			}); !errors.Is(err, broken) || errors.As(err, new(*images.StoreError)) {
				t.Errorf("the error of what is put: %v", err)
			}
			if got, err := get(t, s, name); got != "another" || err != nil {
				t.Errorf("after a Put that failed: %q, %v", got, err)
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
				t.Errorf("the folder holds nothing: %v", err)
			}
			if err := put(t, s, "mondays/1.png", "other"); err != nil {
				t.Fatal(err)
			}
			if err := s.RemoveAll(t.Context(), "monday"); err != nil {
				t.Fatal(err)
			}
			if _, err := get(t, s, name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("of what was removed: %v", err)
			}
			if got, err := get(t, s, "mondays/1.png"); got != "other" || err != nil {
				t.Errorf("of another folder: %q, %v", got, err)
			}
		})
	}
}

// No name leads out of the folder. A failed write is a StoreError.
func TestFolder(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	dir := filepath.Join(outside, "boards")
	s := open(t, "file://"+dir)
	var away *images.StoreError
	if err := put(t, s, "a/1.png", "x"); !errors.As(err, &away) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where the folder is missing: %v", err)
	}
	if _, err := s.Open(t.Context(), "a/1.png"); !errors.As(err, &away) {
		t.Errorf("where the folder is missing: %v", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../1.png", "a/../../1.png", "/1.png", "link/1.png"} {
		if err := put(t, s, name, "x"); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(outside, "*")); len(left) != 1 {
		t.Errorf("beside the folder is %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".tmp", "*")); len(left) != 0 {
		t.Errorf("there is left %v", left)
	}
}

// An S3 server that is unreachable or denies access is a StoreError, so the image is not at fault.
func TestBucketAway(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	link := gateway(t, t.TempDir())
	forbidden, err := images.OpenStore(link, images.Credentials{AccessKeyID: testKey, SecretAccessKey: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]images.Store{
		"away":      open(t, "s3://boards?region=us-east-1&endpoint=http://127.0.0.1:1"),
		"forbidden": forbidden,
		"no bucket": open(t, strings.Replace(link, "boards", "none", 1)),
	} {
		var away *images.StoreError
		if err := put(t, s, "a/1.png", "x"); !errors.As(err, &away) || strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Open(t.Context(), "a/1.png"); !errors.As(err, &away) && name != "no bucket" {
			t.Errorf("%s: %v", name, err)
		}
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
			t.Errorf("%q is %s", bad, s)
		}
	}
}

// Check compares what it reads with what it wrote.
func TestCheckReads(t *testing.T) {
	t.Parallel()
	if err := images.Check(t.Context(), lying{open(t, "file://"+t.TempDir())}); err == nil ||
		!strings.Contains(err.Error(), "reads as") {
		t.Errorf("a store that returns something else: %v", err)
	}
}

// lying is a store that returns other data than it was given.
type lying struct{ images.Store }

func (l lying) Open(context.Context, string) (*images.Object, error) {
	return &images.Object{ReadSeekCloser: nopCloser{bytes.NewReader([]byte("else"))}, Size: 4}, nil
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

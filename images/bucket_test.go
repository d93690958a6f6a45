package images_test

import (
	"context"
	"errors"
	"net"
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

// startS3 starts an S3 server over a folder and returns the URL of a bucket in it.
func startS3(t *testing.T, dir string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	startS3At(t, addr, dir)
	return "s3://boards?region=us-east-1&endpoint=" + url.QueryEscape("http://"+addr)
}

// startS3At starts an S3 server at an address. kill ends it.
func startS3At(t *testing.T, addr, dir string) (kill func()) {
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

// An S3 server that is unreachable or denies access is a StoreError, so the image is not at fault.
func TestBucketErrors(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	link := startS3(t, t.TempDir())
	forbidden, err := images.OpenStore(link, images.Credentials{AccessKeyID: testKey, SecretAccessKey: "wrong"})
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]images.Store{
		"unreachable": openStore(t, "s3://boards?region=us-east-1&endpoint=http://127.0.0.1:1"),
		"forbidden":   forbidden,
		"no bucket":   openStore(t, strings.Replace(link, "boards", "none", 1)),
	} {
		var storeError *images.StoreError
		if err := putText(t, s, "a/1.png", "x"); !errors.As(err, &storeError) || strings.Contains(err.Error(), testSecret) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Open(t.Context(), "a/1.png"); !errors.As(err, &storeError) && name != "no bucket" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

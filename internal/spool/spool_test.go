package spool_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tiwsnap/internal/spool"
)

// A reader returns the data that were written, and no temporary file is left.
func TestSpool(t *testing.T) {
	for _, size := range []int{0, 1, 100_000, 256 << 10, 256<<10 + 1, 3_000_000} {
		dir := t.TempDir()
		t.Setenv("TMPDIR", dir)
		var s spool.Spool
		want := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 70_001)
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		for range 2 {
			r, err := s.Reader()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
				t.Errorf("wrote %d bytes, read %d other ones, %v", size, len(got), err)
			}
		}
		// After Reset the spool has no data of the previous use.
		if err := s.Reset(); err != nil {
			t.Fatal(err)
		}
		io.WriteString(&s, "next")
		if r, err := s.Reader(); err != nil {
			t.Error(err)
		} else if got, err := io.ReadAll(r); string(got) != "next" || err != nil {
			t.Errorf("after %d bytes and Reset(): read %q, %v, want next", size, got, err)
		}
		s.Close()
		s.Close()
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%d bytes: temporary files are left: %v", size, left)
		}
	}
}

func TestNoTemporaryFolder(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	var s spool.Spool
	defer s.Close()
	if _, err := io.WriteString(&s, "little"); err != nil {
		t.Errorf("writing little data: %v, want no need for a folder", err)
	}
	if _, err := io.WriteString(&s, strings.Repeat("much", 1<<20)); !errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), "temporary file") {
		t.Errorf("writing much data: %v, want ErrNotExist of a temporary file", err)
	}
}

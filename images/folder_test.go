package images_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"tiwsnap/images"
)

// No name leads out of the folder. A failed write is a StoreError.
func TestFolderConfinesNames(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	dir := filepath.Join(outside, "boards")
	s := openStore(t, "file://"+dir)
	var storeError *images.StoreError
	if err := putText(t, s, "a/1.png", "x"); !errors.As(err, &storeError) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Put() into a missing folder = %v", err)
	}
	if _, err := s.Open(t.Context(), "a/1.png"); !errors.As(err, &storeError) {
		t.Errorf("Open() in a missing folder = %v", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../1.png", "a/../../1.png", "/1.png", "link/1.png"} {
		if err := putText(t, s, name, "x"); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(outside, "*")); len(left) != 1 {
		t.Errorf("files outside the folder: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".tmp", "*")); len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// columns is the maximum width of a line, in characters.
const columns = 120

// wide returns the reason why a file may have longer lines. The reason is empty for every other file.
func wide(path string) string {
	switch base := filepath.Base(path); {
	case base == "go.sum", base == "package-lock.json":
		return "written by a package manager"
	case strings.HasSuffix(base, ".jsonl"):
		return "an object is one line"
	case strings.HasSuffix(base, ".svg"):
		return "a drawing"
	case path == "../docs/settings.md":
		return "its table is made from config/settings.go"
	}
	return ""
}

// Lines of 120 columns fit on a screen that shows two files side by side.
func TestLinesAreShort(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "testdata", "node_modules":
				return fs.SkipDir
			}
			return nil
		}
		if wide(path) != "" || !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !utf8.Valid(text) {
			return nil // a locally built binary or an image
		}
		for i, line := range strings.Split(string(text), "\n") {
			if n := utf8.RuneCountInString(line); n > columns {
				t.Errorf("%s:%d has %d columns, more than %d", path, i+1, n, columns)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

package images

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"
)

const (
	// tempFolder holds files while they are written. Files of killed processes are removed at the age of tempOld.
	tempFolder = ".tmp"
	tempOld    = time.Hour
)

// folder is a store in the file system. It never creates its top folder: if that is missing, a volume is probably not
// mounted. Each operation opens the folder anew, because the volume may have been mounted in between.
type folder struct{ dir string }

func newFolder(u *url.URL) (Store, error) {
	dir := filepath.FromSlash(u.Path)
	if u.Host != "" || u.RawQuery != "" || !filepath.IsAbs(dir) {
		return nil, errors.New("must be file:// and the whole path of a folder, as in file:///srv/boards")
	}
	return folder{filepath.Clean(dir)}, nil
}

func (f folder) String() string { return f.dir }

// fail wraps an error of the file system in a StoreError.
func (f folder) fail(err error) error {
	if err == nil {
		return nil
	}
	return &StoreError{f.dir, err}
}

// within calls do with the folder opened as a root: neither a name nor a symbolic link leads out of it.
func (f folder) within(do func(*os.Root) error) error {
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return f.fail(err)
	}
	defer root.Close()
	return do(root)
}

func (f folder) Put(ctx context.Context, name, _ string, fill func(io.Writer) error) error {
	return f.within(func(root *os.Root) error {
		if err := root.MkdirAll(tempFolder, 0o755); err != nil {
			return f.fail(err)
		}
		temp := path.Join(tempFolder, rand.Text())
		file, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return f.fail(err)
		}
		w := &sink{w: file}
		err = fill(w)
		if w.err != nil {
			err = f.fail(w.err)
		}
		if err == nil {
			err = f.fail(file.Sync()) // else a power cut may leave an empty file under the name
		}
		err = errors.Join(err, f.fail(file.Close()))
		if err == nil {
			err = f.fail(root.MkdirAll(path.Dir(name), 0o755))
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = f.fail(root.Rename(temp, name))
		}
		if err != nil {
			root.Remove(temp)
		}
		return err
	})
}

func (f folder) Open(_ context.Context, name string) (o *Object, err error) {
	err = f.within(func(root *os.Root) error {
		file, err := root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return fs.ErrNotExist
		}
		if err != nil {
			return f.fail(err)
		}
		info, err := file.Stat()
		if err != nil {
			file.Close()
			return f.fail(err)
		}
		o = &Object{file, info.Size(), info.ModTime()}
		return nil
	})
	return o, err
}

func (f folder) Holds(_ context.Context, name string) (holds bool, err error) {
	err = f.within(func(root *os.Root) error {
		dir, err := root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return f.fail(err)
		}
		defer dir.Close()
		names, err := dir.Readdirnames(1)
		holds = len(names) > 0
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return f.fail(err)
	})
	return holds, err
}

func (f folder) RemoveAll(_ context.Context, name string) error {
	return f.within(func(root *os.Root) error { return f.fail(root.RemoveAll(name)) })
}

func (f folder) URL(_ context.Context, name string) (string, error) {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(f.dir, filepath.FromSlash(name)))}).String(), nil
}

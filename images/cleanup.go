package images

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// cleanEvery is the time between two searches for old copies.
const cleanEvery = time.Hour

// cleanUp removes copies that are older than Keep, and temporary files that killed processes have left.
func (c *Copier) cleanUp(ctx context.Context) {
	for {
		if err := c.cleanUpOnce(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn("cannot delete old copies of images, retrying", "err", err)
		}
		if !pause(ctx, cleanEvery) {
			return
		}
	}
}

func (c *Copier) cleanUpOnce(ctx context.Context) error {
	if f, ok := c.Store.(folder); ok {
		if err := f.clean(); err != nil {
			return err
		}
	}
	if c.Keep == 0 {
		return nil
	}
	old, err := c.Ledger.OldFolders(ctx, c.Keep)
	if err != nil {
		return err
	}
	for _, name := range old {
		for _, name := range []string{name, path.Join(thumbFolder, name)} {
			if err := c.Store.RemoveAll(ctx, name); err != nil {
				return err
			}
		}
		if err := c.Ledger.ForgetFolder(ctx, name); err != nil {
			return err
		}
		c.Log.Info("old copies of images deleted", "folder", name, "older_than", c.Keep)
	}
	return nil
}

// clean removes temporary files that killed processes have left.
func (f folder) clean() error {
	return f.within(func(root *os.Root) error {
		dir, err := root.Open(tempFolder)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return f.fail(err)
		}
		defer dir.Close()
		for {
			entries, err := dir.ReadDir(100)
			for _, e := range entries {
				if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > tempOld {
					root.Remove(path.Join(tempFolder, e.Name()))
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return f.fail(err)
			}
		}
	})
}

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tiwsnap/ledger"
)

// writeTimeout is how long a handler tries to write its outcome to Redis.
const writeTimeout = 2 * time.Minute

// replayInterval is how often the spool is read.
const replayInterval = time.Minute

// spool is a folder of outcomes that are not in Redis yet, one file each. It survives
// the process. With an empty dir it stores nothing.
type spool struct{ dir string }

// spoolEntry is one outcome.
type spoolEntry struct {
	ID      string         `json:"id"`
	Attempt int            `json:"attempt"`
	Outcome ledger.Outcome `json:"outcome"`
}

const (
	spoolSuffix = ".outcome.json"
	tmpSuffix   = ".tmp" // of a file that is still being written
	// tmpAge is the age from which the process that wrote such a file must have
	// died: a write takes milliseconds.
	tmpAge = 5 * time.Minute
)

// put stores an entry and returns the path of its file. The entry survives a crash of
// the machine.
func (s spool) put(e spoolEntry) (name string, err error) {
	if s.dir == "" {
		return "", errors.New("no spool folder is set")
	}
	b, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	return s.write(fmt.Sprintf("%s-%d%s", e.ID, e.Attempt, spoolSuffix), b)
}

// write writes a file atomically and returns its path.
func (s spool) write(base string, b []byte) (name string, err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(s.dir, "*"+tmpSuffix)
	if err != nil {
		return "", err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	name = filepath.Join(s.dir, base)
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return name, syncDir(s.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// remove deletes an entry. An empty name is ignored.
func (s spool) remove(name string) {
	if name != "" {
		os.Remove(name)
	}
}

// files returns the paths of all files with the suffix.
func (s spool) files(suffix string) ([]string, error) {
	files, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, f := range files {
		if strings.HasSuffix(f.Name(), suffix) {
			names = append(names, filepath.Join(s.dir, f.Name()))
		}
	}
	return names, err
}

// tidy deletes temporary files that crashed processes have left.
func (s spool) tidy() error {
	names, err := s.files(tmpSuffix)
	errs := []error{err}
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > tmpAge {
			if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) { // another worker may share the folder
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// replay writes spooled outcomes to Redis, at the start and then at each interval
// until ctx ends.
func (w *Worker) replay(ctx context.Context) {
	for {
		names, err := w.spool.files(spoolSuffix)
		if err != nil {
			w.log.Error("spool cannot be read", "spool", w.spool.dir, "err", err)
		}
		if err := w.spool.tidy(); err != nil {
			w.log.Warn("temporary files in the spool cannot be deleted", "spool", w.spool.dir, "err", err)
		}
		for _, name := range names {
			if err := w.replayOne(ctx, name); err != nil && ctx.Err() == nil {
				w.log.Warn("spooled outcome not written, trying again", "file", name, "err", err)
			}
		}
		if !pause(ctx, replayInterval) {
			return
		}
	}
}

// replayOne writes one spooled outcome to Redis and deletes its file.
func (w *Worker) replayOne(ctx context.Context, name string) error {
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // its handler has written it to Redis meanwhile
	}
	if err != nil {
		return err
	}
	var e spoolEntry
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	err = w.ledger.Outcome(ctx, e.ID, e.Attempt, e.Outcome)
	if err != nil && !errors.Is(err, ledger.ErrLate) && !errors.Is(err, ledger.ErrLost) {
		return err
	}
	w.log.Info("spooled outcome written", "id", e.ID, "attempt", e.Attempt, "state", e.Outcome.State)
	return os.Remove(name)
}

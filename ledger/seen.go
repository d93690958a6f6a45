package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// seenMost is how many batches, and how many single snapshots, a process
	// remembers to name what is missing: the newest ones.
	seenMost = 1000
	// seenEvery is the interval at which it reads these, and writes seenFile.
	seenEvery = 10 * time.Second
	seenFile  = "seen.json"
)

// Seen is what a process has seen of Redis. With it CheckLoss notices a loss of data;
// if it is kept in a file, also after a restart of the process. It is safe for
// concurrent use.
type Seen struct {
	mu    sync.Mutex
	at    time.Time // when the ids were read
	state seenState
}

type seenState struct {
	Epoch string   `json:"epoch"`
	Beat  int64    `json:"beat"`
	IDs   []string `json:"ids"` // batches, and snapshots without a batch
}

// MarshalJSON encodes it for a file.
func (s *Seen) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.state)
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (s *Seen) UnmarshalJSON(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Unmarshal(b, &s.state)
}

// ReadSeen reads what Keep has written into a folder. Without a file or a folder the
// result is empty.
func ReadSeen(dir string) (*Seen, error) {
	s := new(Seen)
	if dir == "" {
		return s, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, seenFile))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		return new(Seen), fmt.Errorf("read %s, which detects losses of data across restarts: %w",
			filepath.Join(dir, seenFile), err)
	}
	return s, nil
}

// Keep writes it into a folder for the next process. Several processes may share the
// folder. Without a folder it does nothing.
func (s *Seen) Keep(dir string) error {
	if dir == "" {
		return nil
	}
	b, err := json.Marshal(s)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = replaceFile(dir, seenFile, b)
	}
	if err != nil {
		return fmt.Errorf("write %s, which detects losses of data across restarts: %w",
			filepath.Join(dir, seenFile), err)
	}
	return nil
}

// replaceFile writes a file atomically.
func replaceFile(dir, name string, b []byte) error {
	f, err := os.CreateTemp(dir, "*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// beat returns the beat of the last check.
func (s *Seen) beat() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Beat
}

// Add adds a batch or a single snapshot. At most the newest two thousand are kept.
func (s *Seen) Add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.state.IDs); n >= 2*seenMost {
		s.state.IDs = slices.Delete(s.state.IDs, 0, n-seenMost)
	}
	if !slices.Contains(s.state.IDs, id) {
		s.state.IDs = append(s.state.IDs, id)
	}
}

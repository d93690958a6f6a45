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
	// remembers to say what is missing: the newest ones.
	seenMost = 1000
	// seenEvery is how often it looks what there is, and keeps that in seenFile.
	seenEvery = 10 * time.Second
	seenFile  = "seen.json"
)

// Seen is what a process remembers of Redis, so that it notices a loss of data, in
// this life or, kept in a file, in the next. It is safe for concurrent use.
type Seen struct {
	mu    sync.Mutex
	at    time.Time
	state seenState
}

type seenState struct {
	Epoch string   `json:"epoch"`
	Beat  int64    `json:"beat"`
	IDs   []string `json:"ids"` // batches, and snapshots without a batch
}

// MarshalJSON is for keeping it in a file.
func (s *Seen) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.state)
}

// UnmarshalJSON is the reverse.
func (s *Seen) UnmarshalJSON(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Unmarshal(b, &s.state)
}

// ReadSeen reads what Keep has written into that folder. Where there is nothing, or
// no folder is named, it is empty.
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
		return new(Seen), fmt.Errorf("what was seen of Redis cannot be read: %w", err)
	}
	return s, nil
}

// Keep writes it into a folder for the next process; several may do so. Where no
// folder is named it does nothing.
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
		return fmt.Errorf("what was seen of Redis cannot be kept: %w", err)
	}
	return nil
}

// replaceFile writes a file, whole or not at all.
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

// Add adds a batch, or a snapshot without a batch. The newest two thousand are remembered.
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

// Package roster lists the running workers. Each worker sends a heartbeat every
// few seconds.
package roster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
)

// Every is how often a worker tells of itself; after Gone it is gone.
const (
	Every = 8 * time.Second
	Gone  = 20 * time.Second
)

// Worker is one process that works.
type Worker struct {
	ID       string            `json:"id"`
	Host     string            `json:"host"`
	PID      int               `json:"pid"`
	Version  string            `json:"version"`
	Started  time.Time         `json:"started"`
	Seen     time.Time         `json:"seen"`     // when it has told of itself last
	Busy     int               `json:"busy"`     // rooms that it has in hand
	Sent     int64             `json:"sent"`     // requests since it has started
	Settings map[string]string `json:"settings"` // those that all workers should have alike
}

// Tell writes what a worker is and does. The error is that of Redis.
func Tell(ctx context.Context, rdb redis.UniversalClient, ns keys.Namespace, w Worker) error {
	w.Seen = time.Now().UTC()
	text, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encode the worker: %w", err)
	}
	return rdb.HSet(ctx, ns.Workers(), w.ID, text, anybody, w.Seen.UnixMilli()).Err()
}

// anybody is the field, beside those of the workers, of when one of them has told
// of itself last: Unix milliseconds.
const anybody = "last"

// LastSeen is when a worker has told of itself last; zero: never. The error is
// that of Redis.
func LastSeen(ctx context.Context, rdb redis.UniversalClient, ns keys.Namespace) (time.Time, error) {
	ms, err := rdb.HGet(ctx, ns.Workers(), anybody).Int64()
	if errors.Is(err, redis.Nil) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the roster: %w", err)
	}
	return time.UnixMilli(ms).UTC(), nil
}

// Leave takes a worker off the roster. The error is that of Redis.
func Leave(ctx context.Context, rdb redis.UniversalClient, ns keys.Namespace, id string) error {
	return rdb.HDel(ctx, ns.Workers(), id).Err()
}

// List returns the workers that run, in the order in which they started, and
// forgets the others. The error is that of Redis.
func List(ctx context.Context, rdb redis.UniversalClient, ns keys.Namespace) ([]Worker, error) {
	texts, err := rdb.HGetAll(ctx, ns.Workers()).Result()
	if err != nil {
		return nil, fmt.Errorf("read the roster: %w", err)
	}
	all, gone := []Worker{}, []string{}
	delete(texts, anybody)
	for id, text := range texts {
		var w Worker
		if err := json.Unmarshal([]byte(text), &w); err != nil || time.Since(w.Seen) > Gone {
			gone = append(gone, id)
			continue
		}
		all = append(all, w)
	}
	if len(gone) > 0 {
		if err := rdb.HDel(ctx, ns.Workers(), gone...).Err(); err != nil {
			return nil, fmt.Errorf("forget workers: %w", err)
		}
	}
	slices.SortFunc(all, func(a, b Worker) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// Differ returns the settings in which workers differ, sorted.
func Differ(all []Worker) (names []string) {
	for _, w := range all {
		for name, value := range w.Settings {
			if value != all[0].Settings[name] && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

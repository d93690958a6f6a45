// Package roster is the list of running workers. Each worker writes a heartbeat to Redis every 8 seconds: who it is,
// what it does, and the settings that all workers should share. Readers get the workers whose heartbeat is at most 20
// seconds old. The list is for people (pages, doctor, checks at the start); no work depends on it.
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

const (
	Interval = 8 * time.Second  // between two heartbeats of a worker
	Timeout  = 20 * time.Second // a worker without a heartbeat for this long counts as stopped
)

// Worker is the heartbeat of one worker process.
type Worker struct {
	ID       string            `json:"id"`
	Host     string            `json:"host"`
	PID      int               `json:"pid"`
	Version  string            `json:"version"`
	Started  time.Time         `json:"started"`
	Seen     time.Time         `json:"seen"`     // time of this heartbeat, by the clock of the worker
	Busy     int               `json:"busy"`     // rooms in progress
	Sent     int64             `json:"sent"`     // requests since it started
	Settings map[string]string `json:"settings"` // that should be the same for all workers
}

// Heartbeat stores w with the current time. Errors are those of Redis.
func Heartbeat(ctx context.Context, rdb redis.UniversalClient, ns keys.Namespace, w Worker) error {
	w.Seen = time.Now().UTC()
	text, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encode the heartbeat of the worker: %w", err)
	}
	return rdb.HSet(ctx, ns.Workers(), w.ID, text, lastSeen, w.Seen.UnixMilli()).Err()
}

// lastSeen is the field of the latest heartbeat of any worker, in Unix milliseconds. The other fields are worker IDs.
const lastSeen = "last"

// LastSeen returns the time of the latest heartbeat of any worker, or the zero time if there was none. Errors are
// those of Redis.
func LastSeen(ctx context.Context, rdb redis.UniversalClient, ns keys.Namespace) (time.Time, error) {
	ms, err := rdb.HGet(ctx, ns.Workers(), lastSeen).Int64()
	if errors.Is(err, redis.Nil) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the list of workers: %w", err)
	}
	return time.UnixMilli(ms).UTC(), nil
}

// Remove removes a worker from the list. Errors are those of Redis.
func Remove(ctx context.Context, rdb redis.UniversalClient, ns keys.Namespace, id string) error {
	return rdb.HDel(ctx, ns.Workers(), id).Err()
}

// List returns the running workers, ordered by start time, and deletes expired heartbeats. Errors are those of Redis.
func List(ctx context.Context, rdb redis.UniversalClient, ns keys.Namespace) ([]Worker, error) {
	texts, err := rdb.HGetAll(ctx, ns.Workers()).Result()
	if err != nil {
		return nil, fmt.Errorf("read the list of workers: %w", err)
	}
	all, expired := []Worker{}, []string{}
	delete(texts, lastSeen)
	for id, text := range texts {
		var w Worker
		if err := json.Unmarshal([]byte(text), &w); err != nil || time.Since(w.Seen) > Timeout {
			expired = append(expired, id)
			continue
		}
		all = append(all, w)
	}
	if len(expired) > 0 {
		if err := rdb.HDel(ctx, ns.Workers(), expired...).Err(); err != nil {
			return nil, fmt.Errorf("delete expired heartbeats of workers: %w", err)
		}
	}
	slices.SortFunc(all, func(a, b Worker) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// DifferingSettings returns the sorted names of the settings that are not the same for all workers.
func DifferingSettings(all []Worker) (names []string) {
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

package results

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/asynqx"
	"tiwsnap/ledger"
)

// Found is the result of Find.
type Found struct {
	Snapshots []Result `json:"snapshots" doc:"Newest first"`
	More      bool     `json:"more" doc:"There are more than were asked for, or than the index keeps"`
	Searched  int      `json:"searched" doc:"Queued rooms searched so far, earlier pages included"`
	Waiting   int      `json:"waiting" doc:"Rooms that wait in batches"`
	Next      string   `json:"next,omitempty" doc:"Cursor of the other queued rooms; left out if all were searched"`
}

// Find returns at most limit snapshots that match a word: a RoomId, a TaskID, a
// RequestId, or the value of a label. after is the cursor of the previous call, or
// empty. See ledger.Find. Errors: ledger.ErrCursor, or Redis'.
func (r *Reader) Find(ctx context.Context, word string, limit int, after string) (Found, error) {
	all := Found{Snapshots: []Result{}}
	found, err := r.ledger.Find(ctx, word, limit, after)
	if err != nil {
		return all, err
	}
	all.More, all.Searched, all.Next = found.More, found.Searched, found.Next
	for _, s := range found.Snapshots {
		all.Snapshots = append(all.Snapshots, Explain(s))
	}
	waiting, paused, err := r.backlog.Waiting(ctx)
	if err != nil {
		return all, err
	}
	all.Waiting = waiting + paused
	queued, err := r.onQueue(ctx, found.Unrecorded)
	if err != nil {
		return all, err
	}
	for _, id := range queued {
		if len(all.Snapshots) >= limit {
			all.More = true
			break
		}
		s, err := r.Snapshot(ctx, id)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return all, err
		}
		if err == nil && s.Has(word) {
			all.Snapshots = append(all.Snapshots, Explain(s))
		}
	}
	return all, nil
}

// onQueue returns the ids that are on the queue of single rooms.
func (r *Reader) onQueue(ctx context.Context, ids []string) (queued []string, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	pipe := r.rdb.Pipeline()
	there := make([]*redis.IntCmd, len(ids))
	for i, id := range ids {
		there[i] = pipe.Exists(ctx, asynqx.TaskPrefix(r.ns.QueueInteractive())+id)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("check for single rooms on their queue: %w", err)
	}
	for i, id := range ids {
		if there[i].Val() == 1 {
			queued = append(queued, id)
		}
	}
	return queued, nil
}

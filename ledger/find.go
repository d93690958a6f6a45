package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/tasks"
)

// Found is the result of Find.
type Found struct {
	Snapshots []Snapshot // newest first, then those that wait in open batches
	More      bool       // there are more records than the limit, or than the index keeps
	// Unrecorded are the ids of single snapshots that may match and have no record:
	// they wait on the queue, or have expired.
	Unrecorded []string
	Searched   int    // waiting rooms of open batches searched so far
	Next       string // cursor of the other waiting rooms; empty: all were searched
}

// afterRecords is the cursor before the first waiting room.
const afterRecords = "waiting"

// Find returns at most limit snapshots that match a word: a RoomId, the exact value of
// a label, or the TaskID or RequestId of any attempt. Rooms that wait in open batches
// match by RoomId and label. The cost does not depend on the number of records; at
// most about four million waiting rooms are searched. after is the cursor of the
// previous call, or empty. Errors: ErrCursor, or Redis'.
func (l *Ledger) Find(ctx context.Context, word string, limit int, after string) (Found, error) {
	var found Found
	if after == "" {
		if err := l.findRecords(ctx, word, limit, &found); err != nil {
			return found, err
		}
		if len(found.Snapshots) >= limit {
			found.More = found.More || len(found.Snapshots) > limit
			found.Snapshots, found.Next = found.Snapshots[:limit], afterRecords
			return found, nil
		}
	}
	waiting, err := l.rooms.Search(ctx, word, strings.TrimPrefix(after, afterRecords), limit-len(found.Snapshots))
	if errors.Is(err, backlog.ErrCursor) {
		err = ErrCursor
	}
	if err != nil {
		return found, err
	}
	found.Searched, found.Next = waiting.Searched, waiting.Next
	ids := make([]string, len(waiting.Rooms))
	for i, m := range waiting.Rooms {
		ids[i] = tasks.RowID(m.Batch, m.Row)
	}
	records, err := l.Records(ctx, ids)
	if err != nil {
		return found, err
	}
	for i, m := range waiting.Rooms {
		s := records[i]
		switch {
		case s.State != "" && after != "" && m.Fed:
			continue // it was among the records
		case s.State != "":
			if slices.ContainsFunc(found.Snapshots, func(o Snapshot) bool { return o.ID == s.ID }) {
				continue
			}
		case m.Fed:
			err := l.rdb.ZScore(ctx, l.ns.InFlight(), s.ID).Err()
			if errors.Is(err, redis.Nil) {
				continue // it was just begun, or has been removed
			}
			if err != nil {
				return found, fmt.Errorf("read %s: %w", l.ns.InFlight(), err)
			}
			fallthrough
		default:
			s.State, s.Batch, s.Images, s.History = Queued, m.Batch, []string{}, []Attempt{}
		}
		s.Room = m.Room
		found.Snapshots = append(found.Snapshots, s)
	}
	return found, nil
}

// findRecords adds the snapshots whose record matches the word, newest first. It may
// add more than limit.
func (l *Ledger) findRecords(ctx context.Context, word string, limit int, found *Found) error {
	ids, more, err := l.candidates(ctx, word)
	if err != nil {
		return err
	}
	found.More = more
	for part := range slices.Chunk(ids, page) {
		all, err := l.Snapshots(ctx, part)
		if err != nil {
			return err
		}
		for _, s := range all {
			switch {
			case s.State == "" && batchOf(s.ID) == "":
				found.Unrecorded = append(found.Unrecorded, s.ID)
			case s.State != "" && s.Has(word):
				found.Snapshots = append(found.Snapshots, s)
			}
		}
		if len(found.Snapshots) > limit {
			break
		}
	}
	slices.SortStableFunc(found.Snapshots, func(a, b Snapshot) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return nil
}

// find returns the snapshots whose record matches the word.
func (l *Ledger) find(ctx context.Context, word string) ([]Snapshot, error) {
	ids, _, err := l.candidates(ctx, word)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	all, err := l.Snapshots(ctx, ids)
	return slices.DeleteFunc(all, func(s Snapshot) bool { return s.State == "" || !s.Has(word) }), err
}

// Has reports whether the snapshot matches a word, see Find.
func (s Snapshot) Has(word string) bool {
	return s.TaskID == word || s.RequestID == word || slices.Contains(s.Room.Words(), word) ||
		slices.ContainsFunc(s.History, func(a Attempt) bool { return a.TaskID == word || a.RequestID == word })
}

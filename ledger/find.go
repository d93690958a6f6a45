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

// Found is what Find has found.
type Found struct {
	Snapshots []Snapshot // newest first, those that wait in open batches last
	More      bool       // there are more records than the limit, or than the index keeps
	// Unrecorded are the ids of single rooms that may have the word and have no
	// record: they wait on the queue, or have expired.
	Unrecorded []string
	Searched   int    // rooms that wait in open batches and were looked at
	Next       string // cursor: there are more rooms that wait; empty: all were looked at
}

// afterRecords is the cursor before the first room that waits.
const afterRecords = "waiting"

// Find returns the snapshots of a word, at most limit: those with that RoomId, a
// label of that very value, or that TaskID or RequestId of any of their attempts.
// Of rooms that wait in open batches it finds RoomId and labels. What it costs
// does not depend on how many records there are; of the rooms that wait it looks
// at a few million. after is the cursor of the Find before, or empty.
// Errors: ErrCursor, or Redis'.
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
			continue // it came with the records
		case s.State != "":
			if slices.ContainsFunc(found.Snapshots, func(o Snapshot) bool { return o.ID == s.ID }) {
				continue
			}
		case m.Fed:
			err := l.rdb.ZScore(ctx, l.ns.InFlight(), s.ID).Err()
			if errors.Is(err, redis.Nil) {
				continue // it was begun in this moment, or is none any more
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

// findRecords adds the snapshots that have a record with the word, newest first,
// some more than the limit if there are.
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

// find returns the snapshots that have a record with the word.
func (l *Ledger) find(ctx context.Context, word string) ([]Snapshot, error) {
	ids, _, err := l.candidates(ctx, word)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	all, err := l.Snapshots(ctx, ids)
	return slices.DeleteFunc(all, func(s Snapshot) bool { return s.State == "" || !s.Has(word) }), err
}

// Has reports whether a word is one by which the snapshot is found.
func (s Snapshot) Has(word string) bool {
	return s.TaskID == word || s.RequestID == word || slices.Contains(s.Room.Words(), word) ||
		slices.ContainsFunc(s.History, func(a Attempt) bool { return a.TaskID == word || a.RequestID == word })
}

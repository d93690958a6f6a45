package ledger

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
)

// Failures returns the failed snapshots of a batch, or with "" those that have
// no batch, the newest first. They are read a few hundred at a time; retrying
// them on the way leaves none out, and one that fails anew meanwhile does not
// come a second time. An error ends the sequence.
func (l *Ledger) Failures(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return l.newestFirst(ctx, l.ns.Failed(batch))
}

// Held returns the snapshots of a batch, or with "" those that have no batch,
// whose outcome is unknown and that wait for a person, in the manner of
// Failures.
func (l *Ledger) Held(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return l.newestFirst(ctx, l.ns.Held(batch))
}

// suspended returns the snapshots of a batch that wait until their SdkAppId is
// no longer suspended. What is let go meanwhile may be left out.
func (l *Ledger) suspended(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		apps, err := l.rdb.ZRange(ctx, l.ns.Suspended(), 0, -1).Result()
		if err != nil {
			yield(Snapshot{}, fmt.Errorf("read %s: %w", l.ns.Suspended(), err))
			return
		}
		for _, name := range apps {
			app, err := strconv.ParseUint(name, 10, 64)
			if err != nil {
				yield(Snapshot{}, fmt.Errorf("%s: %w", l.ns.Suspended(), err))
				return
			}
			rooms := l.ns.SuspendedRooms(app)
			for first := int64(0); ; first += page {
				ids, err := l.rdb.LRange(ctx, rooms, first, first+page-1).Result()
				if err != nil {
					yield(Snapshot{}, fmt.Errorf("read %s: %w", rooms, err))
					return
				}
				if len(ids) == 0 {
					break
				}
				all, err := l.Snapshots(ctx, slices.DeleteFunc(ids, func(id string) bool { return batchOf(id) != batch }))
				if err != nil {
					yield(Snapshot{}, err)
					return
				}
				for _, s := range all {
					if s.State != "" && !yield(s, nil) {
						return
					}
				}
			}
		}
	}
}

// Singles returns the snapshots without a batch that have a record: first those
// that have not ended, then the ended ones, the newest first. One that goes on
// meanwhile comes once. An error ends the sequence.
func (l *Ledger) Singles(ctx context.Context) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		seen := map[string]bool{} // of what is not packed, which is little
		give := func(s Snapshot, err error) bool {
			if err == nil && (seen[s.ID] || s.State == "") {
				return true
			}
			seen[s.ID] = true
			return yield(s, err) && err == nil
		}
		for s, err := range l.suspended(ctx, "") {
			if !give(s, err) {
				return
			}
		}
		for _, key := range []string{l.ns.Held(""), l.ns.Open(), l.ns.Confirm(), l.ns.Unpacked()} {
			for ids, err := range l.ranks(ctx, key) {
				if !l.giveSingles(ctx, ids, err, give) {
					return
				}
			}
		}
		for last := int64(-1); ; last -= page { // what is packed now comes behind
			ids, err := l.rdb.LRange(ctx, l.ns.Expiring(), last-page+1, last).Result()
			if err != nil {
				err = fmt.Errorf("read %s: %w", l.ns.Expiring(), err)
			}
			slices.Reverse(ids)
			if !l.giveSingles(ctx, ids, err, give) || len(ids) < page {
				return
			}
		}
	}
}

// giveSingles gives the records of those ids that have no batch. It returns
// false where nothing more is wanted.
func (l *Ledger) giveSingles(ctx context.Context, ids []string, err error, give func(Snapshot, error) bool) bool {
	var all []Snapshot
	if err == nil {
		all, err = l.Records(ctx, slices.DeleteFunc(ids, func(id string) bool { return batchOf(id) != "" }))
	}
	if err != nil {
		return give(Snapshot{}, err)
	}
	for _, s := range all {
		if !give(s, nil) {
			return false
		}
	}
	return true
}

// page is how many ids are read at a time where there may be a million.
const page = 500

// ranks goes through a sorted set of ids from the last rank down, a page at a
// time: neither what is added behind nor what is taken away there changes the
// ranks that are still to come. An error ends the sequence.
func (l *Ledger) ranks(ctx context.Context, key string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		n, err := l.rdb.ZCard(ctx, key).Result()
		if err != nil {
			yield(nil, fmt.Errorf("read %s: %w", key, err))
			return
		}
		for last := n - 1; last >= 0; last -= page {
			ids, err := l.rdb.ZRange(ctx, key, max(0, last-page+1), last).Result()
			if err != nil {
				yield(nil, fmt.Errorf("read %s: %w", key, err))
				return
			}
			slices.Reverse(ids)
			if !yield(ids, nil) {
				return
			}
		}
	}
}

// newestFirst returns the snapshots of a sorted set, in the manner of ranks.
func (l *Ledger) newestFirst(ctx context.Context, key string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		for ids, err := range l.ranks(ctx, key) {
			if err != nil {
				yield(Snapshot{}, err)
				return
			}
			all, err := l.Snapshots(ctx, ids)
			if err != nil {
				yield(Snapshot{}, err)
				return
			}
			for _, s := range all {
				if s.State != "" && !yield(s, nil) { // else it has expired
					return
				}
			}
		}
	}
}

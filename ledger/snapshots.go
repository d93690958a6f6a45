package ledger

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
)

// Failures returns the failed snapshots of a batch, or with "" the single ones, newest
// first. It reads a few hundred at a time. Retrying snapshots during the iteration
// skips none, and one that fails again meanwhile is not repeated. An error ends the
// sequence.
func (l *Ledger) Failures(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return l.newestFirst(ctx, l.ns.Failed(batch))
}

// Held returns the snapshots of a batch, or with "" the single ones, that are held for
// review. It iterates as Failures does.
func (l *Ledger) Held(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return l.newestFirst(ctx, l.ns.Held(batch))
}

// suspended returns the snapshots of a batch, or with "" the single ones, that wait
// for a suspended SdkAppId. It may skip some if others are released meanwhile.
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

// Singles returns the single snapshots that have a record: first those that have not
// ended, then the ended ones, newest first. A snapshot that changes state meanwhile is
// not repeated. An error ends the sequence.
func (l *Ledger) Singles(ctx context.Context) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		seen := map[string]bool{} // ids
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
		for last := int64(-1); ; last -= page { // records that are packed meanwhile are appended
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

// giveSingles calls give with the records of the ids that have no batch. It returns
// false if give does.
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

// page is how many ids are read at a time from a set of up to a million.
const page = 500

// ranks iterates over a sorted set of ids from the last rank down, a page at a time.
// Adding or removing members at the end does not change the ranks that remain. An
// error ends the sequence.
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

// newestFirst returns the snapshots of a sorted set in the order of ranks.
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
				if s.State != "" && !yield(s, nil) { // an empty state: expired
					return
				}
			}
		}
	}
}

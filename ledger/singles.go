package ledger

import (
	"context"
	"fmt"
	"iter"
	"slices"
)

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
		for _, key := range []string{l.ns.Waiting(""), l.ns.Open(), l.ns.Confirm(), l.ns.Unpacked()} {
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

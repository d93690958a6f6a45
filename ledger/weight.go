package ledger

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Weight is what the records of a namespace take, measured and to come.
type Weight struct {
	Record int // bytes that an ended record takes on average, with all that leads to it
	Begun  int // snapshots that have not ended, those in the backlog left out
}

const (
	// recordOverhead is what a packed record takes beside itself: its place in the
	// hash, its entries in the index, and what Redis rounds up to.
	recordOverhead = 200
	// unknownRecord is what a record is taken for before weighedEnough of them were
	// packed: that of a board of 60 images whose names have nothing in common.
	unknownRecord, weighedEnough = 2500, 100
)

// Weight returns what the records take. It costs the same however many they are.
func (l *Ledger) Weight(ctx context.Context) (Weight, error) {
	pipe := l.rdb.Pipeline()
	packed := pipe.HMGet(ctx, l.ns.Totals(), "packed", "packed_bytes")
	begun := []*redis.IntCmd{
		pipe.ZCard(ctx, l.ns.InFlight()), pipe.ZCard(ctx, l.ns.Open()), pipe.ZCard(ctx, l.ns.Confirm()),
		pipe.ZCard(ctx, l.ns.Unpacked()),
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return Weight{}, fmt.Errorf("weigh the records: %w", err)
	}
	w := Weight{Record: unknownRecord}
	n, _ := packed.Val()[0].(string)
	bytes, _ := packed.Val()[1].(string)
	if atoi(n) >= weighedEnough {
		w.Record = atoi(bytes)/atoi(n) + recordOverhead
	}
	for _, c := range begun {
		w.Begun += int(c.Val())
	}
	return w, nil
}

package ledger

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Weight is the memory that records take in Redis.
type Weight struct {
	Record int // average bytes of an ended record, with its entries in the index
	Begun  int // snapshots that have left the backlog and have not been packed
}

const (
	// recordOverhead is the memory of a packed record beside its value, in bytes: its
	// field of the hash, its entries in the index, and the rounding of Redis.
	recordOverhead = 200
	// unknownRecord is the assumed size of a record, in bytes, until weighedEnough of
	// them were packed: a board of 60 images whose names have nothing in common.
	unknownRecord, weighedEnough = 2500, 100
)

// Weight returns the memory that records take. Its cost does not depend on their
// number.
func (l *Ledger) Weight(ctx context.Context) (Weight, error) {
	pipe := l.rdb.Pipeline()
	packed := pipe.HMGet(ctx, l.ns.Totals(), "packed", "packed_bytes")
	begun := []*redis.IntCmd{
		pipe.ZCard(ctx, l.ns.InFlight()), pipe.ZCard(ctx, l.ns.Open()), pipe.ZCard(ctx, l.ns.Confirm()),
		pipe.ZCard(ctx, l.ns.Unpacked()),
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return Weight{}, fmt.Errorf("read the size of the records: %w", err)
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

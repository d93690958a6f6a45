package ledger

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed expire.lua
	expireSource string
	expireScript = redis.NewScript(expireSource)
	//go:embed drop.lua
	dropSource string
	dropScript = redis.NewScript(dropSource)
)

// Purge deletes the records of single snapshots whose retention is over and the
// remains of expired batches, starting with the oldest. It also extends the life of
// index days that still have records.
func (l *Ledger) Purge(ctx context.Context) error {
	for n := purgeMany; n == purgeMany; {
		var err error
		n, err = expireScript.Run(ctx, l.rdb, []string{l.ns.Packed(""), l.ns.Expiring()},
			l.o.Retention.Milliseconds(), purgeMany).Int()
		if err != nil {
			return fmt.Errorf("drop expired records: %w", err)
		}
	}
	if err := l.dropExpired(ctx); err != nil {
		return err
	}
	return l.keepIndexes(ctx)
}

// purgeMany is how many of the oldest batches or records are checked at a time.
const purgeMany = 100

func (l *Ledger) dropExpired(ctx context.Context) error {
	ids, err := l.rdb.ZRange(ctx, l.ns.Batches(), 0, purgeMany-1).Result()
	if err != nil {
		return fmt.Errorf("read batches: %w", err)
	}
	pipe := l.rdb.Pipeline()
	there := make([]*redis.IntCmd, len(ids))
	for i, id := range ids {
		there[i] = pipe.Exists(ctx, l.ns.Batch(id))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("check for expired batches: %w", err)
	}
	for i, id := range ids {
		if there[i].Val() == 0 {
			if err := l.drop(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop deletes the remains of an expired batch, unless a batch of that id exists again.
func (l *Ledger) drop(ctx context.Context, id string) error {
	err := dropScript.Run(ctx, l.rdb, []string{
		l.ns.Batch(id), l.ns.Batches(), l.ns.Running(), l.ns.Rows(id), l.ns.Packed(id), l.ns.Failed(id), l.ns.Held(id),
		l.ns.Refeed(id),
		l.ns.CopiesOf(id), l.ns.Copying(id), l.ns.LostImages(id),
	}, id).Err()
	if err != nil {
		return fmt.Errorf("drop expired batch %s: %w", id, err)
	}
	return nil
}

package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Notice is one end of something, or a tick that failed, to be told by webhook.
// What is retried ends again, and that is another notice.
type Notice struct {
	// Kind is snapshot, batch, images (of a batch), schedule, loss (of data), or callback: of
	// a snapshot, for the CallbackURL of its room.
	Kind string
	ID   string
	At   time.Time
	URL  string // of the batch's own receiver, or empty; not set for a callback
}

// tellFor is how long what SetNotifications has set holds.
const tellFor = 24 * time.Hour

// SetNotifications makes a notice of each snapshot, or of each batch, that ends from now
// on, whoever ends it, of each batch whose images are copied, or of each tick of a
// schedule that fails (package schedule does that). It has to be called again within 24 hours. A batch with
// a receiver of its own makes a notice of its end in any case.
func (l *Ledger) SetNotifications(ctx context.Context, snapshots, batches, images, schedules bool) error {
	pipe := l.rdb.TxPipeline()
	pipe.HSet(ctx, l.ns.Notifications(), "snapshot", snapshots, "batch", batches, "images", images, "schedule", schedules)
	pipe.PExpire(ctx, l.ns.Notifications(), tellFor)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("write what is told: %w", err)
	}
	return nil
}

// noticeLease is how long a worker has to hand on what TakeNotices gave it.
const noticeLease = 30 * time.Second

// HasNotices reports whether something was not told yet.
func (l *Ledger) HasNotices(ctx context.Context) (bool, error) {
	n, err := l.rdb.Exists(ctx, l.ns.Outbox()).Result()
	if err != nil {
		return false, fmt.Errorf("read %s: %w", l.ns.Outbox(), err)
	}
	return n > 0, nil
}

// TakeNotices hands out at most n of what was not told yet. Nobody else gets
// them for 30 seconds; DeleteNotices removes them.
func (l *Ledger) TakeNotices(ctx context.Context, n int) ([]Notice, error) {
	members, err := l.due(ctx, l.ns.Outbox(), 0, n, noticeLease)
	if err != nil || len(members) == 0 {
		return nil, err
	}
	notices := make([]Notice, len(members))
	urls := make([]*redis.StringCmd, len(members))
	pipe := l.rdb.Pipeline()
	for i, member := range members {
		notices[i] = parseNotice(member)
		batch := notices[i].ID
		switch notices[i].Kind {
		case "callback":
			continue
		case "snapshot":
			batch = batchOf(batch)
		}
		urls[i] = pipe.HGet(ctx, l.ns.Batch(batch), "webhook")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	for i, url := range urls {
		if url != nil {
			notices[i].URL = url.Val()
		}
	}
	return notices, nil
}

// DeleteNotices removes notices that were handed on.
func (l *Ledger) DeleteNotices(ctx context.Context, notices []Notice) error {
	if len(notices) == 0 {
		return nil
	}
	members := make([]any, len(notices))
	for i, n := range notices {
		members[i] = n.member()
	}
	return l.rdb.ZRem(ctx, l.ns.Outbox(), members...).Err()
}

// PostponeNotices puts notices off that cannot be handed on yet: they are handed
// out again from then on, at about 100 a second.
func (l *Ledger) PostponeNotices(ctx context.Context, notices []Notice) error {
	if len(notices) == 0 {
		return nil
	}
	pipe := l.rdb.Pipeline()
	now, waiting := pipe.Time(ctx), pipe.ZCard(ctx, l.ns.Outbox())
	_, err := pipe.Exec(ctx)
	if err == nil {
		spread := time.Second + time.Duration(waiting.Val())*10*time.Millisecond
		members := make([]redis.Z, len(notices))
		for i, n := range notices {
			at := now.Val().Add(time.Second + rand.N(spread))
			members[i] = redis.Z{Score: float64(at.UnixMilli()), Member: n.member()}
		}
		err = l.rdb.ZAddXX(ctx, l.ns.Outbox(), members...).Err()
	}
	if err != nil {
		return fmt.Errorf("put notices off: %w", err)
	}
	return nil
}

// member is the notice as it lies in l.ns.Outbox().
func (n Notice) member() string { return fmt.Sprintf("%s:%d:%s", n.Kind, n.At.UnixMilli(), n.ID) }

func parseNotice(member string) Notice {
	kind, rest, _ := strings.Cut(member, ":")
	at, id, _ := strings.Cut(rest, ":")
	return Notice{Kind: kind, ID: id, At: unixMilli(at)}
}

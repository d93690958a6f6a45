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

// Notice is an event in the outbox, to be sent by webhook. A snapshot or batch that
// ends again after a retry makes another notice.
type Notice struct {
	// Kind is snapshot (ended), batch (ended), images (all of a batch copied or lost),
	// schedule (a tick failed), loss (of data), or callback (a snapshot ended whose
	// room has a CallbackURL).
	Kind string
	ID   string
	At   time.Time
	URL  string // receiver of the batch's own, or empty; never set for a callback
}

// notificationsTTL is how long SetNotifications is in effect.
const notificationsTTL = 24 * time.Hour

// SetNotifications sets which events make notices from now on, in any process: ended
// snapshots, ended batches, copied images, failed ticks of schedules. It is in effect
// for 24 hours. The end of a batch with a receiver of its own always makes a notice.
func (l *Ledger) SetNotifications(ctx context.Context, snapshots, batches, images, schedules bool) error {
	pipe := l.rdb.TxPipeline()
	pipe.HSet(ctx, l.ns.Notifications(), "snapshot", snapshots, "batch", batches, "images", images, "schedule", schedules)
	pipe.PExpire(ctx, l.ns.Notifications(), notificationsTTL)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("write %s: %w", l.ns.Notifications(), err)
	}
	return nil
}

// noticeLease is how long a notice is leased to the worker that processes it.
const noticeLease = 30 * time.Second

// HasNotices reports whether the outbox has notices.
func (l *Ledger) HasNotices(ctx context.Context) (bool, error) {
	n, err := l.rdb.Exists(ctx, l.ns.Outbox()).Result()
	if err != nil {
		return false, fmt.Errorf("read %s: %w", l.ns.Outbox(), err)
	}
	return n > 0, nil
}

// TakeNotices leases at most n due notices for 30 seconds. DeleteNotices or
// PostponeNotices ends the lease.
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

// DeleteNotices deletes notices from the outbox.
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

// PostponeNotices postpones notices that cannot be processed yet. Those of a full
// outbox become due again at about 100 a second.
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
		return fmt.Errorf("postpone notices: %w", err)
	}
	return nil
}

// member returns the member of the outbox, "KIND:MS:ID".
func (n Notice) member() string { return fmt.Sprintf("%s:%d:%s", n.Kind, n.At.UnixMilli(), n.ID) }

func parseNotice(member string) Notice {
	kind, rest, _ := strings.Cut(member, ":")
	at, id, _ := strings.Cut(rest, ":")
	return Notice{Kind: kind, ID: id, At: unixMilli(at)}
}

package webhook

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
)

const (
	// maxQueued bounds the webhooks for one host in asynq, at almost a kilobyte each. Further ones wait in the ledger.
	maxQueued = 500
	// queuedFor is how long a webhook counts whose end was not recorded: it was deleted, or a worker died.
	queuedFor = 25 * time.Hour
)

// Outbox keeps the number of webhooks in asynq for each host, and the receivers that are gone. All processes of a
// namespace share it. It is safe for concurrent use. Its errors are those of Redis.
type Outbox struct {
	rdb redis.UniversalClient
	ns  keys.Namespace
}

// NewOutbox returns the outbox of a namespace in rdb.
func NewOutbox(rdb redis.UniversalClient, ns keys.Namespace) *Outbox { return &Outbox{rdb, ns} }

// HostOf returns the host of a receiver's URL, without the rest, which may be secret. It returns "default" if the URL
// is empty: the receiver is that of the settings then.
func HostOf(receiver string) string {
	if u, err := url.Parse(receiver); err == nil && u.Host != "" {
		return Host(u)
	}
	return "default"
}

// BatchOf returns the batch that names the receiver of a webhook. It is empty if the receiver is that of the settings,
// or of a room without a batch.
func BatchOf(p tasks.NotifyPayload) string {
	switch batch, _, ok := tasks.SplitRowID(p.Ref); {
	case p.URL == "":
		return ""
	case ok:
		return batch
	case p.Type == tasks.BatchEnded || p.Type == tasks.ImagesCopied:
		return p.Ref
	}
	return ""
}

// room returns how many more webhooks for a host (see HostOf) may be enqueued in asynq.
func (o *Outbox) room(ctx context.Context, host string) (int, error) {
	pipe := o.rdb.Pipeline()
	pipe.ZRemRangeByScore(ctx, o.ns.WebhooksQueued(host), "-inf", ago(queuedFor))
	queued := pipe.ZCard(ctx, o.ns.WebhooksQueued(host))
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count the webhooks of %s: %w", host, err)
	}
	return max(0, maxQueued-int(queued.Val())), nil
}

// queue records that webhooks for a host are about to be enqueued in asynq.
func (o *Outbox) queue(ctx context.Context, host string, ids ...string) error {
	now := float64(time.Now().UnixMilli())
	members := make([]redis.Z, len(ids))
	for i, id := range ids {
		members[i] = redis.Z{Score: now, Member: id}
	}
	pipe := o.rdb.Pipeline()
	pipe.ZAdd(ctx, o.ns.WebhooksQueued(host), members...)
	pipe.PExpire(ctx, o.ns.WebhooksQueued(host), queuedFor)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("count the webhooks of %s: %w", host, err)
	}
	return nil
}

// done records that a webhook was delivered or given up.
func (o *Outbox) done(ctx context.Context, host, id string) error {
	return o.rdb.ZRem(ctx, o.ns.WebhooksQueued(host), id).Err()
}

func ago(d time.Duration) string { return strconv.FormatInt(time.Now().Add(-d).UnixMilli(), 10) }

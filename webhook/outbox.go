package webhook

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
)

const (
	// mostQueued is how many webhooks for one host are in asynq, at almost a kilobyte each. The others wait in the
	// ledger.
	mostQueued = 500
	// queuedFor is how long one counts whose end was not noted: it was deleted, or a worker has died.
	queuedFor = 25 * time.Hour
	// mostGone and goneFor bound what is remembered of receivers that are gone.
	mostGone = 10_000
	goneFor  = 90 * 24 * time.Hour
)

// Outbox is what all processes know of the webhooks of a namespace that are not
// delivered yet. It is safe for concurrent use. Its errors are Redis'.
type Outbox struct {
	rdb redis.UniversalClient
	ns  keys.Namespace
}

// NewOutbox returns the outbox of a namespace in rdb.
func NewOutbox(rdb redis.UniversalClient, ns keys.Namespace) *Outbox { return &Outbox{rdb, ns} }

// HostOf is the host of a receiver's URL, or "default" where that is empty or
// none: it is the one of the settings then. The rest of a URL may be a key.
func HostOf(receiver string) string {
	if u, err := url.Parse(receiver); err == nil && u.Host != "" {
		return Host(u)
	}
	return "default"
}

// BatchOf is the batch that names the receiver of a webhook. It is empty where
// that is the receiver of the settings, or of a room without a batch.
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

// room returns how many more webhooks may be put in asynq for a host, as HostOf
// names it.
func (o *Outbox) room(ctx context.Context, host string) (int, error) {
	pipe := o.rdb.Pipeline()
	pipe.ZRemRangeByScore(ctx, o.ns.WebhooksQueued(host), "-inf", ago(queuedFor))
	queued := pipe.ZCard(ctx, o.ns.WebhooksQueued(host))
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("count the webhooks of %s: %w", host, err)
	}
	return max(0, mostQueued-int(queued.Val())), nil
}

// queue notes that webhooks for a host are about to be put in asynq.
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

// done notes that a webhook was delivered or is not tried any more.
func (o *Outbox) done(ctx context.Context, host, id string) error {
	return o.rdb.ZRem(ctx, o.ns.WebhooksQueued(host), id).Err()
}

// Gone is a receiver that has answered 410. No event is sent to it any more for
// what it comes from.
type Gone struct {
	Host  string    `json:"host"`
	Batch string    `json:"batch,omitempty"` // whose receiver it is; empty: that of the settings
	Since time.Time `json:"since"`
}

// goneMember is a URL as the outbox knows it: it may hold a key.
func goneMember(batch, url string) string {
	return fmt.Sprintf("%s %s %.8x", batch, HostOf(url), sha256.Sum256([]byte(url)))
}

// setGone notes that the receiver at a URL, of a batch or of the settings (""),
// is gone. first: it was not yet.
func (o *Outbox) setGone(ctx context.Context, batch, url string) (first bool, err error) {
	key := o.ns.WebhooksGone()
	pipe := o.rdb.TxPipeline()
	added := pipe.ZAddNX(ctx, key, redis.Z{Score: float64(time.Now().UnixMilli()), Member: goneMember(batch, url)})
	pipe.ZRemRangeByRank(ctx, key, 0, -mostGone-1)
	pipe.ZRemRangeByScore(ctx, key, "-inf", ago(goneFor))
	pipe.PExpire(ctx, key, goneFor)
	if _, err := pipe.Exec(ctx); err != nil {
		return false, fmt.Errorf("note that %s is gone: %w", HostOf(url), err)
	}
	return added.Val() > 0, nil
}

// isGone reports whether setGone was called for it, and a person has not had its
// webhooks resent since.
func (o *Outbox) isGone(ctx context.Context, batch, url string) (bool, error) {
	_, err := o.rdb.ZScore(ctx, o.ns.WebhooksGone(), goneMember(batch, url)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("read which receivers are gone: %w", err)
	}
	return err == nil, nil
}

// ListGone lists the receivers that are gone, the newest first.
func (o *Outbox) ListGone(ctx context.Context) ([]Gone, error) {
	all := []Gone{}
	err := o.eachGone(ctx, func(member string, g Gone) { all = append(all, g) })
	slices.Reverse(all)
	return all, err
}

// Return takes the receivers of a batch, or that of the settings (""), for gone no
// more: a person wants them told.
func (o *Outbox) Return(ctx context.Context, batch string) error {
	var members []any
	err := o.eachGone(ctx, func(member string, g Gone) {
		if g.Batch == batch {
			members = append(members, member)
		}
	})
	if err == nil && len(members) > 0 {
		err = o.rdb.ZRem(ctx, o.ns.WebhooksGone(), members...).Err()
	}
	return err
}

// ReturnAll is Return for all of them.
func (o *Outbox) ReturnAll(ctx context.Context) error {
	return o.rdb.Del(ctx, o.ns.WebhooksGone()).Err()
}

func (o *Outbox) eachGone(ctx context.Context, yield func(member string, g Gone)) error {
	members, err := o.rdb.ZRangeWithScores(ctx, o.ns.WebhooksGone(), 0, -1).Result()
	if err != nil {
		return fmt.Errorf("read which receivers are gone: %w", err)
	}
	for _, m := range members {
		member, _ := m.Member.(string)
		batch, rest, _ := strings.Cut(member, " ")
		host, _, _ := strings.Cut(rest, " ")
		yield(member, Gone{host, batch, time.UnixMilli(int64(m.Score)).UTC()})
	}
	return nil
}

func ago(d time.Duration) string { return strconv.FormatInt(time.Now().Add(-d).UnixMilli(), 10) }

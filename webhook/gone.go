package webhook

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxGone and goneFor bound the list of receivers that are gone.
const (
	maxGone = 10_000
	goneFor = 90 * 24 * time.Hour
)

// Gone is a receiver that has answered 410 Gone. It gets no more webhooks.
type Gone struct {
	Host  string    `json:"host"`
	Batch string    `json:"batch,omitempty"` // that names the receiver; empty: it is that of the settings
	Since time.Time `json:"since"`
}

// goneMember returns the member of the list for a URL: its host and a hash, because the URL may contain a secret.
func goneMember(batch, url string) string {
	return fmt.Sprintf("%s %s %.8x", batch, HostOf(url), sha256.Sum256([]byte(url)))
}

// markGone records that the receiver of a batch, or of the settings (""), is gone. first is false if it was before.
func (o *Outbox) markGone(ctx context.Context, batch, url string) (first bool, err error) {
	key := o.ns.WebhooksGone()
	pipe := o.rdb.TxPipeline()
	added := pipe.ZAddNX(ctx, key, redis.Z{Score: float64(time.Now().UnixMilli()), Member: goneMember(batch, url)})
	pipe.ZRemRangeByRank(ctx, key, 0, -maxGone-1)
	pipe.ZRemRangeByScore(ctx, key, "-inf", ago(goneFor))
	pipe.PExpire(ctx, key, goneFor)
	if _, err := pipe.Exec(ctx); err != nil {
		return false, fmt.Errorf("note that %s is gone: %w", HostOf(url), err)
	}
	return added.Val() > 0, nil
}

// isGone reports whether a receiver is gone. It returns when a person has its webhooks resent.
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

// Return removes the receivers of a batch, or that of the settings (""), from the list.
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

// ReturnAll removes all receivers from the list.
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

package ratelimit

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed history.lua
var historyLua string

var historyScript = redis.NewScript(historyLua)

// Span is the length of a History.
type Span string

// The supported spans.
const (
	Quarter Span = "15m"
	Day     Span = "24h"
	Week    Span = "7d"
)

// spans are the ring buffers of the history, from the finest to the coarsest.
var spans = [3]struct {
	span Span
	slot time.Duration
	n    int // slots
}{{Quarter, 5 * time.Second, 180}, {Day, 5 * time.Minute, 288}, {Week, 30 * time.Minute, 336}}

// Point counts the requests of one time slot.
type Point struct {
	At      time.Time `json:"at"` // start of the slot
	Sent    int       `json:"sent"`
	Refused int       `json:"refused"`         // rejected by the API, included in Sent
	Limit   int       `json:"limit,omitempty"` // requests per second at that time; 0: nothing was sent
}

// RecordWithin is the longest interval at which a worker calls Record.
const RecordWithin = 10 * time.Second

// History counts the requests of all processes over a span, oldest slot first. The last slot is the current one.
// Points[:Complete] ended at least RecordWithin ago, so all workers have recorded them.
type History struct {
	Span     Span    `json:"span"`
	Slot     int     `json:"slot_seconds"`
	Complete int     `json:"complete"`
	Points   []Point `json:"points"`
}

// counts are the requests of this process in slots of the finest ring. A key is the start of a slot in Unix seconds by
// the clock of Redis. A request counts at the instant of its permit. No second has more instants than the limit, so no
// slot exceeds it, however late the request is recorded.
type counts map[int64]count

type count struct{ sent, refused int }

// add adds n to a slot. It keeps at most as many slots as the finest ring has, because Record may never be called.
func (c counts) add(slot int64, n count) {
	was := c[slot]
	c[slot] = count{was.sent + n.sent, was.refused + n.refused}
	if len(c) > spans[0].n {
		delete(c, slices.Min(slices.Collect(maps.Keys(c))))
	}
}

// count counts requests of the permit. The caller holds the limiter's mu.
func (p *Permit) count(sent, refused int) {
	p.limiter.counts.add(time.UnixMicro(p.clock).Truncate(spans[0].slot).Unix(), count{sent, refused})
}

// record is counts that are being written to the history. Its id makes a repeated write idempotent.
type record struct {
	id     string
	counts counts
}

// Record writes the requests of this process to the history. It takes one round trip, or none if there are no requests.
// After an error, the next call writes them. Errors are those of Redis.
func (l *Limiter) Record(ctx context.Context) error {
	for {
		l.mu.Lock()
		if l.unrecorded == nil && len(l.counts) > 0 {
			l.unrecorded, l.counts = &record{rand.Text(), l.counts}, counts{}
		}
		r := l.unrecorded
		l.mu.Unlock()
		if r == nil {
			return nil
		}
		if err := l.write(ctx, r); err != nil {
			return fmt.Errorf("write the history of the rate limit: %w", err)
		}
		l.mu.Lock()
		l.unrecorded = nil
		l.mu.Unlock()
	}
}

func (l *Limiter) write(ctx context.Context, r *record) error {
	args := []any{l.Limit()}
	for _, s := range spans {
		args = append(args, int(s.slot.Seconds()))
	}
	for _, s := range spans {
		args = append(args, s.n)
	}
	for slot, n := range r.counts {
		args = append(args, slot, n.sent, n.refused)
	}
	keys := append(l.bucket.history(), l.bucket.key+":recorded:"+r.id)
	if err := historyScript.Run(ctx, l.bucket.redis, keys, args...).Err(); err != nil && err != redis.Nil {
		return err
	}
	return nil
}

func (b *bucket) history() (keys []string) {
	for _, s := range spans {
		keys = append(keys, b.key+":history:"+string(s.span))
	}
	return keys
}

// History returns the requests of all processes over a span. Times are by the clock of Redis. Errors are those of
// Redis, or an unknown span.
func (l *Limiter) History(ctx context.Context, span Span) (History, error) {
	for i, s := range spans {
		if s.span != span {
			continue
		}
		pipe := l.bucket.redis.Pipeline()
		clock, ring := pipe.Time(ctx), pipe.HGetAll(ctx, l.bucket.history()[i])
		if _, err := pipe.Exec(ctx); err != nil {
			return History{}, fmt.Errorf("read the history of the rate limit: %w", err)
		}
		h := History{Span: span, Slot: int(s.slot.Seconds()), Points: make([]Point, s.n)}
		newest := clock.Val().Unix() / int64(h.Slot)
		first := newest - int64(s.n) + 1
		h.Complete = int(clock.Val().Add(-RecordWithin).Unix()/int64(h.Slot) - first)
		for n := range h.Points {
			h.Points[n].At = time.Unix((first+int64(n))*int64(h.Slot), 0).UTC()
		}
		for _, text := range ring.Val() {
			var slot int64
			var p Point
			if _, err := fmt.Sscan(text, &slot, &p.Sent, &p.Refused, &p.Limit); err != nil || slot < first || slot > newest {
				continue // a slot of an earlier round of the ring
			}
			p.At = h.Points[slot-first].At
			h.Points[slot-first] = p
		}
		return h, nil
	}
	return History{}, fmt.Errorf("unknown span %q, expected 15m, 24h or 7d", span)
}

// Set calls the function Set for the bucket of this limiter.
func (l *Limiter) Set(ctx context.Context, limit int) error {
	return Set(ctx, l.bucket.redis, l.bucket.key, limit)
}

package ratelimit

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed bucket.lua
var bucketLua string

var bucketScript = redis.NewScript(bucketLua)

// bucket is the shared side: it speaks with bucket.lua and maps times between
// the clock of Redis and the local one. Safe for concurrent use.
type bucket struct {
	redis    redis.UniversalClient
	key      string
	name     string // of this process
	limit    int
	margin   time.Duration // the least
	validity time.Duration
	spacing  time.Duration

	mu        sync.Mutex
	born, seq int64 // of the bucket as this process saw it last
}

// report tells what became of a reserved permit: when it was sent, or that its
// request was refused, or else that it was not used and will not be.
type report struct {
	id      string
	sent    time.Time
	refused bool
}

// request is one call to the bucket.
type request struct {
	reports []report
	leave   bool // the line
	spread  bool // what is not urgent over the second
	urgent  bool
	number  uint64 // of the first permit to reserve
	count   int    // how many to reserve
}

// answer is what the bucket said.
type answer struct {
	permits []*reservation
	again   time.Time // when to come back, if there was no permit
	limit   int       // permits in any second, as configured or set by hand
	level   int       // what others leave of it
	margin  time.Duration
	used    int // permits used in the last second, as far as reported
	fullest int // the same in the fullest second of this minute and the last
	out     int // tokens out, reservations included
}

// reservation is a permit in local time.
type reservation struct {
	id     string
	at     time.Time // not to be used before
	latest time.Time // nor after: just in time for the send
}

func (b *bucket) id(number uint64) string { return b.name + "-" + strconv.FormatUint(number, 10) }

func (b *bucket) call(ctx context.Context, req request) (answer, error) {
	b.mu.Lock()
	born, seq := b.born, b.seq
	b.mu.Unlock()
	sent := time.Now()
	args := []any{
		b.limit, b.margin.Microseconds(), b.validity.Microseconds(), b.spacing.Microseconds(),
		born, seq, b.name, req.leave, req.spread, req.urgent, req.number, req.count,
	}
	for _, r := range req.reports {
		age := int64(-1)
		switch {
		case r.refused:
			age = -2
		case !r.sent.IsZero():
			// Redis runs the script after sent, so what is this old there is
			// younger in truth: a send is never reported too early.
			age = max(0, sent.Sub(r.sent).Microseconds())
		}
		args = append(args, r.id, age)
	}
	keys := []string{b.key, b.key + ":meta", b.key + ":line", b.key + ":refused"}
	v, err := bucketScript.Run(ctx, b.redis, keys, args...).Int64Slice()
	received := time.Now()
	if err != nil {
		return answer{}, fmt.Errorf("rate limit bucket %s: %w", b.key, err)
	}
	if len(v) < 10 {
		return answer{}, fmt.Errorf("bucket script answered %d numbers, not 10 or more", len(v))
	}
	now := v[0]
	b.mu.Lock()
	if b.born != v[1] || b.seq < v[2] {
		b.born, b.seq = v[1], v[2]
	}
	b.mu.Unlock()
	ahead := func(at int64) time.Duration { return time.Duration(at-now) * time.Microsecond }
	a := answer{
		limit: int(v[3]), level: int(v[4]), margin: time.Duration(v[5]) * time.Microsecond,
		used: int(v[6]), fullest: int(v[7]), out: int(v[8]),
	}
	if v[9] != 0 {
		// Sent this much later than the last call, the next one arrives in time.
		a.again = sent.Add(ahead(v[9]))
	}
	for i, at := range v[10:] {
		a.permits = append(a.permits, place(b.id(req.number+uint64(i)), ahead(at), b.validity, sent, received))
	}
	return a, nil
}

// place puts a permit that is ahead of Redis's now into local time. That now
// was some moment between sent and received. The permit begins as if it were
// the last of them and ends as if it were the first, so it is never used too
// early nor too late, however long the call took.
func place(id string, ahead, validity time.Duration, sent, received time.Time) *reservation {
	return &reservation{id: id, at: received.Add(ahead), latest: sent.Add(ahead + validity - sendTime)}
}

// overdue reports whether the permit is void at now. The wall clock has a say
// too: the monotonic one stands still while the machine sleeps.
func (r *reservation) overdue(now time.Time) bool {
	return now.After(r.latest) || now.Round(0).After(r.latest.Round(0))
}

// Set makes limit, 1 to MaxLimit, the limit of the bucket with this key for all
// its processes, whatever they are configured for, from their next call on. 0
// gives it back to the configuration.
func Set(ctx context.Context, r redis.UniversalClient, key string, limit int) error {
	switch {
	case limit < 0 || limit > MaxLimit:
		return fmt.Errorf("the limit is %d, it must be from 1 to %d", limit, MaxLimit)
	case limit == 0:
		return r.HDel(ctx, key+":meta", "limit").Err()
	}
	return r.HSet(ctx, key+":meta", "limit", limit).Err()
}

package ratelimit

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed bucket.lua
var bucketLua string

var bucketScript = redis.NewScript(bucketLua)

// bucket calls bucket.lua and converts times between the clock of Redis and the local clock. It is safe for concurrent
// use.
type bucket struct {
	redis    redis.UniversalClient
	key      string
	name     string // of this process
	limit    int
	follows  bool          // limit applies only if there is no worker
	margin   time.Duration // lower bound
	validity time.Duration
	spacing  time.Duration

	mu         sync.Mutex
	epoch, seq int64 // of the bucket in the latest answer
	lowest     int64 // lowest limit of a worker in the latest answer
	distance   distance
}

// distance measures the shortest recent round trip to Redis: the shortest way there plus the shortest way back. Each
// way is the difference of two clocks, and the offset between the clocks cancels out in the sum.
type distance struct {
	began          time.Time
	period         int64 // number of the current period since began
	ways, previous ways  // of the current period and the one before
}

// distancePeriod is longer than a permit and its token live, with the longest validity: older measurements do not
// matter.
const distancePeriod = 15 * time.Second

// maxDistance is the longest distance that is reported.
const maxDistance = 250 * time.Millisecond

// ways are the shortest ways to Redis and back, each including the offset between the clocks.
type ways struct{ there, back time.Duration }

var noWays = ways{math.MaxInt64, math.MaxInt64}

func (w ways) shortest(v ways) ways { return ways{min(w.there, v.there), min(w.back, v.back)} }

// add adds the measurement of a call that ran at now by the clock of Redis (Unix microseconds).
func (d *distance) add(sent, received time.Time, now int64) {
	clock := time.Duration(now) * time.Microsecond
	if d.began.IsZero() {
		d.began, d.ways, d.previous = sent, noWays, noWays
	}
	switch period := int64(received.Sub(d.began) / distancePeriod); {
	case period == d.period+1:
		d.previous, d.ways = d.ways, noWays
		d.period = period
	case period > d.period:
		d.previous, d.ways = noWays, noWays
		d.period = period
	}
	d.ways = d.ways.shortest(ways{clock - sent.Sub(d.began), received.Sub(d.began) - clock})
}

// get returns a lower bound of the shortest recent round trip, or 0 before the first call.
func (d *distance) get() time.Duration {
	if d.began.IsZero() {
		return 0
	}
	w := d.ways.shortest(d.previous)
	return min(max(0, w.there+w.back), maxDistance)
}

// newBucket returns a bucket for a new process. The options must be valid.
func newBucket(o Options) *bucket {
	return &bucket{
		redis: o.Redis, key: o.Key, name: rand.Text()[:10],
		limit: o.Limit, follows: o.Follows, margin: o.Margin, validity: o.Validity, spacing: o.Spacing,
	}
}

// report is the result of a reserved permit: the time of its request, or that the API rejected it, or otherwise that
// the permit was not used and never will be.
type report struct {
	id      string
	sent    time.Time
	refused bool
}

// request is one call to the bucket.
type request struct {
	reports []report
	leave   bool   // leave the queue of processes that wait for bulk permits
	spread  bool   // spread bulk permits over the second
	urgent  bool   // reserve interactive permits
	number  uint64 // of the first permit to reserve
	count   int    // of permits to reserve
}

// answer is the result of a call to the bucket.
type answer struct {
	permits      []*reservation
	again        time.Time // when to call again, if there was no permit
	limit        int       // permits in any second: set by hand, or the lowest that a worker is configured for
	currentLimit int       // available rate: limit less what other clients of the account use
	margin       time.Duration
	used         int // permits used in the last second, as far as reported
	peak         int // the same in the peak second of this minute and the last
	out          int // tokens out, including reservations
	lowest       int // lowest limit that a worker was configured for in the last minute; 0: there was none
	highest      int // highest one
}

// reservation is a permit in local time.
type reservation struct {
	id     string
	at     time.Time // earliest use
	latest time.Time // latest use, which leaves sendTime to send
	clock  int64     // earliest use by the clock of Redis, in Unix microseconds
}

func (b *bucket) id(number uint64) string { return b.name + "-" + strconv.FormatUint(number, 10) }

func (b *bucket) call(ctx context.Context, req request) (answer, error) {
	b.mu.Lock()
	epoch, seq, lowest, distance := b.epoch, b.seq, b.lowest, b.distance.get()
	b.mu.Unlock()
	sent := time.Now()
	args := []any{
		b.limit, b.margin.Microseconds(), b.validity.Microseconds(), b.spacing.Microseconds(),
		epoch, seq, b.name, req.leave, req.spread, req.urgent, req.number, req.count,
		distance.Microseconds(), !b.follows, lowest,
	}
	for _, r := range req.reports {
		age := int64(-1)
		switch {
		case r.refused:
			age = -2
		case !r.sent.IsZero():
			// Redis runs the script after sent, when the use is older than this. So the bucket never takes a use for
			// earlier than it was.
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
	if len(v) < 12 {
		return answer{}, fmt.Errorf("rate limit bucket %s: the script returned %d numbers, want 12 or more", b.key, len(v))
	}
	now := v[0]
	b.mu.Lock()
	if b.epoch != v[1] || b.seq <= v[2] {
		b.epoch, b.seq, b.lowest = v[1], v[2], v[9]
	}
	b.distance.add(sent, received, now)
	// The bucket relied on the distance that was sent. If it is now shorter, the permits wait for the difference.
	short := max(0, distance-b.distance.get())
	b.mu.Unlock()
	ahead := func(at int64) time.Duration { return time.Duration(at-now) * time.Microsecond }
	a := answer{
		limit: int(v[3]), currentLimit: int(v[4]), margin: time.Duration(v[5]) * time.Microsecond,
		used: int(v[6]), peak: int(v[7]), out: int(v[8]),
		lowest: int(v[9]), highest: int(v[10]),
	}
	if v[11] != 0 {
		// Counted from sent, so that the next call reaches Redis in time.
		a.again = sent.Add(ahead(v[11]))
	}
	for i, at := range v[12:] {
		r := place(b.id(req.number+uint64(i)), ahead(at), b.validity, sent, received.Add(short))
		r.clock = at
		a.permits = append(a.permits, r)
	}
	return a, nil
}

// roundTrip returns the shortest recent round trip to Redis, 0 to 250 ms.
func (b *bucket) roundTrip() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.distance.get()
}

// place converts a permit that is ahead of the time of Redis to local time. The script ran at some moment between sent
// and received. The permit starts as if that was received and ends as if it was sent. So it is never used too early or
// too late, however long the call took.
func place(id string, ahead, validity time.Duration, sent, received time.Time) *reservation {
	return &reservation{id: id, at: received.Add(ahead), latest: sent.Add(ahead + validity - sendTime)}
}

// overdue reports whether the permit has expired at now. It also compares wall clocks, because the monotonic clock
// stops while the machine sleeps.
func (r *reservation) overdue(now time.Time) bool {
	return now.After(r.latest) || now.Round(0).After(r.latest.Round(0))
}

// Set overrides the limit of the bucket with this key for all processes, from their next call on. limit is 1 to
// MaxLimit; 0 removes the override. Errors are those of Redis, or an invalid limit.
func Set(ctx context.Context, r redis.UniversalClient, key string, limit int) error {
	switch {
	case limit < 0 || limit > MaxLimit:
		return fmt.Errorf("the limit is %d, it must be from 1 to %d", limit, MaxLimit)
	case limit == 0:
		return r.HDel(ctx, key+":meta", "limit").Err()
	}
	return r.HSet(ctx, key+":meta", "limit", limit).Err()
}

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

// bucket is the shared side: it speaks with bucket.lua and maps times between
// the clock of Redis and the local one. Safe for concurrent use.
type bucket struct {
	redis    redis.UniversalClient
	key      string
	name     string // of this process
	limit    int
	follows  bool          // the limit counts only where there is no worker
	margin   time.Duration // the least
	validity time.Duration
	spacing  time.Duration

	mu         sync.Mutex
	epoch, seq int64 // of the bucket as this process saw it last, and
	lowest     int64 // the lowest limit of a worker
	distance   distance
}

// distance is the shortest round trip to Redis of late, put together from the
// shortest ways there and back: what the clocks show when a request leaves and
// arrives, and when its answer does. How far the two clocks are apart is in the
// one as often as in the other.
type distance struct {
	began            time.Time
	period           int64 // since began
	ways, waysBefore ways  // in this period and the one before
}

// distancePeriod is longer than anything from before it can matter: the life of
// a permit and its token, with the longest validity.
const distancePeriod = 15 * time.Second

// maxDistance bounds what is made of a distance.
const maxDistance = 250 * time.Millisecond

type ways struct{ there, back time.Duration }

var noWays = ways{math.MaxInt64, math.MaxInt64}

func (w ways) and(v ways) ways { return ways{min(w.there, v.there), min(w.back, v.back)} }

// add takes in a call at now by the clock of Redis, and forgets what is old.
func (d *distance) add(sent, received time.Time, now int64) {
	clock := time.Duration(now) * time.Microsecond
	if d.began.IsZero() {
		d.began, d.ways, d.waysBefore = sent, noWays, noWays
	}
	switch period := int64(received.Sub(d.began) / distancePeriod); {
	case period == d.period+1:
		d.waysBefore, d.ways = d.ways, noWays
		d.period = period
	case period > d.period:
		d.waysBefore, d.ways = noWays, noWays
		d.period = period
	}
	d.ways = d.ways.and(ways{clock - sent.Sub(d.began), received.Sub(d.began) - clock})
}

// get returns the shortest round trip, or less; 0 where none is known.
func (d *distance) get() time.Duration {
	if d.began.IsZero() {
		return 0
	}
	w := d.ways.and(d.waysBefore)
	return min(max(0, w.there+w.back), maxDistance)
}

// newBucket returns the side of a new process. The options are checked.
func newBucket(o Options) *bucket {
	return &bucket{
		redis: o.Redis, key: o.Key, name: rand.Text()[:10],
		limit: o.Limit, follows: o.Follows, margin: o.Margin, validity: o.Validity, spacing: o.Spacing,
	}
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
	permits      []*reservation
	again        time.Time // when to come back, if there was no permit
	limit        int       // permits in any second: set by hand, or the lowest that a worker is configured for
	currentLimit int       // what others leave of it
	margin       time.Duration
	used         int // permits used in the last second, as far as reported
	peak         int // the same in the peak second of this minute and the last
	out          int // tokens out, reservations included
	lowest       int // limit that a worker was configured for in the last minute; 0: there was none
	highest      int // the same
}

// reservation is a permit in local time.
type reservation struct {
	id     string
	at     time.Time // not to be used before
	latest time.Time // nor after: just in time for the send
	clock  int64     // at by the clock of Redis, in Unix microseconds
}

func (b *bucket) id(number uint64) string { return b.name + "-" + strconv.FormatUint(number, 10) }

func (b *bucket) call(ctx context.Context, req request) (answer, error) {
	b.mu.Lock()
	epoch, seq, lowest, away := b.epoch, b.seq, b.lowest, b.distance.get()
	b.mu.Unlock()
	sent := time.Now()
	args := []any{
		b.limit, b.margin.Microseconds(), b.validity.Microseconds(), b.spacing.Microseconds(),
		epoch, seq, b.name, req.leave, req.spread, req.urgent, req.number, req.count,
		away.Microseconds(), !b.follows, lowest,
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
	if len(v) < 12 {
		return answer{}, fmt.Errorf("bucket script answered %d numbers, not 12 or more", len(v))
	}
	now := v[0]
	b.mu.Lock()
	if b.epoch != v[1] || b.seq <= v[2] {
		b.epoch, b.seq, b.lowest = v[1], v[2], v[9]
	}
	b.distance.add(sent, received, now)
	// The bucket has counted on this distance. Where it turns out to be less,
	// the permits wait for the rest.
	short := max(0, away-b.distance.get())
	b.mu.Unlock()
	ahead := func(at int64) time.Duration { return time.Duration(at-now) * time.Microsecond }
	a := answer{
		limit: int(v[3]), currentLimit: int(v[4]), margin: time.Duration(v[5]) * time.Microsecond,
		used: int(v[6]), peak: int(v[7]), out: int(v[8]),
		lowest: int(v[9]), highest: int(v[10]),
	}
	if v[11] != 0 {
		// Sent this much later than the last call, the next one arrives in time.
		a.again = sent.Add(ahead(v[11]))
	}
	for i, at := range v[12:] {
		r := place(b.id(req.number+uint64(i)), ahead(at), b.validity, sent, received.Add(short))
		r.clock = at
		a.permits = append(a.permits, r)
	}
	return a, nil
}

// away returns the shortest round trip to Redis of late.
func (b *bucket) away() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.distance.get()
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

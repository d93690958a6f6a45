package ratelimit

import (
	"context"
	_ "embed"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed bucket.lua
var bucketLua string

var bucketScript = redis.NewScript(bucketLua)

// aheadSlack is how much further ahead than the return of a token just used a
// permit may be reserved: room for the spacing between permits that become
// free together. It must stay below Validity, so that no permit is ever
// planned on the return of one whose use is not reported yet: that return is
// a worst case, and a plan made on it would waste the token.
const aheadSlack = 100 * time.Millisecond

// bucket is the shared side: it speaks with bucket.lua and maps times between
// the clock of Redis and the local one. Safe for concurrent use.
type bucket struct {
	redis    redis.UniversalClient
	keys     []string
	limit    int
	keep     time.Duration // a second plus the margin
	validity time.Duration
	spacing  time.Duration

	mu        sync.Mutex
	born, seq int64 // of the bucket as this process saw it last
}

// report tells what became of a reserved permit: when it was sent. With a zero
// sent it was not used and will not be.
type report struct {
	id   string
	sent time.Time
}

// request is one call to the bucket.
type request struct {
	reports   []report
	throttled bool   // the API has answered that the quota is spent
	reserve   string // id of the permit to reserve, or empty
}

// answer is what the bucket said. permit is nil where none was reserved.
type answer struct {
	permit    *reservation
	effective int // limit at the moment
	used      int // permits used in the last second, as far as reported
	out       int // tokens out, reservations included
}

// reservation is a permit in local time.
type reservation struct {
	id     string
	at     time.Time // not to be used before
	latest time.Time // nor after: just in time for the send
}

func (b *bucket) call(ctx context.Context, req request) (answer, error) {
	b.mu.Lock()
	born, seq := b.born, b.seq
	b.mu.Unlock()
	sent := time.Now()
	args := []any{
		b.limit, b.keep.Microseconds(), b.validity.Microseconds(), b.spacing.Microseconds(),
		(b.keep + aheadSlack).Microseconds(), born, seq, req.throttled, req.reserve,
	}
	for _, r := range req.reports {
		age := int64(-1)
		if !r.sent.IsZero() {
			// Redis runs the script after sent, so what is this old there is
			// younger in truth: a send is never reported too early.
			age = max(0, sent.Sub(r.sent).Microseconds())
		}
		args = append(args, r.id, age)
	}
	v, err := bucketScript.Run(ctx, b.redis, b.keys, args...).Int64Slice()
	received := time.Now()
	if err != nil {
		return answer{}, fmt.Errorf("rate limit bucket %s: %w", b.keys[0], err)
	}
	if len(v) != 7 {
		return answer{}, fmt.Errorf("bucket script answered %d numbers, not 7", len(v))
	}
	at, now := v[0], v[1]
	b.mu.Lock()
	if b.born != v[2] || b.seq < v[3] {
		b.born, b.seq = v[2], v[3]
	}
	b.mu.Unlock()
	a := answer{effective: int(v[4]), used: int(v[5]), out: int(v[6])}
	if at != 0 {
		a.permit = place(req.reserve, time.Duration(at-now)*time.Microsecond, b.validity, sent, received)
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

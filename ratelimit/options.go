package ratelimit

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Options configure a Limiter. A zero field means its default.
type Options struct {
	// Redis stores the bucket, and its clock is the shared clock. Set ContextTimeoutEnabled of the client, or a server
	// that hangs is noticed only after the client's own timeouts.
	Redis redis.UniversalClient
	// Key is the prefix of the bucket's keys, from keys.Limit. All limiters with this key share one limit.
	Key string
	// Limit is the number of permits in any second, 1 to 10,000, default 20. If the limiters of a bucket differ, the
	// lowest limit applies. The limit of a stopped process applies for up to a minute more.
	Limit int
	// Follows is for tools that are not workers: Limit applies only if there is no worker.
	Follows bool
	// Margin is the smallest safety margin that is added to the second before a token returns, up to 100 ms, default
	// 15 ms. It covers the jitter of the network between the use of a permit and the server that counts the request.
	Margin time.Duration
	// Spacing is the shortest time between two permits, up to 1 s, default 3 ms. It is at most a quarter of a second
	// divided by the limit.
	Spacing time.Duration
	// Validity is the time after the instant of a permit in which its request must be sent, 200 ms to 10 s, default 1 s.
	// Use fails in its last 100 ms. If a process dies, the tokens of its permits return this much later.
	Validity time.Duration
	// Lead is how long before its instant Acquire returns a permit, up to 1 s, default 10 ms, plus a round trip to
	// Redis. The caller can use it to record its intent.
	Lead time.Duration
	// Bunch is the smallest number of permits that a process reserves at once if it has as many waiters, 1 to 100,
	// default 1. More mean fewer round trips, but more tokens return late if a process dies.
	Bunch int
}

func (o Options) withDefaults() (Options, error) {
	o.Limit = cmp.Or(o.Limit, 20)
	o.Margin = cmp.Or(o.Margin, 15*time.Millisecond)
	o.Spacing = cmp.Or(o.Spacing, 3*time.Millisecond)
	o.Validity = cmp.Or(o.Validity, time.Second)
	o.Lead = cmp.Or(o.Lead, 10*time.Millisecond)
	o.Bunch = cmp.Or(o.Bunch, 1)

	var errs []error
	if o.Redis == nil {
		errs = append(errs, errors.New("option Redis is missing"))
	}
	if o.Key == "" {
		errs = append(errs, errors.New("option Key is missing"))
	}
	if o.Limit < 1 || o.Limit > MaxLimit {
		errs = append(errs, fmt.Errorf("option Limit is %d, it must be from 1 to %d", o.Limit, MaxLimit))
	}
	if o.Bunch < 1 || o.Bunch > 100 {
		errs = append(errs, fmt.Errorf("option Bunch is %d, it must be from 1 to 100", o.Bunch))
	}
	for _, d := range []struct {
		name            string
		value, min, max time.Duration
	}{
		{"Margin", o.Margin, time.Microsecond, 100 * time.Millisecond},
		{"Spacing", o.Spacing, time.Microsecond, time.Second},
		{"Validity", o.Validity, 2 * sendTime, 10 * time.Second},
		{"Lead", o.Lead, time.Microsecond, time.Second},
	} {
		if d.value < d.min || d.value > d.max {
			errs = append(errs, fmt.Errorf("option %s is %v, it must be from %v to %v", d.name, d.value, d.min, d.max))
		}
	}
	return o, errors.Join(errs...)
}

package ratelimit

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Options of a Limiter. The zero value of a field is its default.
type Options struct {
	// Redis holds the bucket. Its clock is the only one that counts. Let the
	// client heed the context's deadline (ContextTimeoutEnabled), or a frozen
	// server is noticed only after the client's own timeouts.
	Redis redis.UniversalClient
	// Key is the prefix of the bucket's keys, from keys.Limit. All
	// limiters with this key share one limit.
	Key string
	// Limit is how many permits may be used in any second, 1 to 10,000,
	// default 20. Where the limiters of a bucket differ the lowest counts, and
	// that of a process which has gone for up to a minute more.
	Limit int
	// Follows is for tools beside the workers: their Limit counts only where
	// there is no worker.
	Follows bool
	// Margin is the least that is added to the second before a token returns,
	// up to 100 ms, default 15 ms. It covers how much the way from the use of
	// a permit to where requests are counted varies.
	Margin time.Duration
	// Spacing is the least time between two permits, up to 1 s, default 3 ms;
	// a quarter of a second divided by the limit where that is less.
	Spacing time.Duration
	// Validity is how long after its instant a permit's send must be done, 200 ms
	// to 10 s, default 1 s; Use fails in the last 100 ms of it. A permit that is never accounted for (its
	// process died) is missing for this much longer than a used one.
	Validity time.Duration
	// Lead is how long before its instant a permit is handed out, up to 1 s,
	// default 10 ms: time to write down what is about to be sent. A round trip
	// to Redis comes on top.
	Lead time.Duration
	// Bunch is how many permits a process reserves at once at the least, if so many
	// are waited for; 1 to 100, default 1. More are fewer round trips, and the tokens
	// of more are missing for a while where a process dies.
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

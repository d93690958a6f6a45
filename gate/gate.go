// Package gate decides whether a request to Tencent's API may be sent now, for
// all processes of a namespace. It combines the rate limit with a circuit
// breaker. A caller gets a permit, or learns that sending is stopped or that an
// application is suspended, and reports the outcome of its request.
//
// A fault that concerns every request opens the breaker and costs no room an
// attempt. A fault of one room or one application stops nothing else.
// docs/gate.md shows the states on a timeline.
//
// All state is in Redis, is changed by Lua scripts, and follows the clock of
// Redis.
package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/ratelimit"
)

// The actions of the API. Limiters and metrics carry these names.
const (
	ActionCreate   = "CreateSnapshotTask"
	ActionDescribe = "DescribeSnapshotTask"
)

// Options are the settings of a Gate. Redis is required.
type Options struct {
	Redis         redis.UniversalClient // not closed by the gate
	Namespace     keys.Namespace        // default: keys.Default
	RateLimit     int                   // requests a second for each API action; default 20
	Follows       bool                  // use the rate limit of the workers, if there are any
	DescribeShare int                   // percent of the rate limit that Describe may use; default 100
	Margin        time.Duration         // see ratelimit.Options
	CallTimeout   time.Duration         // of one API call; default 10 s
	SuspendFor    time.Duration         // longest suspension of an application that has worked; default 24 h
	// Second is the length of a second in the schedule of trials and probes.
	// Default 1 s; tests make it shorter.
	Second time.Duration
	Log    *slog.Logger // default: none
}

// Gate is the gate of one process. It is safe for concurrent use. Close it when done.
type Gate struct {
	*Breaker
	o        Options
	create   *ratelimit.Limiter
	describe *ratelimit.Limiter

	unreached atomic.Bool // the last reported call found no connection

	mu   sync.Mutex // also held during the query to Redis, so that one query serves all callers
	last view
}

// view is a cached copy of the state in Redis.
type view struct {
	at      time.Time // of the query; zero: none yet
	stop    Stop      // its cause is empty while requests are sent
	skew    time.Duration
	apps    bool // applications are suspended, or being released
	known   bool // trials are those of version
	version string
	trials  map[uint64]string // by suspended application, the snapshot that may be sent
}

// describeBunch is the number of permits for Describe that are reserved at once. More
// than one is fine: one process polls for all, and no poll is urgent.
const describeBunch = 4

// viewFor is the longest age of the view for a permit. A stale view is harmless for
// Create: the ledger writes an intent only under a valid pass.
const viewFor = 500 * time.Millisecond

// idleViewFor is the longest age of the view for periodic work, which Redis decides
// on anyway. That work runs every two seconds or more rarely, so all of it shares a view.
const idleViewFor = 2 * time.Second

// New returns a gate. It does not wait for Redis.
func New(o Options) (*Gate, error) {
	setDefault(&o.RateLimit, 20)
	setDefault(&o.DescribeShare, 100)
	setDefault(&o.CallTimeout, 10*time.Second)
	setDefault(&o.SuspendFor, 24*time.Hour)
	setDefault(&o.Second, time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gate{o: o, Breaker: &Breaker{o.Redis, o.Namespace, o.Second}}
	var err error
	if g.create, err = ratelimit.New(ratelimit.Options{
		Redis: o.Redis, Key: o.Namespace.Limit(ActionCreate), Limit: o.RateLimit, Follows: o.Follows, Margin: o.Margin,
	}); err != nil {
		return nil, err
	}
	if g.describe, err = ratelimit.New(ratelimit.Options{
		Redis: o.Redis, Key: o.Namespace.Limit(ActionDescribe), Margin: o.Margin,
		Limit: max(1, o.RateLimit*o.DescribeShare/100), Follows: o.Follows, Bunch: describeBunch,
	}); err != nil {
		g.create.Close(context.Background())
		return nil, err
	}
	return g, nil
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Limiters returns the rate limiters of this process by API action.
func (g *Gate) Limiters() map[string]*ratelimit.Limiter {
	return map[string]*ratelimit.Limiter{ActionCreate: g.create, ActionDescribe: g.describe}
}

// Close closes the gate. Waiting calls return ratelimit.ErrClosed at once; permits
// that were given out may still be used. The error is the context's.
func (g *Gate) Close(ctx context.Context) error {
	return errors.Join(g.create.Close(ctx), g.describe.Close(ctx))
}

// Create waits for a permit to send the CreateSnapshotTask of a snapshot. The caller
// must write the intent under the permit's Pass, and then call Done or Release.
// Errors: *Stopped, *Suspended, ratelimit.ErrClosed, the context's, or Redis'.
func (g *Gate) Create(ctx context.Context, snapshot string, app uint64, p ratelimit.Priority) (*Permit, error) {
	v := g.view(ctx)
	trial, suspended := v.trials[app]
	isTrial := suspended && trial == snapshot
	if suspended && !isTrial {
		return nil, &Suspended{app}
	}
	pass, err := g.enter(ctx, v, "create", snapshot)
	if err != nil {
		return nil, err
	}
	permit := &Permit{gate: g, action: "create", pass: pass, snapshot: snapshot, app: app, appTrial: isTrial}
	if permit.rate, err = g.create.Acquire(ctx, p); err != nil {
		permit.Release()
		return nil, err
	}
	return permit, nil
}

// Describe waits for a permit to send a DescribeSnapshotTask. The caller must call
// Done or Release. Errors: those of Create except *Suspended.
func (g *Gate) Describe(ctx context.Context, p ratelimit.Priority) (*Permit, error) {
	for {
		v := g.view(ctx)
		pass, err := g.enter(ctx, v, "describe", "")
		if err != nil {
			return nil, err
		}
		permit := &Permit{gate: g, action: "describe", pass: pass}
		if permit.rate, err = g.describe.Acquire(ctx, p); err != nil {
			permit.Release()
			return nil, err
		}
		if now := g.view(ctx).stop; pass != "" || now.Cause == "" || now.allowsPolling() {
			return permit, nil
		}
		permit.Release() // sending was stopped while it waited
	}
}

// DescribeDelay returns how long no Describe may be sent, as far as this process
// knows; 0 if one may.
func (g *Gate) DescribeDelay(ctx context.Context) time.Duration {
	v := g.view(ctx)
	if v.stop.Cause == "" || v.stop.allowsPolling() {
		return 0
	}
	return v.untilTrial()
}

// Probe returns a permit for a Describe of a task that exists, if a probe of the
// account is due. Otherwise it returns nil. Errors: those of Describe.
func (g *Gate) Probe(ctx context.Context) (p *Permit, task string, app uint64, err error) {
	v := g.viewWithin(ctx, idleViewFor)
	if v.stop.Cause != Account || v.stop.probe != "describe" || v.untilTrial() > 0 {
		return nil, "", 0, nil
	}
	reply, err := g.run(ctx, enterScript, []string{g.ns.Refused()}, "probe", "", g.lease().Milliseconds()).Slice()
	if err != nil || reply[0] == "stopped" {
		return nil, "", 0, err
	}
	task, _ = reply[2].(string)
	known, _ := reply[3].(string)
	if app, err = strconv.ParseUint(known, 10, 64); err != nil {
		return nil, "", 0, fmt.Errorf("%s: newest task of SdkAppId %q: %w", g.ns.Gate(), known, err)
	}
	permit := &Permit{gate: g, action: "probe", pass: reply[1].(string)}
	if permit.rate, err = g.describe.Acquire(ctx, ratelimit.Interactive); err != nil {
		permit.Release()
		return nil, "", 0, err
	}
	return permit, task, app, nil
}

// lease returns how long a trial may take.
func (g *Gate) lease() time.Duration { return 2*g.o.CallTimeout + 5*time.Second }

// enter returns the pass for a call. It is empty while the breaker is closed.
func (g *Gate) enter(ctx context.Context, v view, action, snapshot string) (pass string, err error) {
	if v.stop.Cause == "" {
		return "", nil
	}
	reply, err := g.run(ctx, enterScript, []string{g.ns.Refused()}, action, snapshot, g.lease().Milliseconds()).Slice()
	if err != nil {
		return "", err
	}
	if reply[0] == "stopped" {
		return "", &Stopped{v.stop, v.untilTrial()}
	}
	pass = reply[1].(string)
	if pass == "" {
		return "", nil
	}
	t := time.NewTimer(time.Duration(reply[2].(int64)) * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-t.C:
	}
	return pass, nil
}

// Unreached reports whether the last call of this process found no connection.
func (g *Gate) Unreached() bool { return g.unreached.Load() }

// Clear reports whether nothing was stopped or suspended at the last query to Redis,
// and no outcome since then may have changed that.
func (g *Gate) Clear() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.last.at.IsZero() && g.last.stop.Cause == "" && !g.last.apps
}

// untilTrial returns the time until the next trial; one second if that is unknown.
func (v view) untilTrial() time.Duration {
	if v.stop.NextTrial.IsZero() {
		return time.Second
	}
	return max(0, time.Until(v.stop.NextTrial.Add(-v.skew)))
}

// view returns a view that is at most viewFor old.
func (g *Gate) view(ctx context.Context) view { return g.viewWithin(ctx, viewFor) }

// viewWithin returns a view that is at most maxAge old. If Redis is away it returns
// the last one: without Redis there are no permits anyway.
func (g *Gate) viewWithin(ctx context.Context, maxAge time.Duration) view {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.last.at) < maxAge {
		return g.last
	}
	v, err := g.query(ctx, g.last)
	if err != nil {
		g.last.at = time.Now() // so that the next caller does not wait for Redis, too
		return g.last
	}
	if v.stop.pass != g.last.stop.pass {
		g.log(g.last.stop, v.stop)
	}
	g.last = v
	return v
}

// Invalidate makes the next call query Redis for the breaker and all suspensions.
func (g *Gate) Invalidate() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last.at, g.last.known = time.Time{}, false
}

// expireView makes the next call query Redis.
func (g *Gate) expireView() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last.at = time.Time{}
}

// query reads the state from Redis. It reads the suspensions only if their version
// differs from that of the last view.
func (g *Gate) query(ctx context.Context, last view) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	pipe := g.o.Redis.Pipeline()
	breaker, version, clock := pipe.HGetAll(ctx, g.ns.Breaker()), pipe.HGet(ctx, g.ns.Gate(), "version"), pipe.Time(ctx)
	suspended := pipe.Exists(ctx, g.ns.Suspended())
	began := time.Now()
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return view{}, err
	}
	v := view{
		at: began, stop: parseStop(breaker.Val()), skew: time.Until(clock.Val()),
		apps: suspended.Val() > 0, known: true, version: version.Val(), trials: last.trials,
	}
	if last.known && v.version == last.version {
		return v, nil
	}
	all, err := g.suspensions(ctx)
	if err != nil {
		return view{}, err
	}
	v.trials = make(map[uint64]string)
	for _, s := range all {
		v.trials[s.App] = s.trial
		if _, before := last.trials[s.App]; !before {
			g.o.Log.Error("application is suspended", "app", s.App, "code", s.Code, "message", s.Message,
				"waits_for", s.WaitsFor, "fix", s.Fix)
		}
	}
	for app := range last.trials {
		if _, still := v.trials[app]; !still {
			g.o.Log.Info("application is no longer suspended", "app", app)
		}
	}
	return v, nil
}

// log logs that sending was stopped or has started again.
func (g *Gate) log(before, now Stop) {
	switch {
	case now.Cause == "" && before.Cause != "":
		g.o.Log.Info("sending has started again", "after", time.Since(before.Since).Round(time.Second),
			"cause", before.Cause, "code", before.Code)
	case now.Cause != before.Cause:
		g.o.Log.Error("sending is stopped", "cause", now.Cause, "code", now.Code, "message", now.Message, "by", now.By,
			"why", now.Why, "waits_for", now.WaitsFor, "fix", now.Fix)
	}
}

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

// The API's actions, by which limiters and metrics are named.
const (
	ActionCreate   = "CreateSnapshotTask"
	ActionDescribe = "DescribeSnapshotTask"
)

// Options are the settings of a Gate. Redis is required.
type Options struct {
	Redis         redis.UniversalClient // stays the caller's to close
	Namespace     keys.Namespace        // whose calls these are; default: keys.Default
	RateLimit     int                   // requests a second for each API action; default 20
	Follows       bool                  // it is no worker's: the rate limit is that of the workers, where there are any
	DescribeShare int                   // percent of it that is for Describe; default 100
	Margin        time.Duration         // as ratelimit.Options has it
	CallTimeout   time.Duration         // of one API call; default 10 s
	SuspendFor    time.Duration         // of an application that has worked before; default 24 h
	// Second is how long a second of the gate's own schedule lasts: of the
	// intervals between trials and probes. Default 1 s; tests make it shorter.
	Second time.Duration
	Log    *slog.Logger // default: none
}

// Gate is one process' side. It is safe for concurrent use. Close it when done.
type Gate struct {
	*Breaker
	o        Options
	create   *ratelimit.Limiter
	describe *ratelimit.Limiter

	unreached atomic.Bool // the last call that was reported found no connection

	mu   sync.Mutex // held while Redis is asked, too: one asks for all
	last view
}

// view is what this process knows of the state.
type view struct {
	at      time.Time // zero: nothing
	stop    Stop      // of all calls; none where its cause is empty
	skew    time.Duration
	apps    bool // applications are suspended, or being released
	known   bool // the suspensions are, of this version
	version string
	trials  map[uint64]string // by suspended application, the snapshot that may be sent
}

// describeBunch is how many permits for Describe are reserved at once: one process
// polls for all, and nobody waits for a poll.
const describeBunch = 4

// viewFor is how old the view may be. A Create is safe with any: the ledger
// writes its intent only under a pass that is still good.
const viewFor = 500 * time.Millisecond

// seenFor is how old it may be for who only wants to know whether there is
// something to do: what is done then is decided in Redis. Those who do it look
// every two seconds or more rarely, so that all of them use one view.
const seenFor = 2 * time.Second

// New returns a gate. It does not wait for Redis.
func New(o Options) (*Gate, error) {
	def(&o.RateLimit, 20)
	def(&o.DescribeShare, 100)
	def(&o.CallTimeout, 10*time.Second)
	def(&o.SuspendFor, 24*time.Hour)
	def(&o.Second, time.Second)
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

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Limiters are those of this process, by API action.
func (g *Gate) Limiters() map[string]*ratelimit.Limiter {
	return map[string]*ratelimit.Limiter{ActionCreate: g.create, ActionDescribe: g.describe}
}

// Close ends the gate: whoever waits gets ratelimit.ErrClosed at once, permits
// that are held may still be used. The error is the context's.
func (g *Gate) Close(ctx context.Context) error {
	return errors.Join(g.create.Close(ctx), g.describe.Close(ctx))
}

// Create waits for a permit to make the task of a snapshot. Whoever gets one
// must write the intent under its Pass, and call Done or Release. Errors:
// *Stopped, *Suspended, ratelimit.ErrClosed, the context's, or Redis'.
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

// Describe waits for a permit to ask about a task. Whoever gets one must call
// Done or Release. Errors: those of Create but *Suspended.
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
		if now := g.view(ctx).stop; pass != "" || now.Cause == "" || now.resultsGo() {
			return permit, nil
		}
		permit.Release() // sending was stopped while it waited
	}
}

// DescribeIn is how long no Describe may go, as far as this process knows; 0 if
// one may.
func (g *Gate) DescribeIn(ctx context.Context) time.Duration {
	v := g.view(ctx)
	if v.stop.Cause == "" || v.stop.resultsGo() {
		return 0
	}
	return v.in()
}

// Probe returns the permit for a Describe of a task that exists, if it is time
// to ask whether the account is in order. Otherwise it returns nil. Errors: as
// of Describe.
func (g *Gate) Probe(ctx context.Context) (p *Permit, task string, app uint64, err error) {
	v := g.seen(ctx, seenFor)
	if v.stop.Cause != Account || v.stop.probe != "describe" || v.in() > 0 {
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

// lease is how long a trial may take.
func (g *Gate) lease() time.Duration { return 2*g.o.CallTimeout + 5*time.Second }

// enter returns the pass under which a call may go: the empty one while all may.
func (g *Gate) enter(ctx context.Context, v view, action, snapshot string) (pass string, err error) {
	if v.stop.Cause == "" {
		return "", nil
	}
	reply, err := g.run(ctx, enterScript, []string{g.ns.Refused()}, action, snapshot, g.lease().Milliseconds()).Slice()
	if err != nil {
		return "", err
	}
	if reply[0] == "stopped" {
		return "", &Stopped{v.stop, v.in()}
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

// Goes reports whether nothing was stopped or suspended when this process looked
// last, and it knows of no reason to look again.
func (g *Gate) Goes() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.last.at.IsZero() && g.last.stop.Cause == "" && !g.last.apps
}

// in is how long it takes until the next trial; a second where nobody knows.
func (v view) in() time.Duration {
	if v.stop.NextTrial.IsZero() {
		return time.Second
	}
	return max(0, time.Until(v.stop.NextTrial.Add(-v.skew)))
}

// view returns the state as it was within viewFor.
func (g *Gate) view(ctx context.Context) view { return g.seen(ctx, viewFor) }

// seen returns the state as it was within that time. Where Redis is away it is
// that which was seen last: without Redis there are no permits anyway.
func (g *Gate) seen(ctx context.Context, within time.Duration) view {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.last.at) < within {
		return g.last
	}
	v, err := g.look(ctx, g.last)
	if err != nil {
		g.last.at = time.Now() // who comes next need not wait for Redis, too
		return g.last
	}
	if v.stop.pass != g.last.stop.pass {
		g.log(g.last.stop, v.stop)
	}
	g.last = v
	return v
}

// Forget makes this process look anew at everything before it answers again.
func (g *Gate) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last.at, g.last.known = time.Time{}, false
}

// stale makes this process look again whether sending is stopped.
func (g *Gate) stale() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last.at = time.Time{}
}

func (g *Gate) look(ctx context.Context, last view) (view, error) {
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

// log says that sending was stopped or goes on, once in each process.
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

package web

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/roster"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/results"
	"tiwsnap/schedule"
)

// What the first page looks at and shows, at most.
const (
	nowBatches  = 200  // newest batches, and newest open ones
	nowOpen     = 50   // open batches shown
	nowEnded    = 8    // ended batches shown
	nowFailures = 1000 // newest failures that are counted by code
	// nowEvery is the least time between two looks at Redis, however many
	// people watch, and nowSlow that for what is more to read.
	nowEvery   = 900 * time.Millisecond
	nowSlow    = 5 * time.Second
	nowTimeout = 3 * time.Second
)

var nowPage = page("now.html")

// now is what the first page shows.
type now struct {
	Away     bool // Redis is, and there is nothing to show
	Troubles []trouble
	Limit    ratelimit.State
	Limited  bool          // Limit is known
	Waiting  int           // rooms that nobody has begun
	InWork   int           // rooms of open batches that are begun, have not ended and are not held
	Left     time.Duration // until they are sent, at the full rate
	Stopped  bool          // all sending is
	Open     []openBatch
	More     int // open batches that are not shown
	Ended    []ledger.Batch
	Failures []*results.Failure
	Partial  bool // there are more failures than were counted
	Chart    chart
}

// NoWorker reports whether nobody is there who could send.
func (o now) NoWorker() bool { return o.stoppedBy(gate.NoWorker) }

// ByPerson reports whether a person has stopped all sending.
func (o now) ByPerson() bool { return o.stoppedBy(gate.Person) }

func (o now) stoppedBy(c gate.Cause) bool {
	return slices.ContainsFunc(o.Troubles, func(t trouble) bool { return t.Stop != nil && t.Stop.Cause == c })
}

// trouble is why something does not go on, and what to do about it.
type trouble struct {
	What      text
	Since     time.Time // zero: not known
	Why       text
	WaitsFor  text // what ends it by itself, if anything
	NextTrial time.Time
	Fix       text
	Stop      *gate.Stop // what it is of; nil: no stop
	Path      string     // of the page where it can be mended; empty: none
	Page      string     // text of the link to it
}

// Start reports whether a person can start what the trouble has stopped.
func (t trouble) Start() bool { return t.Stop != nil && t.Stop.Cause != gate.NoWorker }

// openBatch is a batch that goes on, and how fast.
type openBatch struct {
	ledger.Batch
	Rate float64 // snapshots that ended a second
	Left time.Duration
}

// nowReader reads the first page, once for all who watch.
type nowReader struct {
	api *API

	mu       sync.Mutex
	at       time.Time
	last     now
	slowAt   time.Time
	slow     []trouble // of Redis itself
	held     int       // snapshots of batches that wait for a person
	failures []*results.Failure
	partial  bool
	charts   map[ratelimit.Span]chart
	chartAt  map[ratelimit.Span]time.Time
}

func newNowReader(a *API) *nowReader { return &nowReader{api: a} }

// read returns what the first page shows, as it was a second ago or is now.
// Where Redis does not answer that is what it says.
func (v *nowReader) read(ctx context.Context) now {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.at) < nowEvery {
		return v.last
	}
	// It is read for all who watch, not only for the one who asks.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nowTimeout)
	defer cancel()
	all, err := v.look(ctx)
	if err != nil {
		all = now{Away: true, Troubles: []trouble{{What: raw("Redis"), Why: raw(err.Error()), Fix: say("redis.away.fix")}}}
	}
	v.at, v.last = time.Now(), all
	return all
}

func (v *nowReader) look(ctx context.Context) (o now, err error) {
	if o.Troubles, o.Stopped, err = v.api.troubles(ctx); err != nil {
		return o, err
	}
	if l := v.api.limiter(); l != nil {
		if o.Limit, err = l.State(ctx); err != nil {
			return o, err
		}
		o.Limited = true
		o.Troubles = append(o.Troubles, limitTroubles(o.Limit)...)
	}
	all, err := v.api.ledger.Batches(ctx, nowBatches)
	if err != nil {
		return o, err
	}
	open, running, err := v.api.ledger.OpenBatches(ctx, nowBatches)
	if err != nil {
		return o, err
	}
	for _, b := range all {
		if b.Ended() && len(o.Ended) < nowEnded {
			o.Ended = append(o.Ended, b)
		}
	}
	still := o.Stopped || o.NoWorker()
	for _, b := range open {
		o.InWork += b.Sending + b.Unknown + b.Accepted
		o.Waiting += b.Queued
		if len(o.Open) < nowOpen {
			one := v.api.open(b)
			if still { // nobody knows how long
				one.Rate, one.Left = 0, 0
			}
			o.Open = append(o.Open, one)
		}
	}
	o.More = running - len(o.Open)
	if o.Waiting, err = v.waiting(ctx, o.Waiting); err != nil {
		return o, err
	}
	if rate := cmp.Or(o.Limit.Effective, o.Limit.Limit); rate > 0 {
		o.Left = time.Duration((o.Waiting+rate-1)/rate) * time.Second
	}
	if err := v.lookSlowly(ctx, all); err != nil {
		return o, err
	}
	o.InWork = max(o.InWork-v.held, 0)
	o.Troubles = append(o.Troubles, v.slow...)
	o.Failures, o.Partial = v.failures, v.partial
	return o, nil
}

// chart is that of the span that a request asks for, a few seconds old.
func (v *nowReader) chart(r *http.Request) (chart, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	span := spanOf(r)
	if time.Since(v.chartAt[span]) < nowSlow/2 {
		return v.charts[span], nil
	}
	c, err := v.api.chart(r)
	if err != nil {
		return c, err
	}
	if v.charts == nil {
		v.charts, v.chartAt = map[ratelimit.Span]chart{}, map[ratelimit.Span]time.Time{}
	}
	v.charts[span], v.chartAt[span] = c, time.Now()
	return c, nil
}

// open adds to a batch how fast it gets on.
func (a *API) open(b ledger.Batch) openBatch {
	p := a.paces.of(b)
	return openBatch{b, p.Rate, time.Duration(p.Left * float64(time.Second))}
}

// waiting counts the rooms that are to be sent: queued ones of the batches that
// were looked at, or of all where those in the backlog and on their way to the
// queue are more; and single ones.
func (v *nowReader) waiting(ctx context.Context, queued int) (int, error) {
	n, _, err := v.api.backlog.Waiting(ctx)
	if err != nil {
		return 0, err
	}
	transit, err := v.api.o.Redis.ZCard(ctx, v.api.o.Namespace.InFlight()).Result()
	if err != nil {
		return 0, err
	}
	n = max(queued, n+int(transit))
	// The name is asynq's. Its inspector tells the same, but not of a queue that
	// has the id of a task that is gone.
	singles, err := v.api.o.Redis.LLen(ctx, asynqx.Pending(v.api.o.Namespace.QueueInteractive())).Result()
	return n + int(singles), err
}

// troubles says why calls are not made, and whether none is.
func (a *API) troubles(ctx context.Context) (all []trouble, stopped bool, err error) {
	stops, err := a.results.Stops(ctx)
	for _, s := range stops {
		if s.Cause == gate.NoWorker {
			if s.Since, err = roster.LastSeen(ctx, a.o.Redis, a.o.Namespace); err != nil {
				return nil, false, err
			}
		}
		all = append(all, stopTrouble(s))
		stopped = stopped || s.Cause != gate.Application && s.Cause != gate.NoWorker
	}
	return all, stopped, err
}

// stopTrouble says why calls are not made.
func stopTrouble(s gate.Stop) trouble {
	t := trouble{Since: s.Since, NextTrial: s.NextTrial, Stop: &s}
	code := say("%s: %s", s.Code, codeMeaning(s.Code))
	t.Why, t.Fix, t.WaitsFor = code, codeFix(s.Code), say("stop.waits.request")
	switch {
	case s.Cause == gate.NoWorker:
		return trouble{
			What: say("stop.noworker"), Since: s.Since, Why: say("stop.noworker.why"),
			Fix: say("stop.noworker.fix"), Stop: &s,
		}
	case s.Cause == gate.NoReplica:
		return trouble{
			What: say("stop.all"), Since: s.Since, Why: say("stop.noreplica.why"), WaitsFor: say("stop.waits.replicas"),
			Fix: say("stop.noreplica.fix"), Stop: &s,
		}
	case s.Cause == gate.PausedQueue:
		return trouble{
			What: say("stop.queue", s.Queue), Since: s.Since, Why: say("stop.queue.why"),
			WaitsFor: say("stop.waits.person"), Fix: say("stop.fix.person"), Stop: &s,
		}
	case s.Cause == gate.Application:
		t.What = say("stop.application", fmt.Sprint(s.App))
		t.WaitsFor = say("stop.waits.application")
	case s.Phase == "half-open":
		t.What = say("stop.resumed")
		t.WaitsFor = say("stop.waits.resumed")
	default:
		t.What = say("stop.all")
	}
	switch s.Cause {
	case gate.Person:
		t.Why, t.WaitsFor, t.Fix = say("stop.person", s.By), say("stop.waits.person"), say("stop.fix.person")
		if s.Message != "" {
			t.Why = say("stop.person.why", s.By, s.Message)
		}
	case gate.Connection:
		t.Why = say("stop.connection", cmp.Or(s.Message, s.Code))
	case gate.Storm:
		t.Why = say("stop.storm", code)
	}
	return t
}

// codeMeaning and codeFix are the texts of an error code in the language in
// which they are said.
func codeMeaning(code string) text { return text{"code.meaning", []any{code}} }
func codeFix(code string) text     { return text{"code.fix", []any{code}} }

// limitTroubles says what is wrong with the rate limit.
func limitTroubles(s ratelimit.State) (all []trouble) {
	if s.Effective < s.Limit {
		all = append(all, trouble{
			What: say("limit.slowed", s.Effective), Why: codeMeaning("RequestLimitExceeded"),
			Fix: codeFix("RequestLimitExceeded"),
		})
	}
	if s.Lowest != s.Highest {
		all = append(all, trouble{
			What: say("limit.differ"), Why: say("limit.differ.why", s.Lowest, s.Highest, s.Limit), Fix: say("limit.differ.fix"),
		})
	}
	return all
}

// lookSlowly reads what takes longer and changes less.
func (v *nowReader) lookSlowly(ctx context.Context, batches []ledger.Batch) error {
	if time.Since(v.slowAt) < nowSlow {
		return nil
	}
	ids := []string{""}
	for _, b := range batches {
		if b.Failed+b.LostImages > 0 {
			ids = append(ids, b.ID)
		}
	}
	var err error
	if v.failures, v.partial, err = v.api.byCode(ctx, ids, false, nowFailures); err != nil {
		return err
	}
	var held []trouble
	if held, v.held, err = v.api.heldTroubles(ctx, batches); err != nil {
		return err
	}
	v.slow = append(held, redisTroubles(rdb.Servers(ctx, v.api.o.Redis, "memory", "persistence"))...)
	schedules, err := v.api.listSchedules(ctx, nil)
	if err != nil {
		return err
	}
	v.slow = append(v.slow, scheduleTroubles(schedules.Body.Schedules)...)
	loss, err := v.api.ledger.LastLoss(ctx)
	if err != nil {
		return err
	}
	stuck, err := v.api.ledger.CopyTrouble(ctx)
	if err != nil {
		return err
	}
	if stuck != nil {
		v.slow = append(v.slow, trouble{
			What: say("copies.stuck"), Since: stuck.Since, Why: raw(stuck.Why),
			WaitsFor: say("copies.stuck.waits"), Fix: say("copies.stuck.fix"),
		})
	}
	if loss != nil {
		t := trouble{What: say("redis." + loss.Kind), Since: loss.At, Fix: say("redis.lost.fix")}
		if len(loss.Missing) > 0 {
			t.Why = say("redis.lost.why", strings.Join(loss.Missing[:min(len(loss.Missing), 10)], ", "), len(loss.Missing))
		}
		v.slow = append([]trouble{t}, v.slow...)
	}
	v.slowAt = time.Now()
	return nil
}

// byCode groups the newest failures of batches, or what is held, by their code:
// at most so many, and partial says that there are more.
func (a *API) byCode(ctx context.Context, batches []string, held bool, most int) (all []*results.Failure,
	partial bool, err error) {
	n := 0
	newest := iter.Seq2[results.Result, error](func(yield func(results.Result, error) bool) {
		for s, err := range a.results.Failed(ctx, batches, held) {
			if n++; n > most || !yield(s, err) {
				return
			}
		}
	})
	all, err = results.Group(newest)
	return all, n > most, err
}

// heldTroubles says how many snapshots wait for a person, of batches and of the
// single rooms, and how many of them are of batches.
func (a *API) heldTroubles(ctx context.Context, batches []ledger.Batch) (all []trouble, inBatches int, err error) {
	ids := []string{""}
	for _, b := range batches {
		if b.Unknown > 0 {
			ids = append(ids, b.ID)
		}
	}
	n := 0
	for s, err := range a.results.Failed(ctx, ids, true) {
		if err != nil {
			return nil, 0, err
		}
		if n++; s.Batch != "" {
			inBatches++
		}
		if n == nowFailures {
			break
		}
	}
	if n > 0 {
		all = append(all, trouble{
			What: say("held.some", n), Why: say("held.some.why"), Fix: say("held.some.fix"),
			Path: "/held", Page: "nav.held",
		})
	}
	return all, inBatches, nil
}

// scheduleTroubles says which schedules do not get their rooms.
func scheduleTroubles(all []schedule.Status) (troubles []trouble) {
	for _, s := range all {
		t := trouble{
			What: say("schedule.fails", s.Name), Fix: say("schedule.fails.fix"),
			Path: "/schedules", Page: "nav.schedules",
		}
		switch {
		case s.Trying != nil && s.Trying.Failures > 0:
			t.Since, t.Why = s.Trying.Begun, raw(s.Trying.Error)
		case s.Last != nil && s.Last.Result == schedule.Failed:
			t.Since, t.Why = s.Last.At, raw(s.Last.Error)
		default:
			continue
		}
		troubles = append(troubles, t)
	}
	return troubles
}

// redisTroubles says what will go wrong with Redis, as far as it tells.
func redisTroubles(servers []rdb.Server, err error) (all []trouble) {
	if err != nil {
		return nil // it is forbidden to ask, or what was read before has failed too
	}
	for _, s := range servers {
		name := strings.TrimSpace("Redis " + s.Addr)
		if err := s.CheckPolicy(); err != nil {
			all = append(all, trouble{What: say("redis.evicts", name), Why: raw("maxmemory-policy: " + s.Policy),
				Fix: say("redis.evicts.fix")})
		}
		if s.AOFBroken {
			all = append(all, trouble{What: say("redis.aof", name), Why: say("redis.aof.why"), Fix: say("redis.aof.fix")})
		}
		if m := s.Memory; m != nil && m.Max > 0 && float64(m.Used) > enqueue.AdmitUpTo*float64(m.Max) {
			all = append(all, trouble{
				What: say("redis.full", name, fmt.Sprint(100*m.Used/m.Max)),
				Why:  say("redis.full.why", fmt.Sprintf("%.0f", 100*enqueue.AdmitUpTo)), Fix: say("redis.full.fix"),
			})
		}
	}
	return all
}

func (p *Pages) nowRoutes() []Route {
	first := p.screen(nowPage, screen{
		path: "/", role: roleRead, nav: "now", every: liveEvery,
		read: func(r *http.Request) (string, any, error) {
			d := p.now.read(r.Context())
			if d.Limited && !d.Away {
				var err error
				if d.Chart, err = p.now.chart(r); err != nil {
					return "", nil, err
				}
			}
			return langOf(r).say("nav.now"), d, nil
		},
	})
	show := first[0].Handler
	first[0].Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !seesAll(r.Context()) {
			http.Redirect(w, r, baseOf(r)+"/batches", http.StatusSeeOther)
			return
		}
		show.ServeHTTP(w, r)
	})
	first[1].Role = RoleView
	return append(first,
		p.action("/stop", RoleOperate, func(r *http.Request) (string, text, error) {
			reason := []rune(strings.TrimSpace(r.PostFormValue("reason")))
			_, err := p.api.stop(r.Context(), &stopInput{string(reason[:min(len(reason), 200)])})
			return p.fresh(), say("said.stopped"), err
		}),
		p.action("/start", RoleOperate, func(r *http.Request) (string, text, error) {
			_, err := p.api.start(r.Context(), nil)
			return p.fresh(), say("said.started"), err
		}),
	)
}

// fresh has the first page look anew, and returns its path.
func (p *Pages) fresh() string {
	p.now.mu.Lock()
	defer p.now.mu.Unlock()
	p.now.at = time.Time{}
	return "/"
}

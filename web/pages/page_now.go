package pages

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tiwsnap/gate"
	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/results"
	"tiwsnap/web"
	"tiwsnap/web/api"
)

// Limits of the first page.
const (
	nowBatches  = 200  // newest batches, and newest open ones
	nowOpen     = 50   // open batches shown
	nowEnded    = 8    // ended batches shown
	nowFailures = 1000 // newest failures that are counted by code
	// nowEvery is the shortest time between two reads of Redis, however many people watch, and nowSlow that of the
	// longer reads.
	nowEvery   = 900 * time.Millisecond
	nowSlow    = 5 * time.Second
	nowTimeout = 3 * time.Second
)

var nowPage = page("now.html")

// now is the data of the first page.
type now struct {
	Away       bool // Redis is, and there is nothing to show
	Troubles   []trouble
	Limit      ratelimit.State
	Limited    bool          // Limit is known
	Waiting    int           // queued rooms
	InProgress int           // rooms of open batches that are begun, have not ended and are not held
	Left       time.Duration // until they are sent, at the full rate
	Stopped    bool          // all sending is
	Open       []openBatch
	More       int // open batches that are not shown
	Ended      []ledger.Batch
	Failures   []*results.Failure
	Partial    bool // there are more failures than were counted
	Chart      chart
}

// NoWorker reports whether no worker is running.
func (o now) NoWorker() bool { return o.stoppedBy(gate.NoWorker) }

// ByPerson reports whether a person has stopped all sending.
func (o now) ByPerson() bool { return o.stoppedBy(gate.Person) }

func (o now) stoppedBy(c gate.Cause) bool {
	return slices.ContainsFunc(o.Troubles, func(t trouble) bool { return t.Stop != nil && t.Stop.Cause == c })
}

// nowReader reads the first page once for all viewers.
type nowReader struct {
	api *api.API

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

// read returns the first page, which is at most a second old. If Redis does not answer, the page shows that.
func (v *nowReader) read(ctx context.Context) now {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.at) < nowEvery {
		return v.last
	}
	// The read is for all viewers: it does not end with this request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nowTimeout)
	defer cancel()
	all, err := v.load(ctx)
	if err != nil {
		all = now{Away: true, Troubles: []trouble{{What: raw("Redis"), Why: raw(err.Error()), Fix: say("redis.away.fix")}}}
	}
	v.at, v.last = time.Now(), all
	return all
}

func (v *nowReader) load(ctx context.Context) (o now, err error) {
	if o.Troubles, o.Stopped, err = troubles(ctx, v.api); err != nil {
		return o, err
	}
	if l := v.api.Limiter; l != nil {
		if o.Limit, err = l.State(ctx); err != nil {
			return o, err
		}
		o.Limited = true
		o.Troubles = append(o.Troubles, limitTroubles(o.Limit)...)
	}
	all, err := v.api.Ledger.Batches(ctx, nowBatches)
	if err != nil {
		return o, err
	}
	open, running, err := v.api.Ledger.OpenBatches(ctx, nowBatches)
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
		o.InProgress += b.Sending + b.Unknown + b.Accepted
		o.Waiting += b.Queued
		if len(o.Open) < nowOpen {
			one := openBatchOf(v.api, b)
			if still { // the time left is unknown
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
	if err := v.readSlow(ctx, all); err != nil {
		return o, err
	}
	o.InProgress = max(o.InProgress-v.held, 0)
	o.Troubles = append(o.Troubles, v.slow...)
	o.Failures, o.Partial = v.failures, v.partial
	return o, nil
}

// chart returns the chart of the requested span, which is a few seconds old.
func (v *nowReader) chart(r *http.Request) (chart, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	span := spanOf(r)
	if time.Since(v.chartAt[span]) < nowSlow/2 {
		return v.charts[span], nil
	}
	c, err := chartOf(v.api, r)
	if err != nil {
		return c, err
	}
	if v.charts == nil {
		v.charts, v.chartAt = map[ratelimit.Span]chart{}, map[ratelimit.Span]time.Time{}
	}
	v.charts[span], v.chartAt[span] = c, time.Now()
	return c, nil
}

// waiting counts the rooms to send: the queued ones of the batches that were read, or those in the backlog and in
// flight to the queue if these are more; and single rooms.
func (v *nowReader) waiting(ctx context.Context, queued int) (int, error) {
	n, _, err := v.api.Backlog.Waiting(ctx)
	if err != nil {
		return 0, err
	}
	inFlight, err := v.api.Redis.ZCard(ctx, v.api.Namespace.InFlight()).Result()
	if err != nil {
		return 0, err
	}
	n = max(queued, n+int(inFlight))
	// The inspector of asynq fails for a queue that has the id of a deleted task.
	singles, err := v.api.Redis.LLen(ctx, asynqx.Pending(v.api.Namespace.QueueInteractive())).Result()
	return n + int(singles), err
}

// readSlow reads what takes longer and changes less.
func (v *nowReader) readSlow(ctx context.Context, batches []ledger.Batch) error {
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
	if v.failures, v.partial, err = byCode(ctx, v.api, ids, false, nowFailures); err != nil {
		return err
	}
	var held []trouble
	if held, v.held, err = heldTroubles(ctx, v.api, batches); err != nil {
		return err
	}
	v.slow = append(held, redisTroubles(rdb.Servers(ctx, v.api.Redis, "memory", "persistence"))...)
	schedules, err := v.api.ListSchedules(ctx, nil)
	if err != nil {
		return err
	}
	v.slow = append(v.slow, scheduleTroubles(schedules.Body.Schedules)...)
	loss, err := v.api.Ledger.LastLoss(ctx)
	if err != nil {
		return err
	}
	stuck, err := v.api.Ledger.CopyTrouble(ctx)
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

func (p *Pages) nowRoutes() []web.Route {
	first := p.screen(nowPage, screen{
		path: "/", role: web.RoleRead, nav: "now", every: liveEvery,
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
		if !api.SeesAll(r.Context()) {
			http.Redirect(w, r, web.BaseOf(r)+"/batches", http.StatusSeeOther)
			return
		}
		show.ServeHTTP(w, r)
	})
	first[1].Role = web.RoleView
	return append(first,
		p.action("/stop", web.RoleOperate, func(r *http.Request) (string, text, error) {
			reason := []rune(strings.TrimSpace(r.PostFormValue("reason")))
			_, err := p.api.Stop(r.Context(), &api.StopInput{Reason: string(reason[:min(len(reason), 200)])})
			return p.fresh(), say("said.stopped"), err
		}),
		p.action("/start", web.RoleOperate, func(r *http.Request) (string, text, error) {
			_, err := p.api.Start(r.Context(), nil)
			return p.fresh(), say("said.started"), err
		}),
	)
}

// fresh lets the next request read the first page again, and returns its path.
func (p *Pages) fresh() string {
	p.now.mu.Lock()
	defer p.now.mu.Unlock()
	p.now.at = time.Time{}
	return "/"
}

package web

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tiwsnap/backlog"
	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/rdb"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
)

// What the overview looks at and shows, at most.
const (
	overviewBatches  = 200  // newest batches, among which the open ones are
	overviewOpen     = 50   // open batches shown
	overviewEnded    = 5    // ended batches shown
	overviewFailures = 1000 // newest failures that are counted by code
	// overviewEvery is the least time between two looks at Redis, however many
	// people watch, and overviewSlow that for what is more to read.
	overviewEvery   = 900 * time.Millisecond
	overviewSlow    = 5 * time.Second
	overviewTimeout = 3 * time.Second
)

var overviewPage = page("overview.html")

// overview is what the first page shows.
type overview struct {
	Fault    string // why there is nothing to show
	Troubles []trouble
	Limit    ratelimit.State
	Limited  bool          // Limit is known
	Waiting  int           // rooms that nobody has begun
	InWork   int           // rooms of open batches that are begun and have not ended
	Left     time.Duration // until they are sent, at the full rate
	Stopped  bool          // all sending is
	Open     []openBatch
	More     int // open batches that are not shown
	Ended    []ledger.Batch
	Failures []*results.Failure
	Partial  bool // there are more failures than were counted
}

// trouble is why something does not go on, and what to do about it.
type trouble struct {
	What     string
	Since    time.Time // zero: not known
	Why      string
	WaitsFor string // what ends it by itself, if anything
	Fix      string
}

// openBatch is a batch that goes on, and how fast.
type openBatch struct {
	ledger.Batch
	Rate float64 // snapshots that ended a second
	Left time.Duration
}

// overviewReader reads the overview, once for all who watch.
type overviewReader struct {
	o       PagesOptions
	ledger  *ledger.Ledger
	gate    *gate.Breaker
	backlog *backlog.Backlog
	results *results.Reader

	mu       sync.Mutex
	at       time.Time
	last     overview
	paces    map[string]*results.Pace // of the open batches
	slowAt   time.Time
	slow     []trouble // of Redis itself
	failures []*results.Failure
	partial  bool
}

func newOverviewReader(o PagesOptions) *overviewReader {
	return &overviewReader{
		o: o, ledger: ledger.New(o.Redis, ledger.Options{}), gate: gate.NewBreaker(o.Redis),
		backlog: backlog.New(o.Redis), results: results.NewReader(o.Redis),
		paces: map[string]*results.Pace{},
	}
}

// read returns the overview as it was a second ago or is now. Where Redis does
// not answer that is what it says.
func (v *overviewReader) read(ctx context.Context) overview {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.at) < overviewEvery {
		return v.last
	}
	// It is read for all who watch, not only for the one who asks.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), overviewTimeout)
	defer cancel()
	now, err := v.look(ctx)
	if err != nil {
		now = overview{Fault: "Redis does not answer as it should. What was accepted is safe as far as its append-only file reaches; nothing is sent until it is back.",
			Troubles: []trouble{{What: "Redis", Why: err.Error(), Fix: "start it, or look at its log; workers go on by themselves"}}}
	}
	v.at, v.last = time.Now(), now
	return now
}

func (v *overviewReader) look(ctx context.Context) (o overview, err error) {
	if o.Troubles, o.Stopped, err = v.troubles(ctx); err != nil {
		return o, err
	}
	if v.o.Limiter != nil {
		if o.Limit, err = v.o.Limiter.State(ctx); err != nil {
			return o, err
		}
		o.Limited = true
		if o.Limit.Effective < o.Limit.Limit {
			x := tiw.Explain("RequestLimitExceeded")
			o.Troubles = append(o.Troubles, trouble{
				What: fmt.Sprintf("Slowed to %d requests a second", o.Limit.Effective), Why: x.Meaning, Fix: x.Fix,
			})
		}
		if o.Limit.Lowest != o.Limit.Highest {
			o.Troubles = append(o.Troubles, trouble{
				What: "Workers have different rate limits",
				Why:  fmt.Sprintf("%d to %d requests a second: %d holds", o.Limit.Lowest, o.Limit.Highest, o.Limit.Limit),
				Fix:  "Give all workers the same TIWSNAP_RATE_LIMIT, or set the limit for all: tiwsnap limit N.",
			})
		}
	}
	all, err := v.ledger.Batches(ctx, overviewBatches)
	if err != nil {
		return o, err
	}
	for _, b := range all {
		switch {
		case b.Ended() && len(o.Ended) < overviewEnded:
			o.Ended = append(o.Ended, b)
		case !b.Ended():
			o.InWork += b.Sending + b.Unknown + b.Accepted
			o.Waiting += b.Queued
			o.Open = append(o.Open, v.pace(b))
		}
	}
	maps.DeleteFunc(v.paces, func(id string, _ *results.Pace) bool {
		return !slices.ContainsFunc(o.Open, func(b openBatch) bool { return b.ID == id })
	})
	if o.More = len(o.Open) - overviewOpen; o.More > 0 {
		o.Open = o.Open[:overviewOpen]
	}
	if o.Waiting, err = v.waiting(ctx, o.Waiting); err != nil {
		return o, err
	}
	if rate := cmp.Or(o.Limit.Effective, o.Limit.Limit); rate > 0 {
		o.Left = time.Duration((o.Waiting+rate-1)/rate) * time.Second
	}
	if err := v.lookSlowly(ctx, all); err != nil {
		return o, err
	}
	o.Troubles = append(o.Troubles, v.slow...)
	o.Failures, o.Partial = v.failures, v.partial
	return o, nil
}

// pace adds to a batch how fast it gets on.
func (v *overviewReader) pace(b ledger.Batch) openBatch {
	p := v.paces[b.ID]
	if p == nil {
		p = new(results.Pace)
		v.paces[b.ID] = p
	}
	p.Look(time.Now(), b)
	return openBatch{b, p.Rate(), results.Left(b, p.Rate())}
}

// waiting counts the rooms that are to be sent: queued ones of the batches that
// were looked at, or of all where those in the backlog and on their way to the
// queue are more; and single ones.
func (v *overviewReader) waiting(ctx context.Context, queued int) (int, error) {
	n, _, err := v.backlog.Waiting(ctx)
	if err != nil {
		return 0, err
	}
	transit, err := v.o.Redis.ZCard(ctx, keys.Transit).Result()
	if err != nil {
		return 0, err
	}
	n = max(queued, n+int(transit))
	// The name is asynq's. Its inspector tells the same, but not of a queue that
	// has the id of a task that is gone.
	singles, err := v.o.Redis.LLen(ctx, "asynq:{"+tasks.QueueInteractive+"}:pending").Result()
	return n + int(singles), err
}

// troubles says why calls are not made, and whether none is.
func (v *overviewReader) troubles(ctx context.Context) (all []trouble, stopped bool, err error) {
	stops, err := v.results.Stops(ctx)
	for _, s := range stops {
		all = append(all, trouble{What: s.What, Since: s.Since, Why: s.Why, WaitsFor: s.WaitsFor, Fix: s.Fix})
		stopped = stopped || s.Cause != gate.Application && s.Cause != gate.NoWorker
	}
	return all, stopped, err
}

// lookSlowly reads what takes longer and changes less.
func (v *overviewReader) lookSlowly(ctx context.Context, batches []ledger.Batch) error {
	if time.Since(v.slowAt) < overviewSlow {
		return nil
	}
	ids := []string{""}
	for _, b := range batches {
		if b.Failed > 0 {
			ids = append(ids, b.ID)
		}
	}
	n := 0
	newest := iter.Seq2[results.Result, error](func(yield func(results.Result, error) bool) {
		for s, err := range v.results.Failed(ctx, ids, false) {
			if n++; n > overviewFailures || !yield(s, err) {
				return
			}
		}
	})
	var err error
	if v.failures, err = results.Group(newest); err != nil {
		return err
	}
	v.partial = n > overviewFailures
	v.slow = redisTroubles(rdb.Servers(ctx, v.o.Redis, "memory", "persistence"))
	v.slowAt = time.Now()
	return nil
}

// redisTroubles says what will go wrong with Redis, as far as it tells.
func redisTroubles(servers []rdb.Server, err error) (all []trouble) {
	if err != nil {
		return nil // it is forbidden to ask, or what was read before has failed too
	}
	for _, s := range servers {
		name := "Redis"
		if s.Addr != "" {
			name += " " + s.Addr
		}
		if err := s.CheckPolicy(); err != nil {
			all = append(all, trouble{What: name + " throws tasks away when it is full", Why: "maxmemory-policy is " + s.Policy, Fix: rdb.EvictionFix})
		}
		if s.AOFBroken {
			all = append(all, trouble{What: name + " cannot write its append-only file", Why: "it refuses writes until it can", Fix: "make room on its disk"})
		}
		if m := s.Memory; m != nil && m.Max > 0 && float64(m.Used) > enqueue.AdmitUpTo*float64(m.Max) {
			all = append(all, trouble{
				What: fmt.Sprintf("%s is %d %% full", name, 100*m.Used/m.Max),
				Why:  fmt.Sprintf("beyond %.0f %% new work is refused; what was accepted goes on", 100*enqueue.AdmitUpTo),
				Fix:  "wait until records have expired, or raise maxmemory",
			})
		}
	}
	return all
}

func (p *Pages) overviewRoutes() []Route {
	return []Route{
		{"GET /{$}", RoleView, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.show(w, r, http.StatusOK, overviewPage, "Overview", p.overview.read(r.Context()))
		})},
		{"POST /stop", RoleOperate, p.then("/", func(r *http.Request) error {
			reason := []rune(strings.TrimSpace(r.PostFormValue("reason")))
			return stopSending(r.Context(), p.overview.gate, p.o.Log, string(reason[:min(len(reason), 200)]))
		})},
		{"POST /start", RoleOperate, p.then("/", func(r *http.Request) error {
			return startSending(r.Context(), p.overview.gate, p.o.Log)
		})},
		{"GET /live/overview", RoleView, p.live(overviewPage, func(ctx context.Context) any { return p.overview.read(ctx) })},
	}
}

// then does what a form asks for, and shows the page again.
func (p *Pages) then(page string, do func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := do(r); err != nil {
			p.o.Log.Error("a form was not carried out", "path", r.URL.Path, "err", err)
			problem(http.StatusServiceUnavailable, codeRedisAway,
				"nothing was changed: Redis does not answer as it should").write(w, r)
			return
		}
		http.Redirect(w, r, page, http.StatusSeeOther)
	})
}

package ratelimit_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tiwsnap/internal/needs"
	"tiwsnap/ratelimit"
)

// plan is one random run: several processes on bad network links, and the faults that hit them.
type plan struct {
	Limit     int
	Margin    time.Duration
	Spacing   time.Duration
	Validity  time.Duration
	Lead      time.Duration
	Bunch     int
	Seed      uint64
	Processes []process
	Events    []event
}

type process struct {
	Workers int
	Delay   time.Duration // minimum delay to Redis
	Back    time.Duration // minimum delay from Redis
	Jitter  time.Duration // maximum additional delay
	Pause   time.Duration // maximum pause of a worker between two permits
	Late    int           // percentage of permits that are used late
	Held    int           // percentage of requests that are delayed between Use and Sent
	Lost    int           // percentage of used permits without a report
	Release int           // percentage of permits that are released unused
	Refused int           // percentage of requests that are refused
	Urgent  int           // percentage of permits that are urgent
}

type event struct {
	After   time.Duration // since the previous event
	What    string
	Process int
}

const (
	flush       = "flush"        // Redis loses all data
	cut         = "cut"          // the link of the process drops everything
	dropReplies = "drop replies" // the link drops replies only
	repair      = "repair"       // the link works again
	kill        = "kill"         // the process dies
	clockBack   = "clock back"   // the clock of Redis is set back by After
	failover    = "failover"     // to a replica that lags; for a second some processes still use the old master
)

func drawPlan(t *rapid.T) plan {
	ms := func(label string, from, to int) time.Duration {
		return time.Duration(rapid.IntRange(from, to).Draw(t, label)) * time.Millisecond
	}
	p := plan{
		Limit:    rapid.IntRange(1, 5).Draw(t, "limit"),
		Margin:   rapid.SampledFrom([]time.Duration{time.Microsecond, 15 * time.Millisecond}).Draw(t, "margin"),
		Spacing:  ms("spacing", 1, 50),
		Validity: ms("validity", 200, 1000),
		Lead:     ms("lead", 1, 50),
		Bunch:    rapid.IntRange(1, 4).Draw(t, "bunch"),
		Seed:     rapid.Uint64().Draw(t, "seed"),
	}
	for range rapid.IntRange(1, 6).Draw(t, "processes") {
		p.Processes = append(p.Processes, process{
			Workers: rapid.IntRange(1, 3).Draw(t, "workers"),
			Delay:   ms("delay", 0, 50) * rapid.SampledFrom([]time.Duration{1, 1, 5}).Draw(t, "far"),
			Back:    ms("back", 0, 50) * rapid.SampledFrom([]time.Duration{1, 1, 5}).Draw(t, "far back"),
			Jitter:  rapid.SampledFrom([]time.Duration{0, 5 * time.Millisecond, 300 * time.Millisecond}).Draw(t, "jitter"),
			Pause:   rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, 2 * time.Second}).Draw(t, "pause"),
			Late:    rapid.SampledFrom([]int{0, 10, 50}).Draw(t, "late"),
			Held:    rapid.SampledFrom([]int{0, 10, 50}).Draw(t, "held"),
			Lost:    rapid.SampledFrom([]int{0, 0, 10}).Draw(t, "lost"),
			Release: rapid.SampledFrom([]int{0, 10, 50}).Draw(t, "release"),
			Refused: rapid.SampledFrom([]int{0, 10, 50}).Draw(t, "refused"),
			Urgent:  rapid.SampledFrom([]int{0, 10, 50, 100}).Draw(t, "urgent"),
		})
	}
	kinds := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		flush, cut, dropReplies, kill, clockBack, failover,
	}), 1, 3, rapid.ID).Draw(t, "kinds")
	for range rapid.IntRange(0, 12).Draw(t, "events") {
		p.Events = append(p.Events, event{
			After:   ms("after", 0, 1500),
			What:    rapid.SampledFrom(append(kinds, repair, repair)).Draw(t, "event"),
			Process: rapid.IntRange(0, len(p.Processes)-1).Draw(t, "process"),
		})
	}
	return p
}

// run executes the plan and returns the times at which permits were used.
func (p plan) run(t *testing.T) *uses {
	w := newWorld(t)
	u := new(uses)
	var workers sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	links := make([]*link, len(p.Processes))
	limiters := make([]*ratelimit.Limiter, len(p.Processes))
	killed := make([]bool, len(p.Processes))
	kills := make([]context.CancelFunc, len(p.Processes))
	for i, proc := range p.Processes {
		random := rand.New(rand.NewPCG(p.Seed, uint64(i)))
		var mu sync.Mutex
		below := func(d time.Duration) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return time.Duration(random.Int64N(int64(d) + 1))
		}
		percent := func(n int) bool { return below(99) < time.Duration(n) }

		o := ratelimit.Options{
			Limit: p.Limit, Margin: p.Margin, Spacing: p.Spacing, Validity: p.Validity, Lead: p.Lead, Bunch: p.Bunch,
		}
		links[i], o.Redis = w.link(t, func() time.Duration { return proc.Delay + below(proc.Jitter) })
		links[i].back = func() time.Duration { return proc.Back + below(proc.Jitter) }
		limiters[i] = newLimiter(t, o)
		// Each process reads the bucket first: without that it cannot notice a loss.
		for _, err := limiters[i].State(ctx); err != nil; { // a read may time out
			_, err = limiters[i].State(ctx)
		}
		var alive context.Context
		alive, kills[i] = context.WithCancel(ctx)
		for range proc.Workers {
			workers.Go(func() {
				for alive.Err() == nil {
					time.Sleep(below(proc.Pause))
					priority := ratelimit.Bulk
					if percent(proc.Urgent) {
						priority = ratelimit.Interactive
					}
					permit, err := limiters[i].Acquire(alive, priority)
					if err != nil {
						continue
					}
					if percent(proc.Late) {
						time.Sleep(below(2 * p.Validity))
					}
					if percent(proc.Release) {
						permit.Release()
					} else if permit.Use(alive) == nil {
						if percent(proc.Held) {
							time.Sleep(below(100 * time.Millisecond))
						}
						u.add(time.Now())
						if !percent(proc.Lost) {
							permit.Sent()
						}
						permit.Release()
						if percent(proc.Refused) {
							permit.Throttled()
						}
					}
				}
			})
		}
	}
	for _, e := range p.Events {
		time.Sleep(e.After)
		switch e.What {
		case flush:
			w.client().FlushAll(t.Context())
		case cut:
			links[e.Process].set(true, false)
		case dropReplies:
			links[e.Process].set(false, true)
		case repair:
			if killed[e.Process] {
				continue
			}
			links[e.Process].set(false, false)
		case kill:
			links[e.Process].set(true, false)
			kills[e.Process]()
			killed[e.Process] = true
		case failover:
			promote := w.replica(t)
			time.Sleep(e.After / 2)
			newest := promote()
			move := rand.New(rand.NewPCG(p.Seed, uint64(newest.n)))
			for _, l := range links {
				time.AfterFunc(time.Duration(move.Int64N(int64(time.Second))), func() { l.move(newest) })
			}
		case clockBack:
			w.mu.Lock()
			w.offset -= e.After
			w.mu.Unlock()
		}
	}
	time.Sleep(4 * time.Second)
	stop()
	workers.Wait()
	return u
}

func TestNoSecondHoldsMoreThanTheLimit(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	total := 0
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlan(rt)
		var u *uses
		synctest.Test(t, func(t *testing.T) { u = p.run(t) })
		u.wantAtMost(rt, p.Limit)
		total += u.count()
	})
	if total == 0 {
		t.Error("no permit was used")
	}
	t.Logf("%d permits used", total)
}

package pages

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/roster"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/schedule"
	"tiwsnap/web/api"
)

// trouble is a problem that keeps work from going on, and its fix.
type trouble struct {
	What      text
	Since     time.Time // zero: not known
	Why       text
	WaitsFor  text // what ends it without a person, if anything
	NextTrial time.Time
	Fix       text
	Stop      *gate.Stop // nil: it is not a stop
	Path      string     // of the page where it can be fixed; empty: none
	Page      string     // text of the link to it
}

// Start reports whether a person can start what has stopped.
func (t trouble) Start() bool { return t.Stop != nil && t.Stop.Cause != gate.NoWorker }

// troubles returns why sending is stopped, and whether all of it is.
func troubles(ctx context.Context, a *api.API) (all []trouble, stopped bool, err error) {
	stops, err := a.Results.Stops(ctx)
	for _, s := range stops {
		if s.Cause == gate.NoWorker {
			if s.Since, err = roster.LastSeen(ctx, a.Redis, a.Namespace); err != nil {
				return nil, false, err
			}
		}
		all = append(all, stopTrouble(s))
		stopped = stopped || s.Cause != gate.Application && s.Cause != gate.NoWorker
	}
	return all, stopped, err
}

// stopTrouble describes a stop.
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

// codeMeaning and codeFix are the texts of an error code.
func codeMeaning(code string) text { return text{"code.meaning", []any{code}} }
func codeFix(code string) text     { return text{"code.fix", []any{code}} }

// limitTroubles returns what is wrong with the rate limit.
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

// heldTroubles returns how many snapshots are held for review, and how many of them are of batches.
func heldTroubles(ctx context.Context, a *api.API, batches []ledger.Batch) (all []trouble, inBatches int, err error) {
	ids := []string{""}
	for _, b := range batches {
		if b.Unknown > 0 {
			ids = append(ids, b.ID)
		}
	}
	n := 0
	for s, err := range a.Results.Failed(ctx, ids, true) {
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

// scheduleTroubles returns the schedules whose list cannot be read.
func scheduleTroubles(all []schedule.Status) (troubles []trouble) {
	for _, s := range all {
		t := trouble{
			What: say("schedule.fails", s.Name), Fix: say("schedule.fails.fix"),
			Path: "/schedules", Page: "nav.schedules",
		}
		switch {
		case s.Trying != nil && s.Trying.Failures > 0:
			t.Since, t.Why = s.Trying.Begun, translated(s.Trying.Error)
		case s.Last != nil && s.Last.Result == schedule.Failed:
			t.Since, t.Why = s.Last.At, translated(s.Last.Error)
		default:
			continue
		}
		troubles = append(troubles, t)
	}
	return troubles
}

// redisTroubles returns what is wrong with the settings and the memory of Redis, as far as INFO is permitted.
func redisTroubles(servers []rdb.Server, err error) (all []trouble) {
	if err != nil {
		return nil // INFO is not permitted, or an earlier read has failed, too
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

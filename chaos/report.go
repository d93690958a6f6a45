package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"tiwsnap/ledger"
	"tiwsnap/tiw/tiwtest"
)

// report is what a run measured, as -json writes it.
type report struct {
	Seed      uint64   `json:"seed"`
	Workers   int      `json:"workers"`
	Rate      int      `json:"rate"`
	Faults    []string `json:"faults"`
	KillEvery string   `json:"kill_every"`
	Grace     string   `json:"grace,omitempty"` // empty: there were no callbacks

	finding

	Calls         int64   `json:"calls"`
	Rejected      int64   `json:"rejected"`
	Foreign       int64   `json:"foreign"` // of others, on the same quota
	Sliding       int     `json:"fullest_sliding_second"`
	Calendar      int     `json:"fullest_calendar_second"`
	Over          int     `json:"over"` // times that a second held more than the rate, and no stall explains it
	Tightest      tight   `json:"tightest"`
	DescribesEach float64 `json:"describes_per_snapshot"`

	Struck    map[string]int64      `json:"struck"` // requests and callbacks, by fault
	Callbacks tiwtest.CallbackState `json:"callbacks"`

	Strikes  []strike            `json:"strikes"`
	Recovery map[string]recovery `json:"recovery"` // by fault
	Bad      map[string]recovery `json:"bad"`      // rooms that must fail, by error code, from their first attempt to the end
	Orphans  recovery            `json:"orphans"`  // snapshots that lost their worker, to their end
	Stalls   []tiwtest.Stall     `json:"stalls"`
	Deaths   []string            `json:"deaths,omitempty"`

	Seconds float64  `json:"seconds"` // from the enqueue to the last end
	Load    float64  `json:"load"`    // of the machine, over the last minute
	Broken  []string `json:"broken,omitempty"`
}

// tight is the least time in which the referee saw one request more than the
// rate, and when that began, both in seconds.
type tight struct {
	Took float64 `json:"took_s"`
	At   float64 `json:"at_s"`
}

// tightest finds it in the calls of a run that began at start; it is 0 where
// there were not so many.
func tightest(calls []tiwtest.Call, rate int, start time.Time) (t tight) {
	for i := rate; i < len(calls); i++ {
		took := time.Duration(calls[i].AtNs - calls[i-rate].AtNs).Seconds()
		if t.Took == 0 || took < t.Took {
			t = tight{took, time.Unix(0, calls[i-rate].AtNs).Sub(start).Seconds()}
		}
	}
	return t
}

// longest is how long the longest stall took, in seconds.
func longest(all []tiwtest.Stall) (took float64) {
	for _, s := range all {
		took = max(took, s.Took)
	}
	return took
}

// recovery is how long something took, in seconds.
type recovery struct {
	Count  int     `json:"count"`
	Median float64 `json:"median_s"`
	Max    float64 `json:"max_s"`
}

func recoveryOf(took []time.Duration) (r recovery) {
	r.Count = len(took)
	if r.Count > 0 {
		slices.Sort(took)
		r.Median, r.Max = took[r.Count/2].Seconds(), took[r.Count-1].Seconds()
	}
	return r
}

// recoveries is, by fault, how long it took from a strike until the referee saw
// the next request. A strike after which none came is left out.
func recoveries(strikes []strike, calls []tiwtest.Call) map[string]recovery {
	took := make(map[string][]time.Duration)
	for _, s := range strikes {
		since := s.Since.UnixNano()
		i, _ := slices.BinarySearchFunc(calls, since, func(c tiwtest.Call, t int64) int {
			if c.AtNs < t {
				return -1
			}
			return 1
		})
		if i < len(calls) {
			took[s.Fault] = append(took[s.Fault], time.Duration(calls[i].AtNs-since))
		}
	}
	all := make(map[string]recovery)
	for fault, t := range took {
		all[fault] = recoveryOf(t)
	}
	return all
}

// orphaned is how long snapshots that lost their worker took to their end.
func orphaned(lost map[string]time.Time, records []ledger.Snapshot) recovery {
	var took []time.Duration
	for _, s := range records {
		if since, ok := lost[s.ID]; ok && s.State.Ended() {
			took = append(took, max(0, s.EndedAt.Sub(since)))
		}
	}
	return recoveryOf(took)
}

// failures is, by error code, how long the rooms that must fail took to it, from
// their first attempt.
func failures(e evidence) map[string]recovery {
	took := make(map[string][]time.Duration)
	for _, s := range e.records {
		if code := e.must[s.Room.RoomId]; code != "" && s.State == ledger.Failed {
			took[code] = append(took[code], s.EndedAt.Sub(s.CreatedAt))
		}
	}
	all := make(map[string]recovery)
	for code, t := range took {
		all[code] = recoveryOf(t)
	}
	return all
}

// judge lists the promises that were broken.
func (r *report) judge() {
	promise := func(n int, format string, args ...any) {
		if n > 0 {
			r.Broken = append(r.Broken, fmt.Sprintf(format, args...))
		}
	}
	promise(r.Open, "%d batches have not ended", r.Open)
	promise(r.Spoiled, "%d rooms failed with nothing wrong with them", r.Spoiled)
	if 5*r.StormRequests > r.StormRooms {
		promise(r.StormRequests, "%d requests during the storm, more than 1 in 5 of the %d rooms",
			r.StormRequests, r.StormRooms)
	}
	promise(r.Lost, "%d rooms lost: acknowledged and in no final state", r.Lost)
	promise(r.WrongFinal, "%d final states are wrong", r.WrongFinal)
	promise(r.Unexplained, "%d unexplained duplicates: extra tasks that are not counted as possible", r.Unexplained)
	promise(r.Uncounted, "%d requests of unknown outcome are not counted as possible duplicates", r.Uncounted)
	promise(r.Unannounced, "%d requests without an intent in the ledger", r.Unannounced)
	promise(r.Early, "%d tasks made again before the grace ran out", r.Early)
	promise(r.Despite, "%d tasks made again though the first had been named by its callback", r.Despite)
	promise(r.Counters, "%d counters of the batch differ from its snapshots", r.Counters)
	promise(r.Over, "%d times more than %d requests in a second", r.Over, r.Rate)
	promise(len(r.Deaths), "%d workers ended by themselves", len(r.Deaths))
	if missed := r.Struck["callbackLost"] + r.Callbacks.Refused + r.Callbacks.Unreached; r.Grace != "" && missed == 0 {
		promise(r.ExtraTasks, "%d extra tasks though no callback was lost", r.ExtraTasks)
	}
}

func (r *report) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(tw, name+"\t"+format+"\n", args...) }
	line("seed", "%d", r.Seed)
	line("rooms", "%d: %d succeeded, %d failed (%d must), %d canceled",
		r.Rooms, r.Succeeded, r.Failed, r.MustFail, r.Canceled)
	line("seconds", "%.1f", r.Seconds)
	line("lost", "%d", r.Lost)
	line("wrong final state", "%d", r.WrongFinal)
	line("tasks", "%d", r.Tasks)
	line("rooms with more than one task", "%d", r.RoomsTwice)
	line("extra tasks", "%d, %d of them known by id", r.ExtraTasks, r.ExtraKnown)
	line("possible duplicates counted", "%d = %d extra tasks + %d InternalErrors without one + %d never arrived%s", r.PossibleDuplicates,
		r.ExtraTasks, r.InternalErrors, r.NeverArrived, map[bool]string{true: " - uncounted"}[r.Uncounted > 0])
	line("unexplained duplicates", "%d", r.Unexplained)
	line("tasks made again within the grace", "%d", r.Early)
	line("tasks made again despite a callback", "%d", r.Despite)
	line("requests", "%d, %d rejected, %d of others", r.Calls, r.Rejected, r.Foreign)
	line("requests in the fullest second", "%d sliding, %d calendar, of %d", r.Sliding, r.Calendar, r.Rate)
	line(fmt.Sprintf("tightest %d requests", r.Rate+1), "%.4f s, at %.1f s; the referee was held up %d times, %.3f s at most",
		r.Tightest.Took, r.Tightest.At, len(r.Stalls), longest(r.Stalls))
	line("seconds with more than the rate", "%d", r.Over)
	line("created but cut", "%d", r.Struck["cut"])
	line("created but never answered", "%d", r.Struck["silent"])
	line("InternalError", "%d without a task, %d with one", r.Struck["internalError"], r.Struck["internalErrorCreated"])
	line("callbacks", "%d taken, %d lost, %d doubled, %d not taken", r.Callbacks.Delivered, r.Struck["callbackLost"],
		r.Struck["callbackDouble"], r.Callbacks.Refused+r.Callbacks.Unreached)
	line("Describe calls a snapshot", "%.2f", r.DescribesEach)
	for _, fault := range allFaults() {
		n := 0
		for _, s := range r.Strikes {
			if s.Fault == fault {
				n++
			}
		}
		if n > 0 {
			rec := r.Recovery[fault]
			line(fault, "%d times, to the next request %.1f s (median), %.1f s (longest)", n, rec.Median, rec.Max)
		}
	}
	if r.StormRooms > 0 {
		line("requests during the storm", "%d, for %d rooms without a task", r.StormRequests, r.StormRooms)
	}
	for _, code := range slices.Sorted(maps.Keys(r.Bad)) {
		rec := r.Bad[code]
		line(code, "%d must fail with it, after %.1f s (median), %.1f s (longest)", rec.Count, rec.Median, rec.Max)
	}
	line("snapshots that lost their worker", "%d, to their end %.1f s (median), %.1f s (longest)", r.Orphans.Count, r.Orphans.Median, r.Orphans.Max)
	line("load", "%.2f", r.Load)
	return tw.Flush()
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

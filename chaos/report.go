package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tiwsnap/internal/plural"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tiw/tiwtest"
)

// report is the result of a run, as -json writes it.
type report struct {
	Name string `json:"name"` // of the run

	Seed      uint64   `json:"seed"`
	Workers   int      `json:"workers"`
	Rate      int      `json:"rate"`
	Faults    []string `json:"faults"`
	KillEvery string   `json:"kill_every"`
	Grace     string   `json:"grace,omitempty"` // empty: there were no callbacks

	finding

	Calls         int64   `json:"calls"`
	Rejected      int64   `json:"rejected"`
	Foreign       int64   `json:"foreign"` // requests of other clients on the same quota
	Sliding       int     `json:"peak_sliding_second"`
	Calendar      int     `json:"peak_calendar_second"`
	Over          int     `json:"over"` // seconds over the rate limit that no stall of the simulator explains
	Tightest      tight   `json:"tightest"`
	DescribesEach float64 `json:"describes_per_snapshot"`

	Struck    map[string]int64      `json:"struck"` // requests and callbacks, by fault
	Callbacks tiwtest.CallbackState `json:"callbacks"`

	Strikes  []strike            `json:"strikes"`
	Recovery map[string]recovery `json:"recovery"` // by fault
	Bad      map[string]recovery `json:"bad"`      // time to the end of rooms that must fail, by error code
	Orphans  recovery            `json:"orphans"`  // time to the end of snapshots that lost their worker
	Stalls   []tiwtest.Stall     `json:"stalls"`
	Deaths   []string            `json:"deaths,omitempty"`

	Seconds float64  `json:"seconds"` // from the enqueue to the last end
	Load    float64  `json:"load"`    // load average of the machine over the last minute
	Broken  []string `json:"broken,omitempty"`

	calls   []tiwtest.Request
	results []results.Result
}

// tight is the shortest time in which the simulator got one request more than the rate, and its start, in seconds.
type tight struct {
	Took float64 `json:"took_s"`
	At   float64 `json:"at_s"`
}

// tightest returns it for the requests of a run that began at start. It is zero if there were too few.
func tightest(calls []tiwtest.Request, rate int, start time.Time) (t tight) {
	for i := rate; i < len(calls); i++ {
		took := time.Duration(calls[i].AtNs - calls[i-rate].AtNs).Seconds()
		if t.Took == 0 || took < t.Took {
			t = tight{took, time.Unix(0, calls[i-rate].AtNs).Sub(start).Seconds()}
		}
	}
	return t
}

// longest returns the duration of the longest stall, in seconds.
func longest(all []tiwtest.Stall) (took float64) {
	for _, s := range all {
		took = max(took, s.Took)
	}
	return took
}

// recovery summarizes durations, in seconds.
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

// recoveries returns, by fault, the times from a strike to the next request. It leaves out strikes without one.
func recoveries(strikes []strike, calls []tiwtest.Request) map[string]recovery {
	took := make(map[string][]time.Duration)
	for _, s := range strikes {
		since := s.Since.UnixNano()
		i, _ := slices.BinarySearchFunc(calls, since, func(c tiwtest.Request, t int64) int {
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

// orphaned returns how long snapshots that lost their worker took to end.
func orphaned(lost map[string]time.Time, all []results.Result) recovery {
	var took []time.Duration
	for _, s := range all {
		if since, ok := lost[s.ID]; ok && s.State.Ended() {
			took = append(took, max(0, s.EndedAt.Sub(since)))
		}
	}
	return recoveryOf(took)
}

// failures returns, by error code, how long the rooms that must fail took from their first attempt to their failure.
func failures(e evidence) map[string]recovery {
	took := make(map[string][]time.Duration)
	for _, s := range e.results {
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

// judge lists the broken promises.
func (r *report) judge() {
	promise := func(n int, broken string) {
		if n > 0 {
			r.Broken = append(r.Broken, fmt.Sprintf("%s: %d", broken, n))
		}
	}
	promise(r.Open, "batches that have not ended")
	promise(r.Spoiled, "failed rooms that are in order, as are their tasks")
	for _, p := range r.Pressed {
		promise(p.Requests-p.Most, fmt.Sprintf("requests over the maximum of %d for %s during %s",
			p.Most, plural.Of(p.Rooms, "room"), p.Fault))
	}
	promise(r.LostImages, "images without a copy")
	promise(r.WrongImages, "copies that differ from the images of the simulator")
	promise(r.Lost, "lost rooms, acknowledged and in no final state")
	promise(r.WrongFinal, "wrong final states")
	promise(r.Unexplained, "unexplained duplicates, extra tasks that are not counted as possible")
	promise(r.Unlearned, "tasks whose callback a worker received after a loss and that are not in the ledger")
	promise(r.Uncounted, "requests of unknown outcome that are not counted as possible duplicates")
	promise(r.Unannounced, "requests without an intent in the ledger")
	promise(r.Early, "second tasks created before the grace ran out")
	promise(r.Despite, "second tasks created after the callback of the first one")
	promise(r.Counters, "counters of the batch that differ from its snapshots")
	promise(r.Over, fmt.Sprintf("seconds over the rate limit of %d", r.Rate))
	promise(len(r.Deaths), "workers that ended by themselves")
	if missed := r.Struck["callbackLost"] + r.Callbacks.Refused + r.Callbacks.Unreached; r.Grace != "" && missed == 0 {
		promise(r.ExtraTasks, "extra tasks although no callback was lost")
	}
}

func (r *report) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(tw, name+"\t"+format+"\n", args...) }
	line("run", "%s", r.Name)
	line("seed", "%d", r.Seed)
	line("rooms", "%d: %d succeeded, %d failed (%d must fail), %d canceled",
		r.Rooms, r.Succeeded, r.Failed, r.MustFail, r.Canceled)
	line("seconds", "%.1f", r.Seconds)
	line("lost", "%d", r.Lost)
	line("wrong final state", "%d", r.WrongFinal)
	line("tasks", "%d", r.Tasks)
	line("rooms with more than one task", "%d", r.RoomsTwice)
	line("extra tasks", "%d, %d of them known by id", r.ExtraTasks, r.ExtraKnown)
	rest := ""
	if r.Uncounted+r.Explained > 0 {
		rest = " - uncounted ones"
	}
	line("possible duplicates counted", "%d = %s + %s without one + %d never arrived%s", r.PossibleDuplicates,
		plural.Of(r.ExtraTasks, "extra task"), plural.Of(r.InternalErrors, "InternalError"), r.NeverArrived, rest)
	line("unexplained duplicates", "%d", r.Unexplained)
	if r.Explained+r.Learned > 0 {
		line("extra tasks lost with Redis' data", "%d", r.Explained)
		line("callbacks of lost tasks", "%d received, %d of these tasks not in the ledger", r.Learned, r.Unlearned)
	}
	line("second task within the grace", "%d", r.Early)
	line("second task after a callback", "%d", r.Despite)
	line("requests", "%d, %d rejected, %d of other clients", r.Calls, r.Rejected, r.Foreign)
	line("requests in the peak second", "%d sliding, %d calendar; limit %d", r.Sliding, r.Calendar, r.Rate)
	line(fmt.Sprintf("shortest time of %d requests", r.Rate+1),
		"%.4f s, at %.1f s; the simulator was delayed %s, by at most %.3f s",
		r.Tightest.Took, r.Tightest.At, plural.Of(len(r.Stalls), "time"), longest(r.Stalls))
	line("seconds over the rate limit", "%d", r.Over)
	line("task created, connection cut", "%d", r.Struck["cut"])
	line("task created, never answered", "%d", r.Struck["silent"])
	line("InternalError", "%d without a task, %d with one", r.Struck["internalError"], r.Struck["internalErrorCreated"])
	line("callbacks", "%d delivered, %d lost, %d sent twice, %d not accepted", r.Callbacks.Delivered,
		r.Struck["callbackLost"], r.Struck["callbackDouble"], r.Callbacks.Refused+r.Callbacks.Unreached)
	if n := r.KeptImages + r.LostImages + r.WrongImages; n > 0 {
		bad := []string{}
		for _, fault := range tiwtest.ImageFaults {
			bad = append(bad, fmt.Sprintf("%d %s", r.Struck["images."+string(fault)], fault))
		}
		line("images", "%d: %d copied byte for byte, %d lost, %d wrong", n, r.KeptImages, r.LostImages, r.WrongImages)
		line("faults of image requests", "%s", strings.Join(bad, ", "))
	}
	line("Describe requests a snapshot", "%.2f", r.DescribesEach)
	for _, fault := range allFaults() {
		n := 0
		for _, s := range r.Strikes {
			if s.Fault == fault {
				n++
			}
		}
		switch rec := r.Recovery[fault]; {
		case n == 0:
		case fault == faultImages, fault == faultStoreAway, fault == faultStoreFull: // they do not touch requests
			line(fault, "%s", plural.Of(n, "time"))
		default:
			line(fault, "%s; to the next request: median %.1f s, longest %.1f s", plural.Of(n, "time"), rec.Median, rec.Max)
		}
	}
	for _, p := range r.Pressed {
		line("requests during "+p.Fault, "%d for %s without a task; limit %d", p.Requests, plural.Of(p.Rooms, "room"), p.Most)
	}
	for _, code := range slices.Sorted(maps.Keys(r.Bad)) {
		rec := r.Bad[code]
		line(code, "%s must fail with it; to the failure: median %.1f s, longest %.1f s",
			plural.Of(rec.Count, "room"), rec.Median, rec.Max)
	}
	line("snapshots that lost their worker", "%d; to the end: median %.1f s, longest %.1f s",
		r.Orphans.Count, r.Orphans.Median, r.Orphans.Max)
	line("load", "%.2f", r.Load)
	return tw.Flush()
}

// printTable prints a Markdown table with a line for each run, for docs/chaos.md.
func printTable(w io.Writer, all []*report) error {
	var b strings.Builder
	b.WriteString("| run | rooms | succeeded | failed, must | lost | extra tasks | counted | unexplained |" +
		" lost with Redis' data | rejected | peak second | over the limit | images lost or wrong | seconds |" +
		" promises broken |\n" + strings.Repeat("| --- ", 15) + "|\n")
	for _, r := range all {
		fmt.Fprintf(&b, "| %s | %d | %d | %d, %d | %d | %d | %d | %d | %d | %d | %d of %d | %d | %d of %d | %.0f | %d |\n",
			r.Name, r.Rooms, r.Succeeded, r.Failed, r.MustFail, r.Lost, r.ExtraTasks,
			r.ExtraTasks-r.Explained-r.Unexplained, r.Unexplained, r.Explained, r.Rejected, r.Sliding, r.Rate, r.Over,
			r.LostImages+r.WrongImages, r.LostImages+r.WrongImages+r.KeptImages, r.Seconds, len(r.Broken))
	}
	_, err := io.WriteString(w, "\n"+b.String()+"\n")
	return err
}

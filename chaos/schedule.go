package main

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The faults that -faults knows. Those of single requests and callbacks are the
// simulator's and strike by probability.
const (
	faultKill    = "kill"    // kill -9 of one worker
	faultStop    = "stop"    // SIGSTOP of one worker, later SIGCONT: a zombie
	faultTerm    = "term"    // SIGTERM of every worker in turn: a deployment
	faultRedis   = "redis"   // kill -9 of redis-server, later started again
	faultFreeze  = "freeze"  // SIGSTOP of redis-server, later SIGCONT
	faultArrears = "arrears" // every call of the API is refused for a while
	faultForeign = "foreign" // somebody else spends from the quota for a while

	faultOddProbe = "odd-probe" // arrears, then a Describe of an unknown task is answered oddly for a while
	faultOutage   = "outage"    // the endpoint refuses connections for a while
	faultStorm    = "storm"     // every CreateSnapshotTask is answered InternalError for a while
	faultNoCreate = "no-create" // every CreateSnapshotTask is refused for a while, and no Describe

	faultImages    = "images"     // requests for images are answered badly, by probability, until the end
	faultStoreAway = "store-away" // the store of images is not there for a while
	faultStoreFull = "store-full" // and has no room

	faultBadRoom = "bad-room" // one room is always answered UnauthorizedOperation
	faultBadApp  = "bad-app"  // some rooms have a mistyped SdkAppId
)

// allFaults are all of them: those that strike again and again, once, those that
// are in the class list (list.go), and those that need a run of their own (run.go).
func allFaults() (all []string) {
	for _, r := range rhythms {
		all = append(all, r.fault)
	}
	for _, o := range onsets {
		all = append(all, o.fault)
	}
	all = append(all, faultImages, faultBadRoom, faultBadApp)
	for _, t := range trials {
		if !slices.Contains(all, t.fault) {
			all = append(all, t.fault)
		}
	}
	return all
}

// rhythm is how often a fault strikes and how long it lasts, in beats. The
// beat is -kill-every.
type rhythm struct {
	fault    string
	every    float64 // mean; from half of it to half as much again
	min, max float64 // duration; both 0: it is over at once
}

var rhythms = []rhythm{
	{faultKill, 1, 0, 0}, // to the beat, with no chance in it
	{faultStop, 3, 0.1, 4},
	{faultTerm, 6, 0, 0},
	{faultRedis, 5, 0.1, 0.5},
	{faultFreeze, 6, 0.5, 1.5},
	{faultArrears, 12, 2, 4},
	{faultForeign, 6, 2, 6},
	{faultStoreAway, 8, 0.5, 2},
	{faultStoreFull, 8, 0.5, 2},
}

// onset is when a fault strikes that does so once. It goes by requests and not
// by time, so that there are rooms left to send whatever else strikes.
type onset struct {
	fault    string
	from, to float64 // requests that have arrived before, a request a room being 1
	min, max float64 // duration in beats
	// most is how many requests may be sent while it lasts, with so many rooms
	// that have no task; nil: as many as go.
	most func(rooms int, lasts time.Duration) int
}

// In the order in which they strike: between two of them all is sent for a while.
var onsets = []onset{
	{faultOddProbe, 0.1, 0.2, 0.6, 1, nil},
	{faultOutage, 0.3, 0.4, 6, 12, nil},
	{faultStorm, 0.5, 0.6, 6, 12, func(rooms int, _ time.Duration) int { return rooms / 5 }},
	// Those that were on their way when it began, and then trials at growing intervals.
	{faultNoCreate, 0.7, 0.8, 4, 6, func(_ int, lasts time.Duration) int { return 20 + int(lasts/(10*time.Second)) }},
}

func onsetOf(fault string) (onset, bool) {
	i := slices.IndexFunc(onsets, func(o onset) bool { return o.fault == fault })
	if i < 0 {
		return onset{}, false
	}
	return onsets[i], true
}

// event is one strike of a fault.
type event struct {
	at    time.Duration // from the beginning of the faults
	after int           // or, where that is not 0, once so many requests have arrived
	fault string
	lasts time.Duration
	which float64 // the victim or the strength, from 0 to 1
}

// parseFaults reads a list as in "kill,stop".
func parseFaults(list string) ([]string, error) {
	var faults []string
	for f := range strings.SplitSeq(list, ",") {
		f = strings.TrimSpace(f)
		if f == "" {
			continue
		}
		if !slices.Contains(allFaults(), f) {
			return nil, fmt.Errorf("-faults: %q is not one of %s", f, strings.Join(allFaults(), ", "))
		}
		faults = append(faults, f)
	}
	return faults, nil
}

// random draws for one fault, so that it strikes at the same times whichever others
// are on.
func random(seed uint64, fault string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(fault))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// schedule is everything that strikes a batch of rooms until the end, in order.
// It is a function of its arguments: what processes do between the strikes is not.
func schedule(seed uint64, faults []string, rooms int, beat, end time.Duration) []event {
	beats := func(n float64) time.Duration { return time.Duration(n * float64(beat)) }
	var all []event
	for _, r := range rhythms {
		if !slices.Contains(faults, r.fault) {
			continue
		}
		rng := random(seed, r.fault)
		step := func(from float64) time.Duration {
			u := from + (1.5-from)*rng.Float64()
			if r.fault == faultKill {
				u = 1
			}
			return beats(u * r.every)
		}
		for at := step(0.2); at < end; at += step(0.5) {
			all = append(all, event{
				at:    at,
				fault: r.fault,
				lasts: beats(r.min + (r.max-r.min)*rng.Float64()).Round(time.Millisecond),
				which: rng.Float64(),
			})
		}
	}
	for _, o := range onsets {
		if !slices.Contains(faults, o.fault) {
			continue
		}
		rng := random(seed, o.fault)
		all = append(all, event{
			after: max(1, int(float64(rooms)*(o.from+(o.to-o.from)*rng.Float64()))),
			fault: o.fault,
			lasts: beats(o.min + (o.max-o.min)*rng.Float64()).Round(time.Millisecond),
			which: rng.Float64(),
		})
	}
	if slices.Contains(faults, faultImages) {
		all = append(all, event{fault: faultImages, lasts: end})
	}
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return all
}

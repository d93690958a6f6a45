package main

import (
	"cmp"
	"fmt"
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

	faultBadRoom = "bad-room" // one room is always answered UnauthorizedOperation
	faultBadApp  = "bad-app"  // some rooms have a mistyped SdkAppId
)

// allFaults are all of them: those that strike again and again, once, and those
// that are in the class list (list.go).
func allFaults() (all []string) {
	for _, r := range rhythms {
		all = append(all, r.fault)
	}
	for _, o := range onsets {
		all = append(all, o.fault)
	}
	return append(all, faultBadRoom, faultBadApp)
}

// rhythm is how often a fault strikes and how long it lasts, in beats. The
// beat is -kill-every.
type rhythm struct {
	fault    string
	every    float64 // mean; from half of it to half as much again
	min, max float64 // duration; both 0: it is over at once
}

// The order matters: it chooses each fault's own random numbers, so that a
// fault strikes at the same times whichever others are on.
var rhythms = []rhythm{
	{faultKill, 1, 0, 0}, // to the beat, with no chance in it
	{faultStop, 3, 0.1, 4},
	{faultTerm, 6, 0, 0},
	{faultRedis, 5, 0.1, 0.5},
	{faultFreeze, 6, 0.5, 1.5},
	{faultArrears, 12, 2, 4},
	{faultForeign, 6, 2, 6},
}

// onset is when a fault strikes that does so once. It goes by requests and not
// by time, so that there are rooms left to send whatever else strikes.
type onset struct {
	fault    string
	from, to float64 // requests that have arrived before, a request a room being 1
	min, max float64 // duration in beats
}

// In the order in which they strike: between two of them all is sent for a while.
var onsets = []onset{
	{faultOddProbe, 0.1, 0.2, 0.6, 1},
	{faultOutage, 0.3, 0.4, 6, 12},
	{faultStorm, 0.5, 0.6, 6, 12},
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

// schedule is everything that strikes a batch of rooms until the end, in order.
// It is a function of its arguments: what processes do between the strikes is not.
func schedule(seed uint64, faults []string, rooms int, beat, end time.Duration) []event {
	beats := func(n float64) time.Duration { return time.Duration(n * float64(beat)) }
	var all []event
	for i, r := range rhythms {
		if !slices.Contains(faults, r.fault) {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
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
	for i, o := range onsets {
		if !slices.Contains(faults, o.fault) {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, uint64(len(rhythms)+i)))
		all = append(all, event{
			after: max(1, int(float64(rooms)*(o.from+(o.to-o.from)*rng.Float64()))),
			fault: o.fault,
			lasts: beats(o.min + (o.max-o.min)*rng.Float64()).Round(time.Millisecond),
			which: rng.Float64(),
		})
	}
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return all
}

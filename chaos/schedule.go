package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The faults that the schedule knows. Those of single requests and callbacks
// are the simulator's and strike by probability.
const (
	faultKill    = "kill"    // kill -9 of one worker
	faultStop    = "stop"    // SIGSTOP of one worker, later SIGCONT: a zombie
	faultTerm    = "term"    // SIGTERM of every worker in turn: a deployment
	faultRedis   = "redis"   // kill -9 of redis-server, later started again
	faultFreeze  = "freeze"  // SIGSTOP of redis-server, later SIGCONT
	faultArrears = "arrears" // every call of the API is refused for a while
	faultForeign = "foreign" // somebody else spends from the quota for a while
)

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

// event is one strike of a fault.
type event struct {
	at    time.Duration // from the beginning of the faults
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
		if !slices.ContainsFunc(rhythms, func(r rhythm) bool { return r.fault == f }) {
			var known []string
			for _, r := range rhythms {
				known = append(known, r.fault)
			}
			return nil, fmt.Errorf("-faults: %q is not one of %s", f, strings.Join(known, ", "))
		}
		faults = append(faults, f)
	}
	return faults, nil
}

// schedule is everything that strikes until the end, in order. It is a function
// of its arguments: what processes do between the strikes is not.
func schedule(seed uint64, faults []string, beat, end time.Duration) []event {
	var all []event
	for i, r := range rhythms {
		if !slices.Contains(faults, r.fault) {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		beats := func(n float64) time.Duration { return time.Duration(n * float64(beat)) }
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
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return all
}

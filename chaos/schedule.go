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

// The faults of -faults. Faults of single requests and callbacks have a probability and are injected by the simulator.
const (
	faultKill    = "kill"    // kill -9 of one worker
	faultStop    = "stop"    // SIGSTOP of one worker, later SIGCONT
	faultTerm    = "term"    // SIGTERM of every worker in turn, as in a deployment
	faultRedis   = "redis"   // kill -9 of redis-server, later started again
	faultFreeze  = "freeze"  // SIGSTOP of redis-server, later SIGCONT
	faultArrears = "arrears" // every API request is refused
	faultForeign = "foreign" // another client uses part of the quota

	faultOddProbe = "odd-probe" // arrears, and a Describe of an unknown task gets an odd answer
	faultOutage   = "outage"    // the endpoint refuses connections
	faultStorm    = "storm"     // every CreateSnapshotTask is answered InternalError
	faultNoCreate = "no-create" // every CreateSnapshotTask is refused, but no Describe

	faultImages    = "images"     // image requests fail with a probability, until the end
	faultStoreAway = "store-away" // the folder of the image store is missing
	faultStoreFull = "store-full" // the volume of the image store is full

	faultBadRoom = "bad-room" // one room is always answered UnauthorizedOperation
	faultBadApp  = "bad-app"  // some rooms have a mistyped SdkAppId
)

// allFaults returns all faults: recurring ones, those that happen once, those of the class list (list.go), and those
// with a run of their own (run.go).
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

// rhythm is the interval and duration of a recurring fault, in beats. A beat is -kill-every.
type rhythm struct {
	fault    string
	every    float64 // mean interval; the interval is random, from half of it to one and a half of it
	min, max float64 // duration; both 0: none
}

var rhythms = []rhythm{
	{faultKill, 1, 0, 0}, // exactly each beat
	{faultStop, 3, 0.1, 4},
	{faultTerm, 6, 0, 0},
	{faultRedis, 5, 0.1, 0.5},
	{faultFreeze, 6, 0.5, 1.5},
	{faultArrears, 12, 2, 4},
	{faultForeign, 6, 2, 6},
	{faultStoreAway, 8, 0.5, 2},
	{faultStoreFull, 8, 0.5, 2},
}

// onset is the start of a fault that happens once. It depends on requests instead of time, so that rooms are left
// whatever other faults do.
type onset struct {
	fault    string
	from, to float64 // requests before it, as a multiple of the rooms
	min, max float64 // duration in beats
	// most returns how many requests are allowed during the fault if that many rooms have no task; nil: any number.
	most func(rooms int, lasts time.Duration) int
}

// onsets are in their order. Between two of them requests succeed for some time.
var onsets = []onset{
	{faultOddProbe, 0.1, 0.2, 0.6, 1, nil},
	{faultOutage, 0.3, 0.4, 6, 12, nil},
	{faultStorm, 0.5, 0.6, 6, 12, func(rooms int, _ time.Duration) int { return rooms / 5 }},
	// Requests that were in flight when it began, and then trials at growing intervals.
	{faultNoCreate, 0.7, 0.8, 4, 6, func(_ int, lasts time.Duration) int { return 20 + int(lasts/(10*time.Second)) }},
}

func onsetOf(fault string) (onset, bool) {
	i := slices.IndexFunc(onsets, func(o onset) bool { return o.fault == fault })
	if i < 0 {
		return onset{}, false
	}
	return onsets[i], true
}

// event is a fault at a time of the schedule.
type event struct {
	at    time.Duration // since the start of the schedule
	after int           // unless 0: after so many requests, instead of at
	fault string
	lasts time.Duration
	which float64 // selects the victim or the strength, 0 to 1
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

// random returns the random numbers of one fault. They do not depend on which other faults are selected.
func random(seed uint64, fault string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(fault))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// schedule returns the events until the end, in their order. It is a pure function of its arguments.
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

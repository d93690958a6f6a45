package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/testbed"
	"tiwsnap/tiw/tiwtest"
)

// The faults that need a run of their own, each with a Redis of its own.
const (
	faultNamespaces = "namespaces"    // two accounts on one Redis
	faultFlush      = "flush"         // FLUSHALL
	faultStale      = "stale-replica" // the master dies, and a replica that is behind takes its place
	faultFailover   = "failover"      // SENTINEL FAILOVER
	faultCluster    = "cluster"       // a master of a Cluster is killed
)

// trials are the runs of these faults.
var trials = []run{
	{faultNamespaces, faultNamespaces, twoNamespaces},
	{faultFlush, faultFlush, flush},
	{faultStale + "-local", faultStale, staleReplica(local)},
	{faultStale + "-replicated", faultStale, staleReplica(replicated)},
	{faultFailover + "-local", faultFailover, plannedFailover(local)},
	{faultFailover + "-replicated", faultFailover, plannedFailover(replicated)},
	{faultCluster + "-local", faultCluster, clusterMasterKilled(local)},
	{faultCluster + "-replicated", faultCluster, clusterMasterKilled(replicated)},
}

// run is one run: of one fault that needs one of its own, or of all others
// together on one Redis.
type run struct {
	name  string
	fault string // that asks for it
	do    func(context.Context, *stage) ([]*report, error)
}

// runsOf returns the runs that the faults ask for.
func runsOf(faults []string) (all []run) {
	alone := 0
	for _, t := range trials {
		if slices.Contains(faults, t.fault) {
			all = append(all, t)
		}
	}
	for _, f := range faults {
		if slices.ContainsFunc(trials, func(t run) bool { return t.fault == f }) {
			alone++
		}
	}
	if alone == 0 || alone < len(faults) {
		all = slices.Insert(all, 0, run{"together", "", together})
	}
	return all
}

// atOnce is how many of the trials run at a time: they wait most of the time. What
// the other faults do together runs alone.
const atOnce = 3

// done is what has come of a run.
type done struct {
	reports []*report
	err     error
}

// startAll starts the runs of the faults, each in a folder under dir, and returns
// what each gives when it is over, in their order.
func startAll(ctx context.Context, o options, faults []string, binary, dir string) []chan done {
	runs := runsOf(faults)
	all := make([]chan done, len(runs))
	for i := range all {
		all[i] = make(chan done, 1)
	}
	go func() {
		slots := semaphore.NewWeighted(atOnce)
		for i, r := range runs {
			n := int64(1)
			if r.fault == "" {
				n = atOnce
			}
			if err := slots.Acquire(ctx, n); err != nil {
				all[i] <- done{nil, err}
				continue
			}
			go func() {
				defer slots.Release(n)
				reports, err := r.start(ctx, o, faults, binary, filepath.Join(dir, r.name))
				all[i] <- done{reports, err}
			}()
		}
	}()
	return all
}

// stage is what a run has of its own.
type stage struct {
	options
	name, binary string
	dir          string
	kinds        []string // faults that are on together

	begun time.Time
	held  func() []tiwtest.Stall // ends the watch, and returns when the referee was held up
}

// start runs it in a folder of its own.
func (r run) start(ctx context.Context, o options, faults []string, binary, dir string) ([]*report, error) {
	s := &stage{options: o, name: r.name, binary: binary, dir: dir}
	if r.fault == "" {
		s.kinds = slices.DeleteFunc(slices.Clone(faults), func(f string) bool {
			return slices.ContainsFunc(trials, func(t run) bool { return t.fault == f })
		})
	} else {
		s.rooms, s.workers = min(max(80, o.rooms/5), o.rooms), 2
		s.killEvery, s.strikeFor, s.minutes = min(o.killEvery, 2*time.Second), 15*time.Second, min(o.minutes, 5)
		s.grace, s.timeout = min(o.grace, 6*time.Second), min(o.timeout, 2*time.Second)
	}
	// What a kept run left would be Redis' data of this one.
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.minutes*float64(time.Minute)))
	defer cancel()
	reports, err := r.do(ctx, s)
	if s.held == nil {
		return nil, err
	}
	held := s.held()
	for _, r := range reports {
		r.Stalls, r.Over = held, tiwtest.OverLimit(r.calls, r.Rate, s.begun, held)
		r.judge()
	}
	return reports, err
}

// has reports whether one of the faults is on.
func (s *stage) has(faults ...string) bool {
	return slices.ContainsFunc(faults, func(f string) bool { return slices.Contains(s.kinds, f) })
}

// folder makes a folder of the run.
func (s *stage) folder(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// begin is when the batch is enqueued.
func (s *stage) begin() {
	s.begun = time.Now()
	ctx, stop := context.WithCancel(context.Background())
	held := make(chan []tiwtest.Stall, 1)
	go func() { held <- tiwtest.WatchStalls(ctx, s.begun) }()
	s.held = func() []tiwtest.Stall {
		stop()
		return <-held
	}
	s.say("begin", "%d rooms, %d workers, %d requests a second, seed %d", s.rooms, s.workers, s.rate, s.seed)
}

// say tells how the run gets on.
func (s *stage) say(what, format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%-24s %7.1fs  %-10s  %s\n",
		s.name, time.Since(s.begun).Seconds(), what, fmt.Sprintf(format, args...))
}

// onServer returns an installation on a redis-server of its own.
func (s *stage) onServer() (*installation, error) {
	dir, err := s.folder("a")
	if err != nil {
		return nil, err
	}
	bed, err := testbed.New(dir, s.binary)
	if err != nil {
		return nil, err
	}
	return s.install(bed, keys.Default)
}

// together is the run of all faults that strike one batch on one Redis.
func together(ctx context.Context, s *stage) ([]*report, error) {
	in, err := s.onServer()
	if err != nil {
		return nil, err
	}
	defer in.close()
	s.begin()
	if err := in.enqueue(ctx); err != nil {
		return nil, err
	}
	end := cmp.Or(s.strikeFor, time.Duration(s.minutes*float64(time.Minute)))
	a := &arena{in: in}
	endStrikes := a.start(ctx, schedule(s.seed, s.kinds, s.rooms, s.killEvery, end))
	watching, endWatch := context.WithCancel(ctx)
	defer endWatch()
	lost := make(chan map[string]time.Time, 1)
	go func() { lost <- orphans(watching, in.DB, in.ns) }()
	in.follow(ctx)
	endWatch()
	if err := endStrikes(); err != nil {
		return nil, err
	}
	r, err := in.finish(ctx, evidence{strikes: a.strikes})
	if err != nil {
		return nil, err
	}
	r.Orphans = orphaned(<-lost, r.results)
	return []*report{r}, nil
}

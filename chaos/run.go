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
	"tiwsnap/internal/plural"
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

// run is a run of one fault, or of all faults that can share a Redis.
type run struct {
	name  string
	fault string // empty: all that share a Redis
	do    func(context.Context, *stage) ([]*report, error)
}

// runsOf returns the runs of the faults.
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

// atOnce is how many trials run at a time: they wait most of the time. The run of the other faults runs alone.
const atOnce = 3

// done is the result of a run.
type done struct {
	reports []*report
	err     error
}

// startAll starts the runs of the faults, each in a folder under dir. It returns a channel for the result of each run.
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

// stage is the state of a run.
type stage struct {
	options
	name, binary string
	dir          string
	kinds        []string // faults of this run

	begun time.Time
	held  func() []tiwtest.Stall // stops watching the simulator and returns its stalls
}

// start runs the run in the folder dir, which it empties first.
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
	// Redis would load the data that an earlier run with -keep has left.
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

// has reports whether the run has one of the faults.
func (s *stage) has(faults ...string) bool {
	return slices.ContainsFunc(faults, func(f string) bool { return slices.Contains(s.kinds, f) })
}

// folder makes a folder of the run.
func (s *stage) folder(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// begin starts the clock of the run; the batch is enqueued next.
func (s *stage) begin() {
	s.begun = time.Now()
	ctx, stop := context.WithCancel(context.Background())
	held := make(chan []tiwtest.Stall, 1)
	go func() { held <- tiwtest.WatchStalls(ctx, s.begun) }()
	s.held = func() []tiwtest.Stall {
		stop()
		return <-held
	}
	s.log("begin", "%s, %s, %s a second, seed %d",
		plural.Of(s.rooms, "room"), plural.Of(s.workers, "worker"), plural.Of(s.rate, "request"), s.seed)
}

// log prints a progress message.
func (s *stage) log(what, format string, args ...any) {
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

// together runs all faults that can share one batch on one Redis.
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

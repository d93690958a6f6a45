package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// drain measures the first promise: any number of processes sends a batch at the rate limit, no second has more
// requests, none is rejected, and every room gets exactly one snapshot.
func drain(ctx context.Context, r *recorder) error {
	n, procs := 600, []int{1, 4, 16}
	if r.Short {
		n, procs = 100, []int{1, 4}
	}
	for _, p := range procs {
		if err := drainBy(ctx, r, processes(p), p, n); err != nil {
			return err
		}
	}
	if r.Short {
		return nil
	}
	defer loadCores()()
	for _, p := range procs {
		if err := drainBy(ctx, r, processes(p)+", cores busy", p, n); err != nil {
			return err
		}
	}
	return nil
}

func drainBy(ctx context.Context, r *recorder, name string, procs, n int) error {
	d, err := r.drained(ctx, name, procs, n, simulator())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r.add(name+": enqueue to last request", d.wall.Seconds(), "s", atMost(floor(n, capacity).Seconds()+0.8))
	r.add(name+": first to last request", d.span.Seconds(), "s", noTarget)
	r.add(name+": rejected", float64(d.rejected), "", atMost(0))
	r.add(name+": peak second", float64(d.sliding), "", atMost(capacity))
	r.add(name+": peak calendar second", float64(d.calendar), "", atMost(capacity))
	r.add(name+": seconds over the limit", float64(d.over), "", atMost(0))
	if d.over > 0 {
		r.broken("%s: seconds with more than %d requests: %d", name, capacity, d.over)
	}
	return nil
}

// drained is the result of draining a batch.
type drained struct {
	wall     time.Duration // from the start of the enqueue to the last request
	span     time.Duration // from the first request to the last
	rejected int
	sliding  int // requests in the peak second
	calendar int // requests in the peak calendar second
	over     int // seconds over the limit, except those that delays of the simulator explain
}

// drained drains n rooms with procs workers and checks that no room is lost or has two tasks.
func (r *recorder) drained(ctx context.Context, name string, procs, n int, o tiwtest.Options) (d drained, err error) {
	s, err := r.newStage(name, o)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(n)*150*time.Millisecond)
	defer cancel()
	if err := s.startWorkers(ctx, procs); err != nil {
		return d, err
	}
	if err := settle(ctx); err != nil {
		return d, err
	}
	start := time.Now()
	stalls := watchStalls(ctx, start)
	if err := s.batch(ctx, "drain", firstRoom, n); err != nil {
		return d, err
	}
	if err := s.Sim.WaitRequests(ctx, n); err != nil {
		return d, err
	}
	if _, err := s.ended(ctx, "drain"); err != nil {
		return d, err
	}
	held := stalls()

	calls := s.Sim.Requests()
	times := timesOf(calls, anyRequest)
	last := times[len(times)-1]
	create := s.Sim.State().Actions[tiwtest.ActionCreate]
	d = drained{
		wall: last.Sub(start), span: last.Sub(times[0]),
		rejected: int(create.Rejected),
		sliding:  create.Received.SlidingSecond.Requests, calendar: create.Received.CalendarSecond.Requests,
		over: tiwtest.OverLimit(calls, capacity, start, held),
	}
	results, err := s.Command(ctx, "status", "drain", "-o", "csv")
	if err != nil {
		return d, err
	}
	if err := audit(results, n); err != nil {
		r.broken("%s: %v", name, err)
	}
	if all, twice := tasksOf(s.Sim); all != n || twice > 0 {
		r.broken("%s: %d of %d rooms have a task, %d of them more than one", name, all, n, twice)
	}
	return d, nil
}

// watchStalls records delays of the simulator until the function that it returns is called.
func watchStalls(ctx context.Context, start time.Time) func() []tiwtest.Stall {
	ctx, cancel := context.WithCancel(ctx)
	var all []tiwtest.Stall
	var watching sync.WaitGroup
	watching.Go(func() { all = tiwtest.WatchStalls(ctx, start) })
	return func() []tiwtest.Stall {
		cancel()
		watching.Wait()
		return all
	}
}

// tasksOf returns how many rooms have a task in the simulator, and how many have more than one.
func tasksOf(sim *tiwtest.Server) (all, twice int) {
	st := sim.State()
	return st.Rooms.Rooms, st.Rooms.Repeated
}

// audit checks that a result list has n rooms, each succeeded and with images.
func audit(results []byte, n int) error {
	r := csv.NewReader(bytes.NewReader(results))
	header, err := r.Read()
	if err != nil {
		return fmt.Errorf("result list: %w", err)
	}
	column := make(map[string]int)
	for i, name := range header {
		column[name] = i
	}
	seen := make(map[string]bool)
	for {
		row, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("result list: %w", err)
		}
		images := len(strings.Fields(row[column["Snapshots"]]))
		if row[column["State"]] != "succeeded" || images == 0 {
			return fmt.Errorf("result list: room %s is %s with %d images", row[column["RoomId"]], row[column["State"]], images)
		}
		seen[row[column["RoomId"]]] = true
	}
	if len(seen) != n {
		return fmt.Errorf("result list: %d rooms, want %d", len(seen), n)
	}
	return nil
}

// loadCores keeps every core busy until stop is called. Each of its processes ends after two minutes of processor time.
func loadCores() (stop func()) {
	var all []*exec.Cmd
	for range runtime.NumCPU() {
		cmd := exec.Command("sh", "-c", "ulimit -t 120; while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if cmd.Start() == nil {
			all = append(all, cmd)
		}
	}
	return func() {
		for _, cmd := range all {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
}

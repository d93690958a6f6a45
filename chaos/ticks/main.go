// Command ticks tests that each tick of a schedule creates exactly one batch.
// Three worker processes have the same schedule of every minute. On every other
// tick, the worker that has started it is killed while it reads the rooms.
//
// It builds the binary, starts a redis-server and the simulator on loopback,
// and ends after the given minutes. The exit code is 0 if there was one batch a
// minute and every room was snapshotted once for each.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tiwsnap/internal/testbed"
	"tiwsnap/ledger"
	"tiwsnap/tiw/tiwtest"
)

const (
	workers  = 3
	name     = "minute"
	rooms    = 5
	patience = 40 * time.Second // for the last batch to end and another worker to take over the tick of a killed one
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	minutes := flag.Int("minutes", 5, "how many ticks to watch")
	flag.Parse()
	if err := run(ctx, *minutes); err != nil {
		fmt.Fprintln(os.Stderr, "ticks:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, minutes int) (err error) {
	dir, err := os.MkdirTemp("", "tiwsnap-ticks-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			os.RemoveAll(dir)
		} else {
			err = fmt.Errorf("%w (logs are in %s)", err, dir)
		}
	}()
	binary, err := testbed.Build(ctx, dir)
	if err != nil {
		return err
	}
	bed, err := testbed.New(dir, binary)
	if err != nil {
		return err
	}
	defer bed.Close()
	if err := bed.Simulate(tiwtest.Options{TaskDuration: time.Second}); err != nil {
		return err
	}
	bed.Environ = append(bed.Environ, "TIWSNAP_CONFIRM_AFTER=1s")

	f := &fleet{bed: bed}
	source := httptest.NewServer(f)
	defer source.Close()
	defer f.stop()
	for i := range workers {
		if err := f.start(ctx, i, source.URL); err != nil {
			return err
		}
	}
	// The first tick that counts comes after all workers know the schedule.
	began, err := bed.DB.Time(ctx).Result()
	if err != nil {
		return err
	}
	first := began.Truncate(time.Minute).Add(time.Minute)
	if first.Sub(began) < 10*time.Second {
		first = first.Add(time.Minute)
	}
	f.armFrom(first)
	last := first.Add(time.Duration(minutes-1) * time.Minute)
	fmt.Printf("%d workers; ticks from %s to %s UTC\n", workers, first.UTC().Format(time.TimeOnly),
		last.UTC().Format(time.TimeOnly))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(last.Add(patience).Sub(began)):
	}
	return audit(ctx, bed, f, first, minutes)
}

// audit checks that each tick has one batch and each of its rooms one task.
func audit(ctx context.Context, bed *testbed.Testbed, f *fleet, first time.Time, minutes int) error {
	batches, err := ledger.New(bed.DB, ledger.Options{}).Batches(ctx, 0)
	if err != nil {
		return err
	}
	byID := map[string]ledger.Batch{}
	for _, b := range batches {
		byID[b.ID] = b
	}
	var faults []error
	for i := range minutes {
		tick := first.Add(time.Duration(i) * time.Minute).UTC()
		id := name + "-" + tick.Format("20060102t150405z")
		b, ok := byID[id]
		delete(byID, id)
		killed := f.killedAt(tick)
		fmt.Printf("%s  batch %-26s  %s after the tick  %d of %d succeeded  killed: %s\n",
			tick.Format(time.TimeOnly), b.ID, b.CreatedAt.Sub(tick).Round(time.Millisecond), b.Succeeded, rooms, killed)
		if !ok || b.Succeeded != rooms {
			faults = append(faults, fmt.Errorf("the tick of %s has no batch, or not all of it", tick.Format(time.TimeOnly)))
		}
		if i%2 == 1 && killed == "-" {
			faults = append(faults, fmt.Errorf("no worker was killed on the tick of %s", tick.Format(time.TimeOnly)))
		}
	}
	for id, b := range byID { // the tick before the first may have come while the workers started
		if !b.CreatedAt.Before(first) {
			faults = append(faults, fmt.Errorf("batch %s is too many", id))
			continue
		}
		minutes++
	}
	tasks := int(bed.Sim.State().Tasks.Created)
	fmt.Printf("batches %d, tasks at the API %d, requests for the rooms %d\n", len(batches), tasks, f.asked)
	if tasks != minutes*rooms {
		faults = append(faults, fmt.Errorf("tasks created: %d, want %d", tasks, minutes*rooms))
	}
	return errors.Join(faults...)
}

// fleet are the workers and the server of their rooms, which kills them.
type fleet struct {
	bed *testbed.Testbed

	mu      sync.Mutex
	cmds    [workers]*exec.Cmd
	running sync.WaitGroup
	from    time.Time
	killed  map[time.Time]string
	asked   int
	halted  bool
}

func (f *fleet) armFrom(first time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.from, f.killed = first, map[time.Time]string{}
}

func (f *fleet) killedAt(tick time.Time) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if who := f.killed[tick]; who != "" {
		return who
	}
	return "-"
}

// start starts worker i, which reads its rooms under a path of its own.
func (f *fleet) start(ctx context.Context, i int, source string) error {
	file := filepath.Join(f.bed.Dir, fmt.Sprintf("worker-%d.yml", i))
	text := fmt.Sprintf("schedules: [{name: %s, cron: '* * * * *', "+
		"rooms: {url: '%s/%d'}, defaults: {SdkAppId: 1400123480}}]\n", name, source, i)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(f.bed.Dir, fmt.Sprintf("worker-%d.log", i)),
		os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, f.bed.Binary, "worker", "--config", file)
	cmd.Env = append(slices.Clone(f.bed.Environ),
		"TIWSNAP_WORKER_SPOOL="+filepath.Join(f.bed.Dir, fmt.Sprintf("spool-%d", i)))
	cmd.Stderr = log
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.halted {
		return nil
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	f.cmds[i] = cmd
	f.running.Go(func() {
		cmd.Wait()
		if ctx.Err() == nil {
			f.start(ctx, i, source) // as a supervisor would
		}
	})
	return nil
}

// stop ends all workers.
func (f *fleet) stop() {
	f.mu.Lock()
	f.halted = true
	for _, cmd := range f.cmds {
		if cmd != nil {
			cmd.Process.Signal(os.Interrupt)
		}
	}
	f.mu.Unlock()
	f.running.Wait()
}

// ServeHTTP returns the rooms. At every other tick it kills the first worker that requests them.
func (f *fleet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var i int
	fmt.Sscanf(strings.TrimPrefix(r.URL.Path, "/"), "%d", &i)
	tick := time.Now().Truncate(time.Minute).UTC()
	f.mu.Lock()
	f.asked++
	minute := int(tick.Sub(f.from) / time.Minute)
	kill := !f.from.IsZero() && !tick.Before(f.from) && minute%2 == 1 && f.killed[tick] == "" && i >= 0 && i < workers
	if kill {
		f.killed[tick] = fmt.Sprintf("worker %d", i)
		f.cmds[i].Process.Kill()
	}
	f.mu.Unlock()
	if kill {
		return
	}
	fmt.Fprintln(w, "RoomId")
	for n := range rooms {
		fmt.Fprintln(w, n+1)
	}
}

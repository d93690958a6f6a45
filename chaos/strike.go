package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"tiwsnap/internal/redistest"
	"tiwsnap/tiw/tiwtest"
)

// oddAfter is how long an unknown task is answered oddly after the arrears, in
// times that they last: longer than a probe waits that has failed.
const oddAfter = 6

// arena is what the faults strike.
type arena struct {
	fleet *fleet
	redis *redistest.Server
	sim   *tiwtest.Server
	rate  int
	say   func(what, format string, args ...any)

	// What one fault holds another one does not touch: that strike is left out.
	server, account, quota, deployment sync.Mutex

	mu      sync.Mutex
	faults  tiwtest.Faults
	strikes []strike
	broken  []error // strikes that did not work out
}

// strike is one fault that struck.
type strike struct {
	Fault string    `json:"fault"`
	What  string    `json:"what"`
	At    time.Time `json:"at"`
	// Since is when things can get better: at once where a worker is struck,
	// since others are left; otherwise when the fault is over.
	Since time.Time `json:"since"`
}

// run strikes with each event at its time until ctx ends, and returns when all
// is as it was before.
func (a *arena) run(ctx context.Context, events []event) {
	start := time.Now()
	var out sync.WaitGroup
	for _, e := range events {
		if e.after == 0 && !pause(ctx, time.Until(start.Add(e.at))) {
			break
		}
		out.Go(func() {
			if e.after > 0 && a.sim.WaitCalls(ctx, e.after) != nil {
				return // all is over
			}
			if err := a.strike(ctx, e); err != nil {
				a.mu.Lock()
				a.broken = append(a.broken, fmt.Errorf("%s: %w", e.fault, err))
				a.mu.Unlock()
			}
		})
	}
	out.Wait()
}

func (a *arena) strike(ctx context.Context, e event) error {
	victim := a.fleet.workers[int(e.which*float64(len(a.fleet.workers)))]
	switch e.fault {
	case faultKill:
		if pid, _, ok := victim.signal(syscall.SIGKILL); ok {
			a.note(e, 0, "worker %d, pid %d", victim.n, pid)
		}
	case faultStop:
		if pid, _, ok := victim.signal(syscall.SIGSTOP); ok {
			a.note(e, 0, "worker %d, pid %d, for %s", victim.n, pid, e.lasts)
			pause(ctx, e.lasts)
			victim.signal(syscall.SIGCONT)
		}
	case faultTerm:
		if !a.deployment.TryLock() {
			return nil
		}
		defer a.deployment.Unlock()
		a.note(e, 0, "every worker in turn")
		for _, w := range a.fleet.workers {
			if _, exited, ok := w.signal(syscall.SIGTERM); ok {
				select {
				case <-exited:
				case <-ctx.Done():
				}
			}
			if !pause(ctx, 2*restartAfter) {
				break
			}
		}
	case faultRedis:
		if !a.server.TryLock() {
			return nil
		}
		defer a.server.Unlock()
		a.redis.Kill()
		a.note(e, e.lasts, "killed, back after %s", e.lasts)
		pause(ctx, e.lasts)
		return a.redis.Restart()
	case faultFreeze:
		if !a.server.TryLock() {
			return nil
		}
		defer a.server.Unlock()
		if err := a.redis.Freeze(); err != nil {
			return err
		}
		a.note(e, e.lasts, "redis-server, for %s", e.lasts)
		pause(ctx, e.lasts)
		return a.redis.Thaw()
	case faultArrears:
		if !a.account.TryLock() {
			return nil
		}
		defer a.account.Unlock()
		a.note(e, e.lasts, "for %s", e.lasts)
		err := a.setFaults(func(f *tiwtest.Faults) { f.Arrears.For = tiwtest.Duration(24 * time.Hour) })
		pause(ctx, e.lasts)
		return errors.Join(err, a.setFaults(func(f *tiwtest.Faults) { f.Arrears.For = 0 }))
	case faultForeign:
		if !a.quota.TryLock() {
			return nil
		}
		defer a.quota.Unlock()
		load := max(1, int(float64(a.rate)*(0.25+0.5*e.which)))
		a.note(e, e.lasts, "%d requests a second, for %s", load, e.lasts)
		err := a.setFaults(func(f *tiwtest.Faults) { f.ForeignLoad = load })
		pause(ctx, e.lasts)
		return errors.Join(err, a.setFaults(func(f *tiwtest.Faults) { f.ForeignLoad = 0 }))
	case faultOddProbe:
		a.account.Lock() // it strikes once, so it waits until others are over
		answer := []string{"InternalError", "nulls"}[int(2*e.which)]
		a.note(e, e.lasts, "arrears for %s, and unknown tasks are answered %s", e.lasts, answer)
		err := a.setFaults(func(f *tiwtest.Faults) { f.Arrears.For, f.UnknownTask = tiwtest.Duration(24*time.Hour), answer })
		pause(ctx, e.lasts)
		err = errors.Join(err, a.setFaults(func(f *tiwtest.Faults) { f.Arrears.For = 0 }))
		a.account.Unlock()
		pause(ctx, oddAfter*e.lasts)
		return errors.Join(err, a.setFaults(func(f *tiwtest.Faults) { f.UnknownTask = "" }))
	case faultOutage:
		a.note(e, e.lasts, "of the endpoint, for %s", e.lasts)
		a.sim.Refuse()
		pause(ctx, e.lasts)
		return a.sim.Listen(strings.TrimPrefix(a.sim.URL, "http://"))
	case faultStorm:
		a.note(e, e.lasts, "for %s, half of the requests make a task", e.lasts)
		var before tiwtest.Faults
		err := a.setFaults(func(f *tiwtest.Faults) {
			before = *f
			f.Cut, f.Silent, f.InternalError, f.InternalErrorCreated = 0, 0, 0.5, 0.5
		})
		pause(ctx, e.lasts)
		return errors.Join(err, a.setFaults(func(f *tiwtest.Faults) {
			f.Cut, f.Silent = before.Cut, before.Silent
			f.InternalError, f.InternalErrorCreated = before.InternalError, before.InternalErrorCreated
		}))
	}
	return nil
}

// setFaults changes what the simulator does, and leaves the rest of it.
func (a *arena) setFaults(change func(*tiwtest.Faults)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.faults)
	return a.sim.SetFaults(a.faults)
}

func (a *arena) note(e event, better time.Duration, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	a.say(e.fault, "%s", what)
	now := time.Now()
	a.mu.Lock()
	a.strikes = append(a.strikes, strike{e.fault, what, now, now.Add(better)})
	a.mu.Unlock()
}

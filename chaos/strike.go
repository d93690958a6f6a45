package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"tiwsnap/internal/plural"
	"tiwsnap/tiw/tiwtest"
)

// oddAfter is how long odd answers for an unknown task outlast the arrears, in multiples of their duration. It is
// longer than the backoff after a failed probe.
const oddAfter = 6

// arena injects faults into an installation.
type arena struct {
	in *installation

	// A fault locks what it breaks. A second fault of the same part is skipped.
	server, account, quota, answers, deployment, volume sync.Mutex

	mu      sync.Mutex
	strikes []strike
	broken  []error // strikes that could not be carried out
}

// strike is a fault that was injected.
type strike struct {
	Fault string    `json:"fault"`
	What  string    `json:"what"`
	At    time.Time `json:"at"`
	// Since is when recovery can begin: at once for a fault of a single worker, else at the end of the fault.
	Since time.Time `json:"since"`
}

// start injects faults until end is called. end returns after everything is repaired; its error lists the strikes that
// could not be carried out.
func (a *arena) start(ctx context.Context, events []event) (end func() error) {
	ctx, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		a.run(ctx, events)
	}()
	return func() error {
		stop()
		<-over
		return errors.Join(a.broken...)
	}
}

// run injects each event at its time until ctx ends. It returns after everything is repaired.
func (a *arena) run(ctx context.Context, events []event) {
	start := time.Now()
	var out sync.WaitGroup
	for _, e := range events {
		if e.after == 0 && !pause(ctx, time.Until(start.Add(e.at))) {
			break
		}
		out.Go(func() {
			if e.after > 0 && a.in.Sim.WaitRequests(ctx, e.after) != nil {
				return // the run is over
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
	victim := a.in.fleet.workers[int(e.which*float64(len(a.in.fleet.workers)))]
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
		for _, w := range a.in.fleet.workers {
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
		a.in.Redis.Kill()
		a.note(e, e.lasts, "killed, back after %s", e.lasts)
		pause(ctx, e.lasts)
		return a.in.Redis.Restart()
	case faultFreeze:
		if !a.server.TryLock() {
			return nil
		}
		defer a.server.Unlock()
		if err := a.in.Redis.Freeze(); err != nil {
			return err
		}
		a.note(e, e.lasts, "redis-server, for %s", e.lasts)
		pause(ctx, e.lasts)
		return a.in.Redis.Thaw()
	case faultArrears:
		if !a.account.TryLock() {
			return nil
		}
		defer a.account.Unlock()
		a.note(e, e.lasts, "for %s", e.lasts)
		err := a.in.setFaults(func(f *tiwtest.Faults) { f.Arrears.For = tiwtest.Duration(24 * time.Hour) })
		pause(ctx, e.lasts)
		return errors.Join(err, a.in.setFaults(func(f *tiwtest.Faults) { f.Arrears.For = 0 }))
	case faultForeign:
		if !a.quota.TryLock() {
			return nil
		}
		defer a.quota.Unlock()
		load := max(1, int(float64(a.in.stage.rate)*(0.25+0.5*e.which)))
		a.note(e, e.lasts, "%s a second, for %s", plural.Of(load, "request"), e.lasts)
		err := a.in.setFaults(func(f *tiwtest.Faults) { f.ForeignLoad = load })
		pause(ctx, e.lasts)
		return errors.Join(err, a.in.setFaults(func(f *tiwtest.Faults) { f.ForeignLoad = 0 }))
	case faultOddProbe:
		a.account.Lock() // it happens once, so it waits until others are over
		answer := []string{"InternalError", "nulls"}[int(2*e.which)]
		a.note(e, e.lasts, "arrears for %s, and unknown tasks are answered %s", e.lasts, answer)
		err := a.in.setFaults(func(f *tiwtest.Faults) {
			f.Arrears.For, f.UnknownTask = tiwtest.Duration(24*time.Hour), answer
		})
		pause(ctx, e.lasts)
		err = errors.Join(err, a.in.setFaults(func(f *tiwtest.Faults) { f.Arrears.For = 0 }))
		a.account.Unlock()
		pause(ctx, oddAfter*e.lasts)
		return errors.Join(err, a.in.setFaults(func(f *tiwtest.Faults) { f.UnknownTask = "" }))
	case faultOutage:
		a.note(e, e.lasts, "of the endpoint, for %s", e.lasts)
		a.in.Sim.Refuse()
		pause(ctx, e.lasts)
		return a.in.Sim.Listen(strings.TrimPrefix(a.in.Sim.URL, "http://"))
	case faultStorm:
		a.answers.Lock() // storm and no-create happen once each, so one waits until the other is over
		defer a.answers.Unlock()
		a.note(e, e.lasts, "for %s, half of the requests create a task", e.lasts)
		return a.answer(ctx, e.lasts, func(f *tiwtest.Faults) { f.InternalError, f.InternalErrorCreated = 0.5, 0.5 })
	case faultImages:
		a.note(e, e.lasts, "faults of image requests, for %s", e.lasts)
		err := a.in.setFaults(func(f *tiwtest.Faults) { f.Images = imageFaults(a.in.stage.short) })
		pause(ctx, e.lasts)
		return errors.Join(err, a.in.setFaults(func(f *tiwtest.Faults) { f.Images = nil }))
	case faultStoreAway, faultStoreFull:
		if !a.volume.TryLock() {
			return nil
		}
		defer a.volume.Unlock()
		begin, end := a.in.store.leave, a.in.store.comeBack
		if e.fault == faultStoreFull {
			begin, end = a.in.store.fill, a.in.store.drain
		}
		if err := begin(); err != nil {
			return err
		}
		a.note(e, e.lasts, "for %s", e.lasts)
		pause(ctx, e.lasts)
		return end()
	case faultNoCreate:
		a.answers.Lock()
		defer a.answers.Unlock()
		a.account.Lock()
		defer a.account.Unlock()
		a.note(e, e.lasts, "for %s", e.lasts)
		return a.answer(ctx, e.lasts, func(f *tiwtest.Faults) { f.Code, f.CodeName = 1, "UnauthorizedOperation" })
	}
	return nil
}

// answer makes the simulator answer every CreateSnapshotTask in one way for some time.
func (a *arena) answer(ctx context.Context, lasts time.Duration, in func(*tiwtest.Faults)) error {
	rates := func(from tiwtest.Faults) func(*tiwtest.Faults) {
		return func(f *tiwtest.Faults) {
			f.Cut, f.Silent, f.Code, f.CodeName = from.Cut, from.Silent, from.Code, from.CodeName
			f.InternalError, f.InternalErrorCreated = from.InternalError, from.InternalErrorCreated
		}
	}
	var all tiwtest.Faults
	in(&all)
	err := a.in.setFaults(rates(all))
	pause(ctx, lasts)
	return errors.Join(err, a.in.setFaults(rates(a.in.stage.requestFaults())))
}

func (a *arena) note(e event, better time.Duration, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	a.in.stage.log(e.fault, "%s", what)
	now := time.Now()
	a.mu.Lock()
	a.strikes = append(a.strikes, strike{e.fault, what, now, now.Add(better)})
	a.mu.Unlock()
}

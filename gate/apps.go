package gate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Step is the next step of a suspended application. Without Trial and Release its
// suspension has ended because no room waits for it.
type Step struct {
	App uint64
	// Trial is the id of a snapshot to send as a trial.
	Trial string
	// Release says that Breaker.Release is to be called.
	Release bool
}

// NextStep returns the next step of an application that is due, if there is one. All
// applications together have at most one trial a second.
func (g *Gate) NextStep(ctx context.Context) (step Step, ok bool, err error) {
	if !g.viewWithin(ctx, idleViewFor).apps {
		return Step{}, false, nil
	}
	due, err := g.run(ctx, dueAppScript, []string{g.ns.Suspended()}).StringSlice()
	if err != nil || len(due) == 0 {
		return Step{}, false, err
	}
	if step.App, err = strconv.ParseUint(due[0], 10, 64); err != nil {
		return Step{}, false, fmt.Errorf("%s: %w", g.ns.Suspended(), err)
	}
	lease := max(time.Minute/time.Second*g.second, g.lease()).Milliseconds()
	reply := []string{"more"}
	for reply[0] == "more" {
		ended, err := g.ended(ctx, step.App)
		if err != nil {
			return Step{}, false, err
		}
		if reply, err = g.run(ctx, appTrialScript,
			[]string{g.ns.Suspended(), g.ns.Suspension(step.App), g.ns.SuspendedRooms(step.App), g.ns.Open()},
			append([]any{step.App, lease}, ended...)...,
		).StringSlice(); err != nil {
			return Step{}, false, fmt.Errorf("suspended application %d: %w", step.App, err)
		}
	}
	switch reply[0] {
	case "trial":
		step.Trial = reply[1]
	case "release":
		step.Release = true
	case "none":
		return Step{}, false, nil
	}
	return step, true, nil
}

// ended returns the ids at the head of the list of an application that need no trial
// any more: those snapshots have ended, or were accepted late.
func (g *Gate) ended(ctx context.Context, app uint64) (ids []any, err error) {
	head, err := g.rdb.LRange(ctx, g.ns.SuspendedRooms(app), 0, releaseMany-1).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", g.ns.SuspendedRooms(app), err)
	}
	pipe := g.rdb.Pipeline()
	states := make([]*redis.StringCmd, len(head))
	for i, id := range head {
		states[i] = pipe.HGet(ctx, g.ns.Snapshot(id), "state")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read the rooms of suspended application %d: %w", app, err)
	}
	for i, id := range head {
		if s := states[i].Val(); s == "queued" || s == "unknown" {
			break
		}
		ids = append(ids, id)
	}
	return ids, nil
}

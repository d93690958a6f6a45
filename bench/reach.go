package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// measureReach measures what distance, a slow API and many processes take away: a
// Redis that is far from two workers, answers of two seconds to one worker, and
// what 64 workers ask Redis while there is nothing to do, and while they wait
// for permits.
func measureReach(ctx context.Context, r *recorder) error {
	for _, away := range []struct {
		time time.Duration
		pace float64
	}{{100 * time.Millisecond, 18}, {200 * time.Millisecond, 15}} {
		name := fmt.Sprintf("Redis %d ms away, 2 processes", away.time.Milliseconds())
		if err := reachAway(ctx, r, name, away.time, away.pace); err != nil {
			return err
		}
	}
	const slow = "answers take 2 s, 1 process"
	o := referee()
	o.Latency = 2 * time.Second
	c, err := r.steady(ctx, slow, 1, 0, o, 20*time.Second)
	if err != nil {
		return fmt.Errorf("%s: %w", slow, err)
	}
	r.add(slow+": of the cap", percent(c.pace, capacity), "%", atLeast(97))
	return reachMany(ctx, r, 64)
}

// reachAway drains a batch by two workers that are that far from Redis.
func reachAway(ctx context.Context, r *recorder, name string, away time.Duration, pace float64) (err error) {
	const n = 300
	s, err := r.newStage(name, referee())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newProxy(s.Redis.Addr, away)
	if err != nil {
		return err
	}
	defer p.close()
	s.Environ = append(s.Environ, "TIWSNAP_REDIS_URL=redis://"+p.addr+"/0")
	if err := s.startWorkers(ctx, 2); err != nil {
		return err
	}
	if err := settled(ctx); err != nil {
		return err
	}
	// A few first, so that Redis knows the scripts, as one that is in use does.
	const first = 5
	if err := s.batch(ctx, "first", firstRoom+n, first); err != nil {
		return err
	}
	if _, err := s.ended(ctx, "first"); err != nil {
		return err
	}
	start := time.Now()
	if err := s.batch(ctx, "far", firstRoom, n); err != nil {
		return err
	}
	if err := s.Sim.WaitCalls(ctx, first+n); err != nil {
		return err
	}
	times := timesOf(s.Sim.Calls(), anyCall)
	times = times[search(times, start):]
	last := times[len(times)-1]
	r.add(name+": requests a second, from the enqueue to the last", n/last.Sub(start).Seconds(), "/s", atLeast(pace))
	r.add(name+": enqueue to first request", times[0].Sub(start).Seconds(), "s", noted)
	r.add(name+": fullest second", float64(most(times, times[0], last.Add(1))), "", atMost(capacity))
	if _, err := s.ended(ctx, "far"); err != nil {
		return err
	}
	if all, twice := tasksOf(s.Sim); all != first+n || twice > 0 {
		r.broke("%s: %d of %d rooms have a task, %d of them more than one", name, all, first+n, twice)
	}
	return nil
}

// reachMany counts the round trips of so many workers.
func reachMany(ctx context.Context, r *recorder, procs int) (err error) {
	name := processes(procs)
	s, err := r.newStage(name, referee())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newProxy(s.Redis.Addr, 0)
	if err != nil {
		return err
	}
	defer p.close()
	s.Environ = append(s.Environ, "TIWSNAP_REDIS_URL=redis://"+p.addr+"/0")
	if err := s.startWorkers(ctx, procs); err != nil {
		return err
	}
	trips := func(watched time.Duration) (float64, error) {
		if err := settled(ctx); err != nil {
			return 0, err
		}
		before, from := p.trips.Load(), time.Now()
		if !pause(ctx, watched) {
			return 0, ctx.Err()
		}
		return float64(p.trips.Load()-before) / time.Since(from).Seconds() / float64(procs), nil
	}
	idle, err := trips(20 * time.Second)
	if err != nil {
		return err
	}
	r.add(name+", nothing to do: round trips of each a second", idle, "/s", atMost(5))
	if err := s.batch(ctx, "many", firstRoom, 2000); err != nil {
		return err
	}
	if err := s.Sim.WaitCalls(ctx, 3*capacity); err != nil {
		return err
	}
	waiting, err := trips(20 * time.Second)
	if err != nil {
		return err
	}
	r.add(name+" that wait for permits: round trips of each a second", waiting, "/s", atMost(5))
	return nil
}

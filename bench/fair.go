package main

import (
	"context"
	"errors"
	"math"
	"time"
)

// fair measures how long a small batch waits behind a large one, and how equally batches share the limit.
func fair(ctx context.Context, r *recorder) (err error) {
	const (
		large  = 1_000_000 // first rooms of the batches
		small  = 2_000_000
		middle = 3_000_000
		third  = 4_000_000
	)
	s, err := r.newStage("fair", simulator())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.startWorkers(ctx, 4); err != nil {
		return err
	}
	if err := s.batch(ctx, "large", large, 100_000); err != nil {
		return err
	}
	if err := s.Sim.WaitRequests(ctx, 3*capacity); err != nil {
		return err
	}
	begin := time.Now()
	if err := s.batch(ctx, "small", small, 30); err != nil {
		return err
	}
	arrived := arrivals(s.Sim.Requests(), small, 30)
	for len(arrived) < 30 {
		if !pause(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
		arrived = arrivals(s.Sim.Requests(), small, 30)
	}
	var last time.Time
	for _, t := range arrived {
		if t.After(last) {
			last = t
		}
	}
	r.add("30 rooms behind 100,000: to their last request", last.Sub(begin).Seconds(), "s", atMost(5))

	if err := s.batch(ctx, "middle", middle, 1000); err != nil {
		return err
	}
	if err := s.batch(ctx, "third", third, 300); err != nil {
		return err
	}
	const window = 30 * time.Second
	if !pause(ctx, 5*time.Second) {
		return ctx.Err()
	}
	from := time.Now()
	if !pause(ctx, window) {
		return ctx.Err()
	}
	calls := s.Sim.Requests()
	all := float64(count(timesOf(calls, anyRequest), from, from.Add(window)))
	worst := 0.0
	for _, first := range []uint64{large, middle, third} {
		n := float64(count(timesOf(calls, roomsFrom(first, 1_000_000)), from, from.Add(window)))
		worst = max(worst, math.Abs(percent(3*n, all)-100))
	}
	r.add("batches of 100,000, 1,000 and 300: largest deviation from an equal share", worst, "%", atMost(10))
	return nil
}

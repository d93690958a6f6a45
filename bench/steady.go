package main

import (
	"context"
	"errors"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// cost is what snapshots take in a steady drain: each from its turn in the
// backlog to its result, and the workers' looking around between.
type cost struct {
	pace           float64 // requests a second
	trips          float64 // round trips to Redis a snapshot
	redis, workers float64 // processor time a snapshot, ms
}

// steady drains a batch by so many processes, which are that far from Redis (a
// round trip of the network), and watches for a while in which results come in
// as fast as requests go out.
func (r *recorder) steady(ctx context.Context, name string, procs int, away time.Duration, o tiwtest.Options,
	watched time.Duration) (c cost, err error) {
	s, err := r.newStage(name, o)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newProxy(s.Redis.Addr, away)
	if err != nil {
		return c, err
	}
	defer p.close()
	s.Environ = append(s.Environ, "TIWSNAP_REDIS_URL=redis://"+p.addr+"/0")
	if err := s.startWorkers(ctx, procs); err != nil {
		return c, err
	}
	if err := s.batch(ctx, "steady", firstRoom, 2000); err != nil {
		return c, err
	}
	if err := s.Sim.WaitCalls(ctx, 6*capacity); err != nil {
		return c, err
	}
	look := func() (c cost, err error) {
		c.trips = float64(p.trips.Load())
		redis, err := redisCPU(ctx, s.DB)
		if err != nil {
			return c, err
		}
		workers, err := s.workersCPU()
		c.redis, c.workers = milliseconds(redis), milliseconds(workers)
		return c, err
	}
	before, err := look()
	if err != nil {
		return c, err
	}
	from := time.Now()
	if !pause(ctx, watched) {
		return c, ctx.Err()
	}
	to := time.Now()
	after, err := look()
	if err != nil {
		return c, err
	}
	c.pace = pace(timesOf(s.Sim.Calls(), anyCall), from, to)
	n := c.pace * to.Sub(from).Seconds()
	c.trips = (after.trips - before.trips) / n
	c.redis, c.workers = (after.redis-before.redis)/n, (after.workers-before.workers)/n
	return c, nil
}

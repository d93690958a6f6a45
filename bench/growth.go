package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// growth measures how the pace and cost of a snapshot change with the number of processes, the latency of the API and
// of Redis, and the number of queued rooms. It also measures the cost of reading with few and with many batches.
func growth(ctx context.Context, r *recorder) error {
	for _, run := range []struct {
		name            string
		procs           int
		answer, latency time.Duration
		cap, trips      target
	}{
		{"1 process", 1, 80 * time.Millisecond, 0, noTarget, atMost(12)},
		{"4 processes", 4, 80 * time.Millisecond, 0, noTarget, atMost(12)},
		{"16 processes", 16, 80 * time.Millisecond, 0, noTarget, noTarget},
		{"answers take 20 ms", 1, 20 * time.Millisecond, 0, noTarget, noTarget},
		{"answers take 500 ms", 1, 500 * time.Millisecond, 0, noTarget, noTarget},
		{"answers take 2 s", 1, 2 * time.Second, 0, atLeast(97), noTarget},
		{"Redis 1 ms away", 1, 80 * time.Millisecond, time.Millisecond, noTarget, noTarget},
		{"Redis 5 ms away", 1, 80 * time.Millisecond, 5 * time.Millisecond, noTarget, noTarget},
		{"Redis 20 ms away", 1, 80 * time.Millisecond, 20 * time.Millisecond, noTarget, noTarget},
	} {
		o := simulator()
		o.Latency = run.answer
		c, err := r.steady(ctx, run.name, run.procs, run.latency, o, 10*time.Second)
		if err != nil {
			return fmt.Errorf("%s: %w", run.name, err)
		}
		r.add(run.name+": of the cap", percent(c.pace, capacity), "%", run.cap)
		r.add(run.name+": round trips a snapshot", c.trips, "", run.trips)
		r.add(run.name+": the workers' processor time a snapshot", c.workers, "ms", noTarget)
		r.add(run.name+": Redis' processor time a snapshot", c.redis, "ms", noTarget)
	}
	if err := growthAway(ctx, r, 100*time.Millisecond, 18); err != nil {
		return err
	}
	if err := growthAway(ctx, r, 200*time.Millisecond, 15); err != nil {
		return err
	}
	if err := growthTrips(ctx, r, 64); err != nil {
		return err
	}
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		if err := growthWaiting(ctx, r, n); err != nil {
			return err
		}
	}
	if err := growthBatches(ctx, r, 10, 50, 10); err != nil {
		return err
	}
	return growthBatches(ctx, r, 10_000, 50_000, 100_000)
}

// growthAway drains a batch with two workers and that latency to Redis.
func growthAway(ctx context.Context, r *recorder, latency time.Duration, pace float64) (err error) {
	const n = 300
	name := fmt.Sprintf("Redis %d ms away, 2 processes", latency.Milliseconds())
	s, err := r.newStage(name, simulator())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newProxy(s.Redis.Addr, latency)
	if err != nil {
		return err
	}
	defer p.close()
	defer func() { err = errors.Join(err, s.stopWorkers(len(s.workers))) }() // before the proxy closes
	s.Environ = append(s.Environ, "TIWSNAP_REDIS_URL=redis://"+p.addr+"/0")
	if err := s.startWorkers(ctx, 2); err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	// A few rooms first, so that Redis has the scripts, as a Redis in use does.
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
	if err := s.Sim.WaitRequests(ctx, first+n); err != nil {
		return err
	}
	times := timesOf(s.Sim.Requests(), anyRequest)
	times = times[search(times, start):]
	last := times[len(times)-1]
	r.add(name+": requests a second, from the enqueue to the last", n/last.Sub(start).Seconds(), "/s", atLeast(pace))
	r.add(name+": enqueue to first request", times[0].Sub(start).Seconds(), "s", noTarget)
	create := s.Sim.State().Actions[tiwtest.ActionCreate]
	r.add(name+": peak second", float64(create.Received.SlidingSecond.Requests), "", atMost(capacity))
	if _, err := s.ended(ctx, "far"); err != nil {
		return err
	}
	if all, twice := tasksOf(s.Sim); all != first+n || twice > 0 {
		r.broken("%s: %d of %d rooms have a task, %d of them more than one", name, all, first+n, twice)
	}
	return nil
}

// growthTrips counts the round trips to Redis of procs workers while they are idle and while they wait for permits.
func growthTrips(ctx context.Context, r *recorder, procs int) (err error) {
	name := processes(procs)
	s, err := r.newStage(name, simulator())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newProxy(s.Redis.Addr, 0)
	if err != nil {
		return err
	}
	defer p.close()
	defer func() { err = errors.Join(err, s.stopWorkers(len(s.workers))) }() // before the proxy closes
	s.Environ = append(s.Environ, "TIWSNAP_REDIS_URL=redis://"+p.addr+"/0")
	if err := s.startWorkers(ctx, procs); err != nil {
		return err
	}
	trips := func(watched time.Duration) (float64, error) {
		if err := settle(ctx); err != nil {
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
	r.add(name+", idle: round trips of each a second", idle, "/s", atMost(5))
	if err := s.batch(ctx, "many", firstRoom, 2000); err != nil {
		return err
	}
	if err := s.Sim.WaitRequests(ctx, 3*capacity); err != nil {
		return err
	}
	waiting, err := trips(20 * time.Second)
	if err != nil {
		return err
	}
	r.add(name+" that wait for permits: round trips of each a second", waiting, "/s", atMost(5))
	return nil
}

// growthWaiting measures two operations while many rooms wait: enqueueing a single room, and taking and reading the
// next room of the batch.
func growthWaiting(ctx context.Context, r *recorder, n int) (err error) {
	const samples = 500
	name := grouped(fmt.Sprint(n)) + " rooms wait"
	s, err := r.newRedis(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.batch(ctx, "waiting", firstRoom, n); err != nil {
		return err
	}
	b := backlog.New(s.DB, keys.Default)
	var enqueued, fed []float64
	for i := range samples {
		begin, err := s.room(ctx, uint64(1+i))
		if err != nil {
			return err
		}
		enqueued = append(enqueued, 1000*milliseconds(time.Since(begin)))

		begin = time.Now()
		ids, _, err := b.Take(ctx, "bench", 1+i)
		if err == nil && len(ids) != 1 {
			err = fmt.Errorf("took %d rooms, not 1", len(ids))
		}
		if err != nil {
			return err
		}
		batch, row, _ := tasks.SplitRowID(ids[0])
		if _, err := b.Room(ctx, batch, row); err != nil {
			return err
		}
		fed = append(fed, 1000*milliseconds(time.Since(begin)))
	}
	r.add(name+": enqueue of a single room, p50", percentile(enqueued, 50), "µs", noTarget)
	r.add(name+": taking and reading the next one, p50", percentile(fed, 50), "µs", noTarget)
	return nil
}

// cost is the cost of snapshots in a steady drain, from backlog to result, with all polling of the workers.
type cost struct {
	pace           float64 // requests a second
	trips          float64 // round trips to Redis a snapshot
	redis, workers float64 // processor time a snapshot, ms
}

// steady drains a batch with procs workers and that latency to Redis. It measures for a while in which results come in
// as fast as requests are sent.
func (r *recorder) steady(ctx context.Context, name string, procs int, latency time.Duration, o tiwtest.Options,
	watched time.Duration) (c cost, err error) {
	s, err := r.newStage(name, o)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newProxy(s.Redis.Addr, latency)
	if err != nil {
		return c, err
	}
	defer p.close()
	defer func() { err = errors.Join(err, s.stopWorkers(len(s.workers))) }() // before the proxy closes
	s.Environ = append(s.Environ, "TIWSNAP_REDIS_URL=redis://"+p.addr+"/0")
	if err := s.startWorkers(ctx, procs); err != nil {
		return c, err
	}
	if err := s.batch(ctx, "steady", firstRoom, 2000); err != nil {
		return c, err
	}
	if err := s.Sim.WaitRequests(ctx, 6*capacity); err != nil {
		return c, err
	}
	sample := func() (c cost, err error) {
		c.trips = float64(p.trips.Load())
		redis, err := redisCPU(ctx, s.DB)
		if err != nil {
			return c, err
		}
		workers, err := s.workersCPU()
		c.redis, c.workers = milliseconds(redis), milliseconds(workers)
		return c, err
	}
	before, err := sample()
	if err != nil {
		return c, err
	}
	from := time.Now()
	if !pause(ctx, watched) {
		return c, ctx.Err()
	}
	to := time.Now()
	after, err := sample()
	if err != nil {
		return c, err
	}
	c.pace = pace(timesOf(s.Sim.Requests(), anyRequest), from, to)
	n := c.pace * to.Sub(from).Seconds()
	c.trips = (after.trips - before.trips) / n
	c.redis, c.workers = (after.redis-before.redis)/n, (after.workers-before.workers)/n
	return c, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
)

// growth measures how the cost of a snapshot grows with the number of
// processes, with how long the API takes to answer, with how far away Redis
// is, and with how many rooms wait, and what a look costs with many batches. The
// other rows have one of each.
func growth(ctx context.Context, r *recorder) error {
	for _, run := range []struct {
		name         string
		procs        int
		answer, away time.Duration
		trips        reach
	}{
		{"1 process", 1, 80 * time.Millisecond, 0, atMost(12)},
		{"4 processes", 4, 80 * time.Millisecond, 0, atMost(12)},
		{"16 processes", 16, 80 * time.Millisecond, 0, noted},
		{"answers take 20 ms", 1, 20 * time.Millisecond, 0, noted},
		{"answers take 500 ms", 1, 500 * time.Millisecond, 0, noted},
		{"answers take 2 s", 1, 2 * time.Second, 0, noted},
		{"Redis 1 ms away", 1, 80 * time.Millisecond, time.Millisecond, noted},
		{"Redis 5 ms away", 1, 80 * time.Millisecond, 5 * time.Millisecond, noted},
		{"Redis 20 ms away", 1, 80 * time.Millisecond, 20 * time.Millisecond, noted},
	} {
		o := referee()
		o.Latency = run.answer
		c, err := r.steady(ctx, run.name, run.procs, run.away, o, 10*time.Second)
		if err != nil {
			return fmt.Errorf("%s: %w", run.name, err)
		}
		r.add(run.name+": of the cap", percent(c.pace, capacity), "%", noted)
		r.add(run.name+": round trips a snapshot", c.trips, "", run.trips)
		r.add(run.name+": the workers' processor time a snapshot", c.workers, "ms", noted)
		r.add(run.name+": Redis' processor time a snapshot", c.redis, "ms", noted)
	}
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		if err := growthWaiting(ctx, r, n); err != nil {
			return err
		}
	}
	if err := growthLooks(ctx, r, 10, 50, 10); err != nil {
		return err
	}
	return growthLooks(ctx, r, 10_000, 50_000, 100_000)
}

// growthWaiting measures what Redis and a client take for one room while many
// wait: to enqueue it, and to take the next one of the batch and read it.
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
	r.add(name+": enqueue of a single room, p50", percentile(enqueued, 50), "µs", noted)
	r.add(name+": the next one taken and read, p50", percentile(fed, 50), "µs", noted)
	return nil
}

package main

import (
	"context"
	"errors"
	"time"
)

// idle measures how soon a worker with nothing to do begins, and what its
// waiting costs.
func idle(ctx context.Context, r *recorder) (err error) {
	s, err := r.newStage("idle", referee())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.startWorkers(ctx, 1); err != nil {
		return err
	}
	if err := settled(ctx); err != nil {
		return err
	}
	took, err := s.single(ctx, 200, 200*time.Millisecond, 800*time.Millisecond)
	if err != nil {
		return err
	}
	r.add("enqueue to request, p50", percentile(took, 50), "ms", atMost(10))
	r.add("enqueue to request, p99", percentile(took, 99), "ms", atMost(30))
	// Until then the last results have come in.
	if !pause(ctx, 5*time.Second) {
		return ctx.Err()
	}
	const watched = 20 * time.Second
	redis, err := redisCPU(ctx, s.DB)
	if err != nil {
		return err
	}
	own, err := s.workersCPU()
	if err != nil {
		return err
	}
	if !pause(ctx, watched) {
		return ctx.Err()
	}
	redisAfter, err := redisCPU(ctx, s.DB)
	if err != nil {
		return err
	}
	ownAfter, err := s.workersCPU()
	if err != nil {
		return err
	}
	r.add("nothing to do: Redis, of a core", percent((redisAfter-redis).Seconds(), watched.Seconds()), "%", atMost(1))
	r.add("nothing to do: the worker, of a core", percent((ownAfter-own).Seconds(), watched.Seconds()), "%", noted)
	return nil
}

package main

import (
	"context"
	"errors"
	"time"
)

// idle measures the latency of an idle worker, and the processor time that it takes.
func idle(ctx context.Context, r *recorder) (err error) {
	s, err := r.newStage("idle", simulator())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.startWorkers(ctx, 1); err != nil {
		return err
	}
	if err := settle(ctx); err != nil {
		return err
	}
	took, err := s.single(ctx, 200, 200*time.Millisecond, 800*time.Millisecond)
	if err != nil {
		return err
	}
	r.add("enqueue to request, p50", percentile(took, 50), "ms", atMost(10))
	r.add("enqueue to request, p99", percentile(took, 99), "ms", atMost(30))
	// The last results come in meanwhile.
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
	r.add("idle: Redis, of a core", percent((redisAfter-redis).Seconds(), watched.Seconds()), "%", atMost(1))
	r.add("idle: the worker, of a core", percent((ownAfter-own).Seconds(), watched.Seconds()), "%", noTarget)
	return nil
}

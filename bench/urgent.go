package main

import (
	"context"
	"errors"
	"time"
)

// urgent measures how long a single room waits while a large batch is being sent.
func urgent(ctx context.Context, r *recorder) error {
	for _, procs := range []int{1, 8} {
		took, err := urgentBy(ctx, r, procs)
		if err != nil {
			return err
		}
		name := processes(procs)
		r.add(name+": enqueue to request, p50", percentile(took, 50), "ms", atMost(200))
		r.add(name+": enqueue to request, p99", percentile(took, 99), "ms", atMost(1000))
	}
	return nil
}

func urgentBy(ctx context.Context, r *recorder, procs int) (took []float64, err error) {
	s, err := r.newStage(processes(procs), simulator())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.startWorkers(ctx, procs); err != nil {
		return nil, err
	}
	if err := s.batch(ctx, "large", firstRoom, 10_000); err != nil {
		return nil, err
	}
	if err := s.Sim.WaitRequests(ctx, 3*capacity); err != nil {
		return nil, err
	}
	return s.single(ctx, 50, 200*time.Millisecond, time.Second)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// urgent measures how long a single room waits while a large batch goes out.
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
	s, err := r.newStage(processes(procs), referee())
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

// single enqueues n single rooms with random times between shortest and longest
// between them, and returns how long each took from the start of its enqueue
// to its arrival at the referee, in ms.
func (s *stage) single(ctx context.Context, n int, shortest, longest time.Duration) (took []float64, err error) {
	begun := make(map[uint64]time.Time)
	for i := range uint64(n) {
		if !pause(ctx, shortest+rand.N(longest-shortest)) {
			return nil, ctx.Err()
		}
		if begun[1+i], err = s.room(ctx, 1+i); err != nil {
			return nil, err
		}
	}
	return s.took(ctx, begun)
}

// took waits until all rooms have arrived at the referee, at most ten seconds,
// and returns how long after they were begun, in ms. The rooms are numbered
// from 1 on.
func (s *stage) took(ctx context.Context, begun map[uint64]time.Time) (took []float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		arrived := arrivals(s.Sim.Requests(), 1, uint64(len(begun)))
		if len(arrived) == len(begun) {
			for room, begin := range begun {
				took = append(took, milliseconds(arrived[room].Sub(begin)))
			}
			return took, nil
		}
		if !pause(ctx, 50*time.Millisecond) {
			return nil, fmt.Errorf("%d of %d single rooms did not reach the referee within 10 s",
				len(begun)-len(arrived), len(begun))
		}
	}
}

// arrivals is when each of n rooms arrived for the first time.
func arrivals(calls []tiwtest.Request, first, n uint64) map[uint64]time.Time {
	ours := roomsFrom(first, n)
	all := make(map[uint64]time.Time)
	for _, c := range calls {
		if _, ok := all[c.RoomId]; !ok && ours(c) {
			all[c.RoomId] = time.Unix(0, c.AtNs)
		}
	}
	return all
}

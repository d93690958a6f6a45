package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// single enqueues n single rooms with random pauses between shortest and longest. It returns how long each took from
// the start of its enqueue to its request at the simulator, in ms.
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

// took waits at most ten seconds for the requests of all rooms, which are numbered from 1. It returns how long after
// begun each arrived at the simulator, in ms.
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
			return nil, fmt.Errorf("%d of %d single rooms did not reach the simulator within 10 s",
				len(begun)-len(arrived), len(begun))
		}
	}
}

// arrivals returns the time of the first request of each of n rooms.
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

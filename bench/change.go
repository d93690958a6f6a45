package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tiwsnap/tiw/tiwtest"
)

// phase is a while in which the cap was the same, from when the change that
// began it was made.
type phase struct {
	name     string
	from, to time.Time
	cap      int
}

// change measures whether the cap holds, and is used, while the limit is
// changed and while workers come and go.
func change(ctx context.Context, r *recorder) error {
	if err := changeWorkers(ctx, r); err != nil || r.Short {
		return err
	}
	return changeLimit(ctx, r)
}

func changeLimit(ctx context.Context, r *recorder) error {
	const lasts = 10 * time.Second
	return r.phases(ctx, "limit", 4, 3000, func(s *stage) (all []phase, err error) {
		for i, limit := range []int{20, 10, 20} {
			if i > 0 {
				if _, err := s.Command(ctx, "limit", fmt.Sprint(limit)); err != nil {
					return nil, err
				}
			}
			p := phase{name: fmt.Sprint("limit ", limit), from: time.Now(), cap: limit}
			if i == 2 {
				p.name += " again"
			}
			if !pause(ctx, lasts) {
				return nil, ctx.Err()
			}
			p.to = time.Now()
			all = append(all, p)
		}
		return all, nil
	})
}

func changeWorkers(ctx context.Context, r *recorder) error {
	counts, lasts := []int{1, 8, 2, 8}, 8*time.Second
	if r.Short {
		counts, lasts = []int{1, 3, 1}, 2*time.Second
	}
	return r.phases(ctx, "workers", counts[0], 3000, func(s *stage) (all []phase, err error) {
		for i, n := range counts {
			from := time.Now()
			if more := n - len(s.workers); more > 0 {
				err = s.startWorkers(ctx, more)
			} else {
				err = s.stopWorkers(-more)
			}
			if err != nil {
				return nil, err
			}
			p := phase{name: processes(n), from: from, cap: capacity}
			if i > 1 {
				p.name += fmt.Sprint(", after ", counts[i-1])
			}
			if !pause(ctx, lasts) {
				return nil, ctx.Err()
			}
			p.to = time.Now()
			all = append(all, p)
		}
		return all, nil
	})
}

// phases runs changes during a batch and takes down, for each phase, the
// fullest second, and the emptiest one after the first.
func (r *recorder) phases(ctx context.Context, name string, procs, rooms int,
	changes func(*stage) ([]phase, error)) (err error) {
	s, err := r.newStage(name, referee())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.startWorkers(ctx, procs); err != nil {
		return err
	}
	start := time.Now()
	stalls := watchStalls(ctx, start)
	if err := s.batch(ctx, name, firstRoom, rooms); err != nil {
		return err
	}
	if err := s.Sim.WaitCalls(ctx, 2*capacity); err != nil {
		return err
	}
	all, err := changes(s)
	held := stalls()
	if err != nil {
		return err
	}
	calls := s.Sim.Calls()
	times := timesOf(calls, anyCall)
	for _, p := range all {
		calls := calls[search(times, p.from):search(times, p.to)]
		r.add(p.name+": fullest second", float64(most(times, p.from, p.to)), "", atMost(float64(p.cap)))
		r.add(p.name+": emptiest second after the first, of the cap",
			percent(float64(leastCounted(times, p.from.Add(time.Second), p.to)), float64(p.cap)), "%", atLeast(90))
		r.add(p.name+": the same, wherever the second begins",
			percent(float64(least(times, p.from.Add(time.Second), p.to)), float64(p.cap)), "%", noted)
		if n := tiwtest.Over(calls, p.cap, start, held); n > 0 {
			r.broke("%s: %d times more than %d requests in a second", p.name, n, p.cap)
		}
	}
	if n := tiwtest.Over(calls, capacity, start, held); n > 0 {
		r.broke("%s: %d times more than %d requests in a second", name, n, capacity)
	}
	if _, twice := tasksOf(s.Sim); twice > 0 {
		r.broke("%s: %d rooms made twice", name, twice)
	}
	return nil
}

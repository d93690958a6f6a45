package bench

import (
	"context"
	"errors"
	"time"
)

// trips measures what Redis has to do for one snapshot from its turn in the
// backlog to its result, and the workers' looking around between.
func trips(ctx context.Context, r *recorder) error {
	for _, procs := range []int{1, 4} {
		if err := tripsBy(ctx, r, procs); err != nil {
			return err
		}
	}
	return nil
}

func tripsBy(ctx context.Context, r *recorder, procs int) (err error) {
	const watched = 20 * time.Second
	name := processes(procs)
	s, err := r.newStage(name, referee())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newProxy(s.redis.Addr)
	if err != nil {
		return err
	}
	defer p.close()
	s.environ = append(s.environ, "TIWSNAP_REDIS_URL=redis://"+p.addr+"/0")
	if err := s.startWorkers(ctx, procs); err != nil {
		return err
	}
	if err := s.batch(ctx, "steady", firstRoom, 2000); err != nil {
		return err
	}
	// By then results come in as fast as requests go out.
	if err := s.sim.WaitCalls(ctx, 6*capacity); err != nil {
		return err
	}
	inside, err := commands(ctx, s.rdb)
	if err != nil {
		return err
	}
	cpu, err := redisCPU(ctx, s.rdb)
	if err != nil {
		return err
	}
	sent, rounds, from := p.commands.Load(), p.trips.Load(), time.Now()
	if !pause(ctx, watched) {
		return ctx.Err()
	}
	to := time.Now()
	sent, rounds = p.commands.Load()-sent, p.trips.Load()-rounds
	insideAfter, err := commands(ctx, s.rdb)
	if err != nil {
		return err
	}
	cpuAfter, err := redisCPU(ctx, s.rdb)
	if err != nil {
		return err
	}
	n := float64(count(timesOf(s.sim.Calls(), anyCall), from, to))
	r.add(name+": round trips a snapshot", float64(rounds)/n, "", atMost(12))
	r.add(name+": commands a snapshot, as clients send them", float64(sent)/n, "", noted)
	r.add(name+": commands a snapshot, those in scripts too", (insideAfter-inside)/n, "", noted)
	r.add(name+": Redis' processor time a snapshot", milliseconds(cpuAfter-cpu)/n, "ms", noted)
	return nil
}

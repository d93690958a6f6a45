package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// growth measures how pace and cost of a snapshot change with the number of
// processes, the latency of the API and of Redis and the number of queued rooms,
// and the cost of reading with the number of batches.
func growth(ctx context.Context, r *recorder) error {
	for _, run := range []struct {
		name         string
		procs        int
		answer, away time.Duration
		cap, trips   reach
	}{
		{"1 process", 1, 80 * time.Millisecond, 0, noted, atMost(12)},
		{"4 processes", 4, 80 * time.Millisecond, 0, noted, atMost(12)},
		{"16 processes", 16, 80 * time.Millisecond, 0, noted, noted},
		{"answers take 20 ms", 1, 20 * time.Millisecond, 0, noted, noted},
		{"answers take 500 ms", 1, 500 * time.Millisecond, 0, noted, noted},
		{"answers take 2 s", 1, 2 * time.Second, 0, atLeast(97), noted},
		{"Redis 1 ms away", 1, 80 * time.Millisecond, time.Millisecond, noted, noted},
		{"Redis 5 ms away", 1, 80 * time.Millisecond, 5 * time.Millisecond, noted, noted},
		{"Redis 20 ms away", 1, 80 * time.Millisecond, 20 * time.Millisecond, noted, noted},
	} {
		o := referee()
		o.Latency = run.answer
		c, err := r.steady(ctx, run.name, run.procs, run.away, o, 10*time.Second)
		if err != nil {
			return fmt.Errorf("%s: %w", run.name, err)
		}
		r.add(run.name+": of the cap", percent(c.pace, capacity), "%", run.cap)
		r.add(run.name+": round trips a snapshot", c.trips, "", run.trips)
		r.add(run.name+": the workers' processor time a snapshot", c.workers, "ms", noted)
		r.add(run.name+": Redis' processor time a snapshot", c.redis, "ms", noted)
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

// growthAway drains a batch by two workers that are that far from Redis.
func growthAway(ctx context.Context, r *recorder, away time.Duration, pace float64) (err error) {
	const n = 300
	name := fmt.Sprintf("Redis %d ms away, 2 processes", away.Milliseconds())
	s, err := r.newStage(name, referee())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newProxy(s.Redis.Addr, away)
	if err != nil {
		return err
	}
	defer p.close()
	defer func() { err = errors.Join(err, s.stopWorkers(len(s.workers))) }() // while they have their Redis
	s.Environ = append(s.Environ, "TIWSNAP_REDIS_URL=redis://"+p.addr+"/0")
	if err := s.startWorkers(ctx, 2); err != nil {
		return err
	}
	if err := settled(ctx); err != nil {
		return err
	}
	// A few first, so that Redis knows the scripts, as one that is in use does.
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
	times := timesOf(s.Sim.Requests(), anyCall)
	times = times[search(times, start):]
	last := times[len(times)-1]
	r.add(name+": requests a second, from the enqueue to the last", n/last.Sub(start).Seconds(), "/s", atLeast(pace))
	r.add(name+": enqueue to first request", times[0].Sub(start).Seconds(), "s", noted)
	create := s.Sim.State().Actions[tiwtest.ActionCreate]
	r.add(name+": peak second", float64(create.Received.SlidingSecond.Requests), "", atMost(capacity))
	if _, err := s.ended(ctx, "far"); err != nil {
		return err
	}
	if all, twice := tasksOf(s.Sim); all != first+n || twice > 0 {
		r.broke("%s: %d of %d rooms have a task, %d of them more than one", name, all, first+n, twice)
	}
	return nil
}

// growthTrips counts the round trips to Redis of so many workers while there is
// nothing to do, and while they wait for permits.
func growthTrips(ctx context.Context, r *recorder, procs int) (err error) {
	name := processes(procs)
	s, err := r.newStage(name, referee())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newProxy(s.Redis.Addr, 0)
	if err != nil {
		return err
	}
	defer p.close()
	defer func() { err = errors.Join(err, s.stopWorkers(len(s.workers))) }() // while they have their Redis
	defer func() { err = errors.Join(err, s.stopWorkers(len(s.workers))) }() // while they have their Redis
	s.Environ = append(s.Environ, "TIWSNAP_REDIS_URL=redis://"+p.addr+"/0")
	if err := s.startWorkers(ctx, procs); err != nil {
		return err
	}
	trips := func(watched time.Duration) (float64, error) {
		if err := settled(ctx); err != nil {
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
	r.add(name+", nothing to do: round trips of each a second", idle, "/s", atMost(5))
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
	defer func() { err = errors.Join(err, s.stopWorkers(len(s.workers))) }() // while they have their Redis
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
	c.pace = pace(timesOf(s.Sim.Requests(), anyCall), from, to)
	n := c.pace * to.Sub(from).Seconds()
	c.trips = (after.trips - before.trips) / n
	c.redis, c.workers = (after.redis-before.redis)/n, (after.workers-before.workers)/n
	return c, nil
}

// growthBatches measures what a look costs with few and with many batches: the
// feeder's, the first page, the list of batches, the metrics, and the command status.
func growthBatches(ctx context.Context, r *recorder, open, canceled, ended int) (err error) {
	name := fmt.Sprintf("%s open batches, %s single cancels, %s ended batches",
		grouped(fmt.Sprint(open)), grouped(fmt.Sprint(canceled)), grouped(fmt.Sprint(ended)))
	s, err := r.newRedis(fmt.Sprint(open, "-open"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.fill(ctx, open, canceled, ended); err != nil {
		return err
	}
	p95 := func(what string, samples int, between time.Duration, look func() error) error {
		var took []float64
		for range samples {
			begin := time.Now()
			if err := look(); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			took = append(took, milliseconds(time.Since(begin)))
			if !pause(ctx, between) {
				return ctx.Err()
			}
		}
		r.add(name+": "+what+", p95", percentile(took, 95), "ms", noted)
		return nil
	}

	b := backlog.New(s.DB, keys.Default)
	depth := 0
	if err := p95("the feeder takes a room", 200, 0, func() error {
		depth++
		ids, _, err := b.Take(ctx, "bench", depth)
		if err == nil && len(ids) != 1 {
			err = fmt.Errorf("took %d rooms, not 1", len(ids))
		}
		return err
	}); err != nil {
		return err
	}
	if err := p95("how many rooms wait", 200, 0, func() error {
		_, _, err := b.Waiting(ctx)
		return err
	}); err != nil {
		return err
	}
	l, row := ledger.New(s.DB, ledger.Options{}), canceled
	if err := p95("a single cancel", 20, 0, func() error {
		row++
		_, err := l.Cancel(ctx, tasks.RowID("canceled", row), tasks.Room{SdkAppId: sdkAppID, RoomId: uint64(row)})
		return err
	}); err != nil {
		return err
	}
	if err := p95("tiwsnap status --limit 50", 20, 0, func() error {
		cmd := exec.CommandContext(ctx, s.Binary, "status", "--limit", "50")
		cmd.Env = s.Environ
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		return err
	}); err != nil {
		return err
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := listener.Addr().String()
	listener.Close()
	web, err := startProcess(filepath.Join(s.Dir, "web.log"), "serving HTTP",
		append(s.Environ, "TIWSNAP_HTTP_ADDR="+addr), s.Binary, "web")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopAll([]*process{web})) }()
	if err := web.await(ctx); err != nil {
		return err
	}
	for _, page := range []struct {
		path  string
		fresh time.Duration // how long it shows what it has read
	}{{"/", time.Second}, {"/batches", 0}, {"/batches?state=open", 0}, {"/metrics", 2100 * time.Millisecond}} {
		if err := p95("GET "+page.path, 10, page.fresh,
			func() error { return get(ctx, "http://"+addr+page.path) }); err != nil {
			return err
		}
	}
	return nil
}

func get(ctx context.Context, url string) error {
	q, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	q.Header.Set("Accept", "text/html")
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// fill makes open batches of 30 rooms, one of which rows are canceled one by one,
// and what is left of ended ones.
func (s *stage) fill(ctx context.Context, open, canceled, ended int) error {
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range open {
		g.Go(func() error { return s.batch(all, fmt.Sprintf("open-%d", i), uint64(firstRoom+30*i), 30) })
	}
	g.Go(func() error { return s.batch(all, "canceled", 1, canceled+100) })
	if err := g.Wait(); err != nil {
		return err
	}
	l := ledger.New(s.DB, ledger.Options{})
	g, all = errgroup.WithContext(ctx)
	g.SetLimit(16)
	for row := 1; row <= canceled; row++ {
		g.Go(func() error {
			_, err := l.Cancel(all, tasks.RowID("canceled", row), tasks.Room{SdkAppId: sdkAppID, RoomId: uint64(row)})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	for first := 0; first < ended; first += 1000 {
		pipe := s.DB.Pipeline()
		for i := first; i < min(first+1000, ended); i++ {
			id, at := fmt.Sprintf("ended-%d", i), now-int64(ended-i)*6000
			pipe.HSet(ctx, keys.Default.Batch(id), "total", 30, "fed", 30, "succeeded", 29, "failed", 1, "images", 58,
				"labels", "[]",
				"created_at", at, "ended_at", at+5000)
			pipe.ZAdd(ctx, keys.Default.Batches(), redis.Z{Score: float64(at), Member: id})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

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
)

// growthBatches measures the cost of reading with that many batches: by the feeder, the first page, the list of
// batches, the metrics and the command status.
func growthBatches(ctx context.Context, r *recorder, open, canceled, ended int) (err error) {
	name := fmt.Sprintf("%s open batches, %s single cancels, %s ended batches",
		grouped(fmt.Sprint(open)), grouped(fmt.Sprint(canceled)), grouped(fmt.Sprint(ended)))
	s, err := r.newRedis(fmt.Sprint(open, "-open"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.makeBatches(ctx, open, canceled, ended); err != nil {
		return err
	}
	p95 := func(what string, samples int, between time.Duration, read func() error) error {
		var took []float64
		for range samples {
			begin := time.Now()
			if err := read(); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			took = append(took, milliseconds(time.Since(begin)))
			if !pause(ctx, between) {
				return ctx.Err()
			}
		}
		r.add(name+": "+what+", p95", percentile(took, 95), "ms", noTarget)
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
		path      string
		cachedFor time.Duration // how long the page shows the same data
	}{{"/", time.Second}, {"/batches", 0}, {"/batches?state=open", 0}, {"/metrics", 2100 * time.Millisecond}} {
		if err := p95("GET "+page.path, 10, page.cachedFor,
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

// makeBatches makes open batches of 30 rooms, one batch whose rooms are canceled one by one, and records of ended
// batches.
func (s *stage) makeBatches(ctx context.Context, open, canceled, ended int) error {
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

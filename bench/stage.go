package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/testbed"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

const (
	sdkAppID  = 1400123480
	capacity  = 20 // the quota of the account, requests a second
	firstRoom = 100_000
)

// stage is a testbed with workers.
type stage struct {
	*testbed.Testbed
	queue   *enqueue.Client
	workers []*process
	started int // workers started so far, for the names of their logs
}

// newStage starts Redis and a simulator. Close it.
func (r *recorder) newStage(name string, o tiwtest.Options) (*stage, error) {
	s, err := r.newRedis(name)
	if err != nil {
		return nil, err
	}
	if err := s.Simulate(o); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// newRedis starts only Redis, for a row with an API of its own or none. The settings are NAME=value.
func (r *recorder) newRedis(name string, settings ...string) (*stage, error) {
	dir := filepath.Join(r.dir, name)
	// Redis would load the data that an earlier run with --keep has left.
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, err
	}
	bed, err := testbed.New(dir, r.Binary)
	if err != nil {
		return nil, err
	}
	bed.Environ = append(bed.Environ, "TIWSNAP_CONFIRM_AFTER=1s")
	if r.Margin > 0 {
		bed.Environ = append(bed.Environ, fmt.Sprint("TIWSNAP_RATE_MARGIN=", r.Margin))
	}
	bed.Environ = append(bed.Environ, settings...)
	return &stage{Testbed: bed, queue: enqueue.New(bed.DB, keys.Default)}, nil
}

// simulator returns the options of the simulator: the documented quota in its strictest reading. Any window of a second
// counts, and rejected requests count, too.
func simulator() tiwtest.Options {
	return tiwtest.Options{
		Window: tiwtest.Sliding, Limit: capacity, RequestLog: 1_000_000,
		Latency: 80 * time.Millisecond, LatencySigma: 0.35, TaskDuration: 500 * time.Millisecond, TaskSigma: 0.35,
	}
}

// close stops all processes of the stage. The error lists those that failed.
func (s *stage) close() error {
	err := s.stopWorkers(len(s.workers))
	s.Close()
	return err
}

// startWorkers starts n more workers and waits until they are ready.
func (s *stage) startWorkers(ctx context.Context, n int) error {
	var fresh []*process
	for range n {
		s.started++
		w, err := startProcess(filepath.Join(s.Dir, fmt.Sprintf("worker-%d.log", s.started)), "worker started", s.Environ,
			s.Binary, "worker")
		if err != nil {
			return err
		}
		s.workers, fresh = append(s.workers, w), append(fresh, w)
	}
	for _, w := range fresh {
		if err := w.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stopWorkers stops the n workers that were started last.
func (s *stage) stopWorkers(n int) error {
	leaving := s.workers[len(s.workers)-n:]
	s.workers = s.workers[:len(s.workers)-n]
	return stopAll(leaving)
}

// settle waits until workers that have just started are idle.
func settle(ctx context.Context) error {
	if !pause(ctx, 2*time.Second) {
		return ctx.Err()
	}
	return nil
}

// batch enqueues n rooms with consecutive numbers from first.
func (s *stage) batch(ctx context.Context, id string, first uint64, n int) error {
	b, err := s.queue.Batch(ctx, rooms(first, n), enqueue.BatchOptions{ID: id})
	if err == nil && b.Rooms != n {
		err = fmt.Errorf("batch %s has %d rooms, not %d", id, b.Rooms, n)
	}
	return err
}

func rooms(first uint64, n int) iter.Seq2[tasks.Room, error] {
	return func(yield func(tasks.Room, error) bool) {
		for i := range n {
			if !yield(tasks.Room{SdkAppId: sdkAppID, RoomId: first + uint64(i)}, nil) {
				return
			}
		}
	}
}

// room enqueues one room and returns when the enqueue began.
func (s *stage) room(ctx context.Context, number uint64) (time.Time, error) {
	begin := time.Now()
	_, err := s.queue.Room(ctx, tasks.Room{SdkAppId: sdkAppID, RoomId: number}, enqueue.RoomOptions{})
	return begin, err
}

// ended waits until every snapshot of a batch has ended.
func (s *stage) ended(ctx context.Context, id string) (ledger.Batch, error) {
	l := ledger.New(s.DB, ledger.Options{})
	for {
		b, err := l.Batch(ctx, id)
		if err != nil || b.Ended() {
			return b, err
		}
		if !pause(ctx, 200*time.Millisecond) {
			return b, fmt.Errorf("%d of %d rooms of batch %s have ended: %w", b.Done(), b.Total, id, ctx.Err())
		}
	}
}

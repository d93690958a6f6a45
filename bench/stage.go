package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
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
	capacity  = 20 // requests a second, the account's quota
	firstRoom = 100_000
)

// stage is a testbed with workers on it.
type stage struct {
	*testbed.Testbed
	queue   *enqueue.Client
	workers []*process
	started int // workers, for the names of their logs
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

// newRedis starts Redis alone, for a row that has a referee of its own or needs
// none. The settings are NAME=value.
func (r *recorder) newRedis(name string, settings ...string) (*stage, error) {
	dir := filepath.Join(r.dir, name)
	// What a kept run left would be Redis' data of this one.
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

// referee is the quota as it is documented, drawn in the strictest way: any
// second counts, and rejected calls too.
func referee() tiwtest.Options {
	return tiwtest.Options{
		Window: tiwtest.Sliding, Limit: capacity, RequestLog: 1_000_000,
		Latency: 80 * time.Millisecond, LatencySigma: 0.35, TaskDuration: 500 * time.Millisecond, TaskSigma: 0.35,
	}
}

// close ends all that the stage has started. The error says what did not end
// in order.
func (s *stage) close() error {
	err := s.stopWorkers(len(s.workers))
	s.Close()
	return err
}

// startWorkers starts n workers more and waits until they work.
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

// stopWorkers stops n workers in order, those that were started last.
func (s *stage) stopWorkers(n int) error {
	leaving := s.workers[len(s.workers)-n:]
	s.workers = s.workers[:len(s.workers)-n]
	return stopAll(leaving)
}

// settled waits until workers that have just started are idle.
func settled(ctx context.Context) error {
	if !pause(ctx, 2*time.Second) {
		return ctx.Err()
	}
	return nil
}

// batch enqueues n rooms, from the room with that number on.
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

// room enqueues one room and returns when that began.
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

// process is a program that was started and is to end when it is asked to.
type process struct {
	cmd    *exec.Cmd
	log    *os.File
	ready  *phrase
	exited chan struct{}
	err    error // set when exited is closed
}

// startProcess starts a program. It is ready when it has printed the given
// words. All that it prints is in the file log.
func startProcess(log, ready string, environ []string, program string, args ...string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	p := &process{log: f, exited: make(chan struct{})}
	p.ready = &phrase{file: f, words: []byte(ready), seen: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = environ
	p.cmd.Stdout, p.cmd.Stderr = p.ready, p.ready
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		f.Close()
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		f.Close()
		close(p.exited)
	}()
	return p, nil
}

// await waits until the program is ready.
func (p *process) await(ctx context.Context) error {
	select {
	case <-p.ready.seen:
		return nil
	case <-p.exited:
		return fmt.Errorf("%s ended at its start: %v\n%s", p.cmd.Path, p.err, tail(p.log.Name()))
	case <-ctx.Done():
		return fmt.Errorf("%s did not get ready: %w\n%s", p.cmd.Path, ctx.Err(), tail(p.log.Name()))
	}
}

// stopAll asks programs to end and waits until they have; after 20 s it ends
// them.
func stopAll(all []*process) error {
	for _, p := range all {
		p.cmd.Process.Signal(syscall.SIGTERM)
	}
	late := time.AfterFunc(20*time.Second, func() {
		for _, p := range all {
			p.cmd.Process.Kill()
		}
	})
	defer late.Stop()
	var errs []error
	for _, p := range all {
		<-p.exited
		if p.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w\n%s", filepath.Base(p.log.Name()), p.err, tail(p.log.Name())))
		}
	}
	return errors.Join(errs...)
}

// tail is the end of a file.
func tail(name string) []byte {
	b, _ := os.ReadFile(name)
	return tailOf(b)
}

// tailOf is the end of what a program printed.
func tailOf(out []byte) []byte {
	const most = 2000
	return out[max(0, len(out)-most):]
}

// phrase writes to a file and closes seen when the words have come by.
type phrase struct {
	file  *os.File
	words []byte
	seen  chan struct{}

	mu   sync.Mutex
	last []byte // what may be the beginning of the words
	done bool
}

func (p *phrase) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		p.last = append(p.last, b...)
		if bytes.Contains(p.last, p.words) {
			p.done, p.last = true, nil
			close(p.seen)
		} else {
			p.last = bytes.Clone(p.last[max(0, len(p.last)-len(p.words)):])
		}
	}
	return p.file.Write(b)
}

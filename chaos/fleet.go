package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/roster"
)

const (
	exitAway  = 69 // exit code of tiwsnap if Redis is unavailable at its start
	exitLater = 75 // exit code of a worker that was stopped with errors
)

// restartAfter is the delay before a worker is started again.
const restartAfter = 500 * time.Millisecond

// fleet supervises the worker processes: it restarts those that end.
type fleet struct {
	workers []*worker
	running sync.WaitGroup
	halt    context.CancelFunc
}

// worker is a supervised worker and its current process.
type worker struct {
	n        int
	binary   string
	environ  []string
	callback string // host:port where it takes callbacks
	log      string // file

	mu     sync.Mutex
	cmd    *exec.Cmd      // nil between two processes
	exited chan struct{}  // closed when cmd has ended
	asked  syscall.Signal // the signal that was sent to end it, or 0
	died   []string       // unexpected ends
}

// newFleet prepares n workers in dir. environ are their common settings.
func newFleet(n int, binary, dir string, environ []string) (*fleet, error) {
	f := &fleet{}
	for i := range n {
		// Another process could take the port before the worker listens. The worker then exits and is reported.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		l.Close()
		w := &worker{
			n: i + 1, binary: binary, callback: l.Addr().String(),
			log: filepath.Join(dir, fmt.Sprintf("worker-%d.log", i+1)),
		}
		w.environ = append(slices.Clone(environ),
			"TIWSNAP_WORKER_SPOOL="+filepath.Join(dir, fmt.Sprintf("spool-%d", i+1)))
		f.workers = append(f.workers, w)
	}
	return f, nil
}

// callbackAddrs returns the callback listeners of the workers.
func (f *fleet) callbackAddrs() []string {
	var all []string
	for _, w := range f.workers {
		all = append(all, w.callback)
	}
	return all
}

// setCallbacks makes the workers receive callbacks under the public URL base. Call it before start.
func (f *fleet) setCallbacks(base, key string, grace time.Duration) {
	for _, w := range f.workers {
		w.environ = append(w.environ, "TIWSNAP_CALLBACK_ADDR="+w.callback, "TIWSNAP_CALLBACK_URL="+base,
			"TIWSNAP_CALLBACK_KEY="+key, "TIWSNAP_UNKNOWN=wait", fmt.Sprint("TIWSNAP_UNKNOWN_GRACE=", grace))
	}
}

// up waits until all workers of the namespace are in its roster.
func (f *fleet) up(ctx context.Context, rdb redis.UniversalClient, ns keys.Namespace) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		all, err := roster.List(ctx, rdb, ns)
		if err == nil && len(all) >= len(f.workers) {
			return nil
		}
		if died := f.deaths(); len(died) > 0 {
			return errors.New(strings.Join(died, "; "))
		}
		if !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%d of %d workers came up: %w", len(all), len(f.workers), errors.Join(err, ctx.Err()))
		}
	}
}

// start runs the workers until stop.
func (f *fleet) start() {
	ctx, halt := context.WithCancel(context.Background())
	f.halt = halt
	for _, w := range f.workers {
		f.running.Go(func() { w.supervise(ctx) })
	}
}

// stop stops all workers for good. It kills those that do not end within patience.
func (f *fleet) stop(patience time.Duration) {
	f.halt()
	for _, w := range f.workers {
		w.signal(syscall.SIGCONT)
		w.signal(syscall.SIGTERM)
	}
	kill := time.AfterFunc(patience, func() {
		for _, w := range f.workers {
			w.signal(syscall.SIGKILL)
		}
	})
	defer kill.Stop()
	f.running.Wait()
}

// supervise restarts the worker until ctx ends.
func (w *worker) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		if err := w.run(ctx); err != nil {
			w.mu.Lock()
			w.died = append(w.died, err.Error())
			w.mu.Unlock()
		}
		pause(ctx, restartAfter)
	}
}

// run runs one process to its end, unless ctx has ended before. An unexpected end is an error.
func (w *worker) run(ctx context.Context) error {
	log, err := os.OpenFile(w.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(w.binary, "worker")
	cmd.Env = w.environ
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	exited := make(chan struct{})

	w.mu.Lock()
	if ctx.Err() != nil { // else a process could start after stop
		w.mu.Unlock()
		return nil
	}
	if err := cmd.Start(); err != nil {
		w.mu.Unlock()
		return err
	}
	w.cmd, w.exited, w.asked = cmd, exited, 0
	w.mu.Unlock()

	err = cmd.Wait()
	w.mu.Lock()
	asked := w.asked
	w.cmd = nil
	w.mu.Unlock()
	close(exited)

	code := cmd.ProcessState.ExitCode()
	switch {
	case asked == syscall.SIGKILL,
		asked == syscall.SIGTERM && (code == 0 || code == exitLater),
		code == exitAway:
		return nil
	case err == nil:
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("worker %d ended by itself: %w, see %s", w.n, err, w.log)
}

// signal sends a signal to the process, if there is one. exited is closed when
// it has ended.
func (w *worker) signal(s syscall.Signal) (pid int, exited <-chan struct{}, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cmd == nil {
		return 0, nil, false
	}
	if s == syscall.SIGKILL || s == syscall.SIGTERM && w.asked == 0 {
		w.asked = s
	}
	return w.cmd.Process.Pid, w.exited, w.cmd.Process.Signal(s) == nil
}

// deaths returns the unexpected ends of processes.
func (f *fleet) deaths() []string {
	var all []string
	for _, w := range f.workers {
		w.mu.Lock()
		all = append(all, w.died...)
		w.mu.Unlock()
	}
	return all
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

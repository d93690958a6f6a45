package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tiwsnap/internal/testbed"
	"tiwsnap/tiw/tiwtest"
)

// peer is other software for the same work, measured with the same simulator. docs/performance.md explains its
// settings.
type peer struct {
	name    string
	node    bool   // runs on Node
	setting string // argument of its worker
}

var peers = []peer{
	{"BullMQ {1, 50 ms}", true, "smooth"},
	{"BullMQ {20, 1 s}", true, "window"},
	{"asynq, redis_rate burst 1", false, "redis_rate"},
	{"asynq, Wait at 20/processes", false, "wait"},
	{"asynq, as its wiki has it", false, "wiki"},
}

// product returns the name without the settings.
func (p peer) product() string {
	if p.node {
		return "BullMQ"
	}
	return "asynq"
}

// peerSoftware are the built programs of the peers.
type peerSoftware struct {
	folder string
	binary string // empty: could not be built
	node   bool   // Node and its packages are there
}

// prepare builds the programs of the peers. missing lists what could not be built.
func (r *recorder) prepare(ctx context.Context) (s peerSoftware, missing []string, err error) {
	if s.folder, err = filepath.Abs(r.Peers); err != nil {
		return s, nil, err
	}
	if _, err := os.Stat(filepath.Join(s.folder, "package-lock.json")); err != nil {
		return s, nil, &missingError{"the peers' programs are not in " + s.folder + " (--peers names another folder)"}
	}
	run := func(program string, args ...string) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = s.folder
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w %s", program, err, tailOf(out))
		}
		return err
	}
	s.binary = filepath.Join(r.dir, "peers")
	if err := run("go", "build", "-o", s.binary, "."); err != nil {
		s.binary = ""
		missing = append(missing, "asynq: "+err.Error())
	}
	_, err = exec.LookPath("node")
	if err == nil {
		err = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
	}
	if s.node = err == nil; err != nil {
		missing = append(missing, "BullMQ: "+err.Error())
	}
	return s, missing, nil
}

// available reports whether the peer can be run.
func (s peerSoftware) available(p peer) bool { return p.node && s.node || !p.node && s.binary != "" }

// command returns the program of a peer and its arguments.
func (s peerSoftware) command(p peer, args ...string) (program string, all []string) {
	if p.node {
		return "node", append([]string{filepath.Join(s.folder, "bullmq.mjs")}, args...)
	}
	return s.binary, args
}

// measurePeers measures the peers that are available.
func measurePeers(ctx context.Context, r *recorder) error {
	software, missing, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	for _, what := range missing {
		r.report.Missing = append(r.report.Missing, r.row+": "+what)
	}
	var errs []error
	for i, p := range peers {
		if !software.available(p) || ctx.Err() != nil {
			continue
		}
		for _, procs := range []int{1, 4} {
			r.log("%s, %s", p.name, processes(procs))
			if err := r.peerDrain(ctx, software, p, procs); err != nil {
				errs = append(errs, fmt.Errorf("%s, %s: %w", p.name, processes(procs), err))
			}
		}
		// These two do not depend on the limiter.
		if i == 0 || peers[i-1].node != p.node {
			if err := errors.Join(r.peerIdle(ctx, software, p), r.peerBulk(ctx, software, p)); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p.product(), err))
			}
		}
	}
	return errors.Join(errs...)
}

// peerStage starts a stage with the workers of a peer and its producer. closeAll stops all of it.
func (r *recorder) peerStage(ctx context.Context, name string, s peerSoftware, p peer, procs int,
) (st *stage, q *producer, closeAll func() error, err error) {
	st, err = r.newStage(strings.ReplaceAll(name, "/", " by "), simulator())
	if err != nil {
		return nil, nil, nil, err
	}
	var workers []*process
	closeAll = func() error {
		err := stopAll(workers)
		if q != nil {
			err = errors.Join(err, q.close())
		}
		return errors.Join(err, st.close())
	}
	environ := append(testbed.Environ(), "PEER_REDIS="+st.Redis.Addr, "PEER_API="+st.Sim.URL,
		fmt.Sprint("PEER_PROCESSES=", procs))
	program, args := s.command(p, "worker", p.setting)
	for i := range procs {
		w, err := startProcess(filepath.Join(st.Dir, fmt.Sprintf("worker-%d.log", i+1)), "ready", environ, program, args...)
		if err != nil {
			return nil, nil, nil, errors.Join(err, closeAll())
		}
		workers = append(workers, w)
	}
	for _, w := range workers {
		if err := w.await(ctx); err != nil {
			return nil, nil, nil, errors.Join(err, closeAll())
		}
	}
	program, args = s.command(p, "enqueue")
	if q, err = newProducer(environ, program, args...); err != nil {
		return nil, nil, nil, errors.Join(err, closeAll())
	}
	if err := settle(ctx); err != nil {
		return nil, nil, nil, errors.Join(err, closeAll())
	}
	return st, q, closeAll, nil
}

// peerDrain drains 600 jobs, which takes at least 29 s. It stops a peer that is not done after 40 s, because some would
// take minutes, and reports how many jobs were accepted.
func (r *recorder) peerDrain(ctx context.Context, s peerSoftware, p peer, procs int) (err error) {
	const (
		n        = 600
		patience = 40 * time.Second
	)
	name := p.name + ", " + processes(procs)
	st, q, closeAll, err := r.peerStage(ctx, name, s, p, procs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	start := time.Now()
	if err := q.enqueue(n, firstRoom); err != nil {
		return err
	}
	for st.Sim.State().Tasks.Created < n && time.Since(start) < patience {
		if !pause(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
	good := timesOf(st.Sim.Requests(), accepted)
	create := st.Sim.State().Actions[tiwtest.ActionCreate]
	if len(good) < n {
		r.add(name+fmt.Sprintf(": accepted in %g s", patience.Seconds()), float64(len(good)), "", noTarget)
	} else {
		r.add(name+fmt.Sprintf(": %d accepted in", n), good[n-1].Sub(start).Seconds(), "s", noTarget)
	}
	r.add(name+": rejected", float64(create.Rejected), "", noTarget)
	r.add(name+": peak second", float64(create.Received.SlidingSecond.Requests), "", noTarget)
	r.add(name+": peak calendar second", float64(create.Received.CalendarSecond.Requests), "", noTarget)
	return nil
}

// peerIdle measures the latency of an idle worker.
func (r *recorder) peerIdle(ctx context.Context, s peerSoftware, p peer) (err error) {
	name := p.product() + ", idle"
	st, q, closeAll, err := r.peerStage(ctx, name, s, p, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	const samples = 100
	begun := make(map[uint64]time.Time)
	for i := range uint64(samples) {
		if !pause(ctx, 100*time.Millisecond+rand.N(200*time.Millisecond)) {
			return ctx.Err()
		}
		begun[1+i] = time.Now()
		if err := q.enqueue(1, 1+i); err != nil {
			return err
		}
	}
	took, err := st.took(ctx, begun)
	if err != nil {
		return err
	}
	r.add(name+": enqueue to request, p50", percentile(took, 50), "ms", noTarget)
	r.add(name+": enqueue to request, p99", percentile(took, 99), "ms", noTarget)
	return nil
}

// peerBulk measures how fast jobs are enqueued, and the memory that they take.
func (r *recorder) peerBulk(ctx context.Context, s peerSoftware, p peer) (err error) {
	const n = 100_000
	name := p.product() + ", bulk"
	st, q, closeAll, err := r.peerStage(ctx, name, s, p, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	before, err := st.memory(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := q.enqueue(n, firstRoom); err != nil {
		return err
	}
	took := time.Since(begin)
	after, err := st.memory(ctx)
	if err != nil {
		return err
	}
	r.add(name+": enqueue of 100,000", n/took.Seconds(), "jobs/s", noTarget)
	r.add(name+": Redis' memory for a waiting job", (after-before)/n, "B", noTarget)
	return nil
}

// producer is a running program of a peer that enqueues jobs.
type producer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	log strings.Builder
}

// newProducer starts a producer and waits until it is ready.
func newProducer(environ []string, program string, args ...string) (*producer, error) {
	q := &producer{cmd: exec.Command(program, args...)}
	q.cmd.Env, q.cmd.Stderr = environ, &q.log
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := q.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := q.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	q.in, q.out = in, bufio.NewScanner(out)
	if err := q.cmd.Start(); err != nil {
		return nil, err
	}
	if err := q.expect("ready"); err != nil {
		return nil, errors.Join(err, q.close())
	}
	return q, nil
}

// expect waits for a line, at most a minute.
func (q *producer) expect(line string) error {
	late := time.AfterFunc(time.Minute, func() { q.cmd.Process.Kill() })
	defer late.Stop()
	if !q.out.Scan() || q.out.Text() != line {
		return fmt.Errorf("the producer did not say %q but %q %s", line, q.out.Text(), tailOf([]byte(q.log.String())))
	}
	return nil
}

// enqueue enqueues n jobs for rooms with consecutive numbers from first.
func (q *producer) enqueue(n int, first uint64) error {
	if _, err := fmt.Fprintln(q.in, n, first); err != nil {
		return err
	}
	return q.expect("done")
}

// close ends the program, and kills it if it does not end within 10 s.
func (q *producer) close() error {
	q.in.Close()
	late := time.AfterFunc(10*time.Second, func() { q.cmd.Process.Kill() })
	defer late.Stop()
	return q.cmd.Wait()
}

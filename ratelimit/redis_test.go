package ratelimit_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ratelimit"
)

// childEnv is an environment variable with the address of a Redis. If it is set, the test binary uses permits from that
// Redis and prints the time of each use, until its stdin ends.
const childEnv = "RATELIMIT_TEST_CHILD"

func TestMain(m *testing.M) {
	if addr := os.Getenv(childEnv); addr != "" {
		runChild(addr)
		return
	}
	goleak.VerifyTestMain(redistest.Both(m))
}

func realOptions(addr string) ratelimit.Options {
	return ratelimit.Options{
		Redis:    redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true}),
		Key:      key,
		Validity: 300 * time.Millisecond,
	}
}

// runChild uses permits until stdin ends, see childEnv.
func runChild(addr string) {
	o := realOptions(addr)
	defer o.Redis.Close()
	l, err := ratelimit.New(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		os.Stdin.Read(make([]byte, 1))
		stop()
	}()
	var wg sync.WaitGroup
	var out sync.Mutex
	for range 4 {
		wg.Go(func() {
			for {
				p, err := l.Acquire(ctx, ratelimit.Bulk)
				if err != nil {
					return
				}
				if p.Use(ctx) == nil {
					now := time.Now()
					p.Sent()
					out.Lock()
					fmt.Println(now.UnixNano())
					out.Unlock()
				}
			}
		})
	}
	wg.Wait()
	l.Close(context.Background())
}

// realLimiter returns a limiter with its own client.
func realLimiter(t *testing.T, addr string) *ratelimit.Limiter {
	o := realOptions(addr)
	t.Cleanup(func() { o.Redis.Close() })
	return newLimiter(t, o)
}

// useInBackground uses permits of every limiter until the test ends.
func useInBackground(t *testing.T, u *uses, limiters ...*ratelimit.Limiter) {
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	for _, l := range limiters {
		for range 4 {
			wg.Go(func() {
				for useOne(ctx, l, 0, u) == nil {
				}
			})
		}
	}
	t.Cleanup(func() {
		stop()
		wg.Wait()
	})
}

// waitForUses waits until n more permits have been used.
func waitForUses(t *testing.T, u *uses, n int, within time.Duration) {
	t.Helper()
	n += u.count()
	deadline := time.After(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for u.count() < n {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d permits were not used within %v", n-u.count(), within)
		}
	}
}

func TestManyProcesses(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	server := redistest.Real(t)
	u := new(uses)
	var children []*exec.Cmd
	var ends []func() error
	for range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+server.Addr)
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			for s := bufio.NewScanner(out); s.Scan(); {
				ns, err := strconv.ParseInt(s.Text(), 10, 64)
				if err != nil {
					t.Errorf("a child process printed %q, want a time in ns", s.Text())
					continue
				}
				u.add(time.Unix(0, ns))
			}
		}()
		children = append(children, cmd)
		ends = append(ends, func() error {
			in.Close()
			<-read
			return cmd.Wait()
		})
	}
	useInBackground(t, u, realLimiter(t, server.Addr), realLimiter(t, server.Addr))
	waitForUses(t, u, 5, 5*time.Second)

	began, before := time.Now(), u.count()
	waitForUses(t, u, 40, 4*time.Second)
	if rate := float64(u.count()-before) / time.Since(began).Seconds(); rate < 17 {
		t.Errorf("five processes used %.1f permits a second, want at least 17", rate)
	} else {
		t.Logf("five processes used %.1f permits a second", rate)
	}

	// A process that is stopped (SIGSTOP) must not use an old permit when it continues. The token of a killed process
	// must come back.
	stopped, killed := children[0].Process, children[1].Process
	if err := stopped.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := killed.Kill(); err != nil {
		t.Fatal(err)
	}
	waitForUses(t, u, 21, 4*time.Second)
	if err := stopped.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitForUses(t, u, 25, 4*time.Second)
	for i, end := range ends {
		if err := end(); err != nil && i != 1 {
			t.Errorf("process %d: %v", i, err)
		}
	}
	u.wantAtMost(t, 20)
}

func TestRepeatedLossOfState(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	server := redistest.Real(t)
	u := new(uses)
	useInBackground(t, u, realLimiter(t, server.Addr), realLimiter(t, server.Addr), realLimiter(t, server.Addr))
	waitForUses(t, u, 5, 5*time.Second)
	c := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer c.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 10 {
		if err := c.Del(t.Context(), key, key+":meta").Err(); err != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
	waitForUses(t, u, 21, 10*time.Second)
	u.wantAtMost(t, 20)
}

// redirect is a hook that sends commands to a second Redis server after it was switched.
type redirect struct {
	second   redis.UniversalClient
	switched atomic.Bool
}

func (r *redirect) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *redirect) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r *redirect) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if r.switched.Load() {
			return r.second.Process(ctx, cmd)
		}
		return next(ctx, cmd)
	}
}

// A replica that lacks the newest permits becomes the master. The processes switch to it one after the other, while the
// old master still grants permits.
func TestFailover(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	master := redistest.Real(t)
	replicas, err := redistest.StartReplicas(t.Context(), 1, t.TempDir(), master)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { redistest.KillAll(replicas) })
	promoted := redis.NewClient(&redis.Options{Addr: replicas[0].Addr, ContextTimeoutEnabled: true})
	t.Cleanup(func() { promoted.Close() })
	u := new(uses)
	redirects := make([]*redirect, 3)
	limiters := make([]*ratelimit.Limiter, len(redirects))
	for i := range redirects {
		o := realOptions(master.Addr)
		t.Cleanup(func() { o.Redis.Close() })
		redirects[i] = &redirect{second: promoted}
		o.Redis.AddHook(redirects[i])
		limiters[i] = newLimiter(t, o)
	}
	useInBackground(t, u, limiters[1:]...) // the first limiter does not know these uses
	waitForUses(t, u, 30, 10*time.Second)
	if err := promoted.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	waitForUses(t, u, 21, 5*time.Second) // the new master lacks these
	redirects[0].switched.Store(true)
	useInBackground(t, u, limiters[0])
	for _, r := range redirects[1:] {
		time.Sleep(400 * time.Millisecond)
		r.switched.Store(true)
	}
	waitForUses(t, u, 30, 15*time.Second)
	u.wantAtMost(t, 20)
}

func TestRedisIsUnavailable(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	for _, c := range []struct {
		name        string
		stop, start func(*redistest.Server) error
	}{
		{"frozen", (*redistest.Server).Freeze, (*redistest.Server).Thaw},
		{"killed", func(s *redistest.Server) error { s.Kill(); return nil }, (*redistest.Server).Restart},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Real(t)
			u := new(uses)
			l := realLimiter(t, server.Addr)
			useInBackground(t, u, l, realLimiter(t, server.Addr))
			waitForUses(t, u, 5, 5*time.Second)

			if err := c.stop(server); err != nil {
				t.Fatal(err)
			}
			// Permits that are already reserved may be up to a second ahead.
			time.Sleep(1500 * time.Millisecond)
			before := u.count()
			time.Sleep(500 * time.Millisecond)
			if n := u.count() - before; n != 0 {
				t.Errorf("%d permits were used without Redis, want none", n)
			}
			if s, err := l.State(t.Context()); err == nil || s.Err == nil {
				t.Errorf("State() without Redis = %+v, %v, want an error", s, err)
			}
			if err := c.start(server); err != nil {
				t.Fatal(err)
			}
			waitForUses(t, u, 21, 10*time.Second)
			u.wantAtMost(t, 20)
		})
	}
}

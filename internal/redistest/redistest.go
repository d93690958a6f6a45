// Package redistest provides Redis for tests: a real redis-server each, on a
// free loopback port with its own data folder, or the embedded Redis. Tests can
// kill, freeze and restart a real server. The commands bench and chaos also use
// it.
package redistest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"tiwsnap/internal/embedded"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
)

// Server is one running redis-server.
type Server struct {
	Addr string // host:port
	Dir  string // holds the server's data and log

	args []string
	cmd  *exec.Cmd
	log  bytes.Buffer
	exit chan error
}

// Start starts a redis-server with its data in dir and waits until it answers. args are added to its command line, such
// as "--appendonly", "yes". Without them it has no persistence. The error wraps exec.ErrNotFound if the machine has no
// redis-server.
func Start(dir string, args ...string) (*Server, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, err
	}
	var last error
	for range 5 { // another process may take the port before the server does
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		addr := l.Addr().String()
		l.Close()
		s := &Server{Addr: addr, Dir: dir, args: args}
		if last = s.Restart(); last == nil {
			return s, nil
		}
	}
	return nil, last
}

// Restart starts the server again after Kill, with the same address and data.
func (s *Server) Restart() error {
	_, port, _ := net.SplitHostPort(s.Addr)
	args := append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", s.Dir, "--save", "", "--maxmemory-policy", "noeviction",
	}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	exit := make(chan error, 1)
	s.exit = exit
	go func(cmd *exec.Cmd) { exit <- cmd.Wait() }(s.cmd)

	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, DialTimeout: time.Second})
	defer c.Close()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-exit:
			exit <- err
			return fmt.Errorf("redis-server on %s ended: %v\n%s", s.Addr, err, s.log.String())
		case <-deadline:
			s.Kill()
			return fmt.Errorf("redis-server on %s did not answer within 10 s\n%s", s.Addr, s.log.String())
		case <-tick.C:
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			err := c.Ping(ctx).Err()
			cancel()
			if err == nil || redis.HasErrorPrefix(err, "NOAUTH") {
				return nil
			}
		}
	}
}

// Kill kills the server with SIGKILL and waits until its process has ended.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	err := <-s.exit
	s.exit <- err
}

// Freeze stops the process (SIGSTOP). Thaw continues it.
func (s *Server) Freeze() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw continues a process that Freeze has stopped (SIGCONT).
func (s *Server) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// URL returns the server's address in the form of the setting TIWSNAP_REDIS_URL.
func (s *Server) URL() string { return "redis://" + s.Addr + "/0" }

// Real starts a redis-server for one test and kills it when the test ends. If the machine has no redis-server, the test
// is skipped, see package needs.
func Real(tb testing.TB, args ...string) *Server {
	tb.Helper()
	needs.Program(tb, "redis-server")
	s, err := Start(tb.TempDir(), args...)
	if err != nil {
		tb.Fatalf("redis-server: %v", err)
	}
	tb.Cleanup(s.Kill)
	return s
}

// RealClient returns a client of a new redis-server for one test. Use it for tests of features that the embedded Redis
// lacks, and for tests that measure their own process.
func RealClient(tb testing.TB, args ...string) *redis.Client {
	tb.Helper()
	c := redis.NewClient(&redis.Options{Addr: Real(tb, args...).Addr, ContextTimeoutEnabled: true})
	tb.Cleanup(func() { c.Close() })
	return c
}

// Embedded starts an embedded Redis for one test and closes it when the test ends.
func Embedded(tb testing.TB) *embedded.Server {
	tb.Helper()
	s := embedded.New()
	if err := s.Listen(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// InBubble returns a client of an embedded Redis for a test in a bubble of testing/synctest. Redis uses the clock of
// the bubble, so waiting takes no real time.
func InBubble(tb testing.TB) *redis.Client {
	tb.Helper()
	s := embedded.New()
	tb.Cleanup(s.Close)
	c := DialClient(tb, s)
	c.AddHook(bubbleClock{s})
	return c
}

// DialClient returns a client of an embedded Redis without a network connection, which would block the clock of a
// bubble.
func DialClient(tb testing.TB, s *embedded.Server) *redis.Client {
	c := redis.NewClient(&redis.Options{
		Dialer:                   func(context.Context, string, string) (net.Conn, error) { return s.Dial() },
		MaxRetries:               -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	tb.Cleanup(func() { c.Close() })
	return c
}

// bubbleClock sets the clock of Redis before each command.
type bubbleClock struct{ server *embedded.Server }

func (b bubbleClock) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b bubbleClock) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		b.server.SetTime(time.Now())
		return next(ctx, cmd)
	}
}

func (b bubbleClock) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		b.server.SetTime(time.Now())
		return next(ctx, cmds)
	}
}

// URL returns the address of an empty Redis for one test. The test runs on each kind of Redis in turn, see Both.
func URL(tb testing.TB) string {
	tb.Helper()
	if useEither(tb) == onEmbedded {
		return Embedded(tb).URL()
	}
	return Real(tb).URL()
}

// Client returns a client of the Redis of URL.
func Client(tb testing.TB) *redis.Client {
	tb.Helper()
	c, _, err := rdb.Open(URL(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c.(*redis.Client)
}

// Until polls done every 20 ms until it returns true, because Redis sends no event. After two minutes it fails the test
// with what, the description of the condition.
func Until(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(2 * time.Minute); !done(); {
		select {
		case <-deadline:
			tb.Fatalf("condition not met within two minutes: %s", what)
		case <-tick.C:
		}
	}
}

// FreeAddr returns a loopback address without a listener. Its port is below the ephemeral range, so that no outgoing
// connection takes it before the test does.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	for range 100 {
		port := strconv.Itoa(20_000 + rand.IntN(10_000))
		l, err := net.Listen("tcp", ":"+port) // checks all addresses of the machine
		if err != nil {
			continue
		}
		l.Close()
		return "127.0.0.1:" + port
	}
	tb.Fatal("100 ports from 20000 to 29999 are taken")
	return ""
}

// Package redistest starts redis-servers for tests and measuring programs: a
// private one each, on a free loopback port, with its data in its own folder.
// They can be killed, frozen and restarted, because that is what is tested.
package redistest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// RequireEnv, when set, turns the lack of a redis-server from a skipped test
// into a failed one. CI sets it.
const RequireEnv = "TIWSNAP_TEST_REQUIRE"

// Server is one running redis-server.
type Server struct {
	Addr string // host:port
	Dir  string // holds the server's data and log

	args []string
	cmd  *exec.Cmd
	log  bytes.Buffer
	exit chan error
}

// Start starts a redis-server with its data in dir and waits until it answers.
// args are added to its command line ("--appendonly", "yes"). Without any, it
// persists nothing. The error wraps exec.ErrNotFound where there is no
// redis-server on the machine.
func Start(dir string, args ...string) (*Server, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, err
	}
	var last error
	for range 5 { // the free port may be taken before the server listens on it
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

// Restart starts the server again on its old address and data, after Kill.
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
			if err == nil {
				return nil
			}
		}
	}
}

// Kill ends the server with SIGKILL and waits until it is gone.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	err := <-s.exit
	s.exit <- err
}

// Freeze stops the process in the middle of whatever it does (SIGSTOP); Thaw
// lets it go on.
func (s *Server) Freeze() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw is the end of Freeze.
func (s *Server) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// PID is the server's process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// URL is the server's address as tiwsnap's configuration takes it.
func (s *Server) URL() string { return "redis://" + s.Addr + "/0" }

// Real starts a redis-server for one test and ends it with the test. Where the
// machine has none the test is skipped, or fails if RequireEnv is set.
func Real(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s, err := Start(tb.TempDir(), args...)
	if errors.Is(err, exec.ErrNotFound) && os.Getenv(RequireEnv) == "" {
		tb.Skip("skipped: there is no redis-server on this machine")
	}
	if err != nil {
		tb.Fatalf("redis-server: %v", err)
	}
	tb.Cleanup(s.Kill)
	return s
}

// Client returns a client of a new redis-server for one test, or of a
// miniredis where the machine has no redis-server.
func Client(tb testing.TB) *redis.Client {
	tb.Helper()
	addr := ""
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv(RequireEnv) == "" {
		tb.Log("there is no redis-server on this machine: this test runs on miniredis")
		addr = miniredis.RunT(tb).Addr()
	} else {
		addr = Real(tb).Addr
	}
	c := redis.NewClient(&redis.Options{Addr: addr})
	tb.Cleanup(func() { c.Close() })
	return c
}

// Memory returns the resident memory of the process in bytes, from /proc.
func Memory(pid int) (int64, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, fmt.Errorf("statm of %d: %q", pid, b)
	}
	n, err := strconv.ParseInt(string(f[1]), 10, 64)
	return n * int64(os.Getpagesize()), err
}

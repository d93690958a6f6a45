// Package embedded runs a Redis (miniredis) inside this process, for demos and tests.
//
// It is not durable. It is separate from package rdb, so that clients do not link miniredis and its Lua interpreter.
package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/rdb"
)

// expireEvery is how late a key of an embedded Redis may expire.
const expireEvery = time.Second

// Server is a Redis in the memory of this process.
type Server struct {
	redis    *miniredis.Miniredis
	password string
	runID    string

	mu     sync.Mutex
	stop   func() // ends the ticker that lets keys expire, and waits for it; nil: none runs
	byHand bool   // SetTime moves the clock
}

// New returns an embedded Redis without a port, for Dial. It starts no goroutine, so it also works in a
// testing/synctest bubble.
func New() *Server {
	return &Server{redis: miniredis.NewMiniRedis(), password: rand.Text(), runID: fmt.Sprintf("%x", rand.Text())[:40]}
}

// info makes INFO server identify the server, like a real Redis.
func (s *Server) info(c *server.Peer, cmd string, args ...string) (answered bool) {
	if cmd != "INFO" || len(args) != 1 || !strings.EqualFold(args[0], "server") {
		return false
	}
	c.WriteBulk("# Server\r\nrun_id:" + s.runID + "\r\n")
	return true
}

// Listen opens a port on 127.0.0.1 with a random password, which is part of URL. Keys then expire within a second of
// their time.
func (s *Server) Listen() error {
	s.redis.RequireAuth(s.password)
	if err := s.redis.StartAddr("127.0.0.1:0"); err != nil {
		return fmt.Errorf("start the embedded redis: %w", err)
	}
	s.redis.Server().SetPreHook(s.info)
	done := make(chan struct{})
	var ticker sync.WaitGroup
	ticker.Go(func() { expire(s.redis, done) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop = func() {
		close(done)
		ticker.Wait()
	}
	return nil
}

// URL returns the address of Listen with its password, in the form of rdb.Open.
func (s *Server) URL() string {
	return "redis://:" + s.password + "@" + s.redis.Addr() + "/0"
}

// Dial returns a connection without the network. It needs no password unless Listen was called.
func (s *Server) Dial() (net.Conn, error) {
	c, err := s.redis.Dial()
	if err == nil {
		s.redis.Server().SetPreHook(s.info)
	}
	return c, err
}

// SetTime sets the clock of the server for a test. TIME returns t, and keys expire by this clock alone, until the next
// SetTime.
func (s *Server) SetTime(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopTicker()
	s.redis.SetTime(t)
	if !s.byHand {
		s.redis.ClockTTL(true) // walks every key on every command, so not for real use
		s.byHand = true
	}
}

// Close stops the server and closes its connections.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopTicker()
	s.redis.Close()
}

func (s *Server) stopTicker() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// Open starts a server and returns a client of it and what ends both. Every call makes a new, empty one.
func Open() (redis.UniversalClient, func() error, error) {
	s := New()
	if err := s.Listen(); err != nil {
		return nil, nil, err
	}
	c, closeClient, err := rdb.Open(s.URL())
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return c, sync.OnceValue(func() error {
		err := closeClient()
		s.Close()
		if errors.Is(err, redis.ErrClosed) {
			return nil
		}
		return err
	}), nil
}

// expire advances the clock of key expiry in miniredis, which does not run by itself.
func expire(m *miniredis.Miniredis, stop <-chan struct{}) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			m.FastForward(now.Sub(last))
			last = now
		}
	}
}

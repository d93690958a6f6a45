// Package web is the HTTP server on which the packages below it serve: each gives it routes with the role that may
// call them. It authenticates the client, checks role, Host header and origin, and limits connections, requests and
// streams. Errors are problem documents (RFC 9457), or pages for people.
// It knows nothing of snapshots. Package cli puts the routes together.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// maxConns is how many connections a server has at a time, and maxOwnConns how
// many from one address.
const (
	maxConns    = 1024
	maxOwnConns = 512
)

// NewServer returns a server for the handler of NewHandler. A handler that
// needs more time to read or to write moves its own deadlines.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // mostly what broken clients do
		// Else "OPTIONS *" would be answered 200 to anybody.
		DisableGeneralOptionsHandler: true,
	}
}

// Serve serves on l until ctx ends, and then lets requests end that are under
// way, for at most patience. It closes l. There are 1024 connections at a time,
// others wait to be accepted; and 512 from one address (of IPv6: one network of
// 64 bits), others are closed.
func Serve(ctx context.Context, s *http.Server, l net.Listener, patience time.Duration) error {
	failed := make(chan error, 1)
	go func() {
		failed <- s.Serve(netutil.LimitListener(&fairListener{Listener: l, open: Slots{Own: maxOwnConns}}, maxConns))
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := s.Shutdown(stop)
	if err != nil {
		s.Close()
	}
	if e := <-failed; !errors.Is(e, http.ErrServerClosed) {
		return errors.Join(err, e)
	}
	return err
}

// fairListener lets nobody have more than maxOwnConns of the connections, so that
// others find one.
type fairListener struct {
	net.Listener
	open Slots
}

func (l *fairListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := network(conn.RemoteAddr().String()).String()
		if ok, _ := l.open.try(from); ok {
			return &fairConn{Conn: conn, free: sync.OnceFunc(func() { l.open.free(from) })}, nil
		}
		conn.Close()
	}
}

// fairConn is a connection that its address has.
type fairConn struct {
	net.Conn
	free func()
}

func (c *fairConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

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

const (
	// maxConns bounds the connections of a server, and maxOwnConns those from one address.
	maxConns    = 1024
	maxOwnConns = 512
)

// NewServer returns a server for the handler of NewHandler. A handler that needs more time to read or write moves its
// own deadlines.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // mostly faults of clients
		// Otherwise anyone would get 200 for "OPTIONS *".
		DisableGeneralOptionsHandler: true,
	}
}

// Serve serves on l until ctx ends, then lets running requests end, for at most patience. It closes l. At most 1024
// connections are open; others wait to be accepted. At most 512 are from one address (of IPv6: one /64 network);
// others are closed.
func Serve(ctx context.Context, s *http.Server, l net.Listener, patience time.Duration) error {
	failed := make(chan error, 1)
	go func() {
		failed <- s.Serve(netutil.LimitListener(&addressListener{Listener: l, open: Slots{Own: maxOwnConns}}, maxConns))
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

// addressListener closes connections from an address that has maxOwnConns already, so that other clients find one.
type addressListener struct {
	net.Listener
	open Slots
}

func (l *addressListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := network(conn.RemoteAddr().String()).String()
		if ok, _ := l.open.try(from); ok {
			return &addressConn{Conn: conn, free: sync.OnceFunc(func() { l.open.free(from) })}, nil
		}
		conn.Close()
	}
}

// addressConn frees the place of its address when it is closed.
type addressConn struct {
	net.Conn
	free func()
}

func (c *addressConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

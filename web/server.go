package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// maxConns is how many connections a server has at a time.
const maxConns = 1024

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
// way, for at most patience. It closes l. There are 1024 connections at a time;
// others wait to be accepted.
func Serve(ctx context.Context, s *http.Server, l net.Listener, patience time.Duration) error {
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(netutil.LimitListener(l, maxConns)) }()
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

package cli

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tiwsnap/config"
	"tiwsnap/ratelimit"
	"tiwsnap/schedule"
	"tiwsnap/version"
	"tiwsnap/web"
)

// httpPatience is how long requests may go on when the process ends.
const httpPatience = 5 * time.Second

// served is what is served over HTTP.
type served struct {
	*connection
	limiters  map[string]*ratelimit.Limiter
	schedules []schedule.Schedule
	metrics   *prometheus.Registry
	log       *slog.Logger
	// mayYield leaves the default address to another process that listens there.
	mayYield bool
}

// httpServer serves until stop is called.
type httpServer struct {
	addr string    // where it listens; empty: nowhere
	auth *web.Auth // nil where it does not listen
	stop func()
}

// replaceLogins replaces who may come in.
func (h httpServer) replaceLogins(c config.HTTP) error {
	if h.auth == nil {
		return nil
	}
	users, tokens := logins(c)
	return h.auth.Replace(users, tokens, c.SessionKey.Reveal())
}

// serveHTTP serves browsers and programs, where an address is set. The error is
// ready to return.
func serveHTTP(s served) (httpServer, error) {
	pictures, err := imageSource(s.cfg.Images)
	if err != nil {
		return httpServer{}, err
	}
	api := web.NewAPI(web.APIOptions{
		Redis: s.rdb, Namespace: s.cfg.Namespace, Ledger: s.ledger, Replicated: s.replicated(),
		CheckWebhook: s.cfg.Webhook.Check, CheckCallback: s.cfg.CheckCallback,
		Images: pictures, Limiters: s.limiters, Schedules: s.schedules, Version: version.Read().String(), Log: s.log,
	})
	s.metrics.MustRegister(api.Collector())
	metrics := web.MetricsRoute(s.metrics)
	stopMetrics := func() {}
	if addr := s.cfg.Metrics.Addr; addr != "" {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return httpServer{}, fail(exitUnavailable,
				"metrics: %w (TIWSNAP_METRICS_ADDR or --metrics-addr chooses another address, or none)", err)
		}
		s.log.Info("serving metrics", "addr", l.Addr().String())
		stopMetrics = serve(l, web.NewServer(metrics.Handler, s.log), s.failed(l))
		metrics = nil
	}
	if s.cfg.HTTP.Addr == "" {
		return httpServer{stop: stopMetrics}, nil
	}
	h, err := s.site(api, metrics)
	if err != nil {
		stopMetrics()
		return httpServer{}, err
	}
	stopSite := h.stop
	h.stop = func() { stopSite(); stopMetrics() }
	return h, nil
}

// failed tells that a listener fails.
func (s served) failed(l net.Listener) func(error) {
	return func(err error) { s.log.Error("HTTP is no longer served", "addr", l.Addr().String(), "err", err) }
}

// serve serves on l until stop is called, or until it fails.
func serve(l net.Listener, server *http.Server, failed func(error)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := web.Serve(ctx, server, l, httpPatience); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			failed(err)
		}
	}()
	return func() { cancel(); <-ended }
}

// site serves everything, and the metrics where they are given.
func (s served) site(api *web.API, metrics *web.Route) (httpServer, error) {
	users, tokens := logins(s.cfg.HTTP)
	auth, err := web.NewAuth(web.AuthOptions{
		Users: users, Tokens: tokens, SessionKey: s.cfg.HTTP.SessionKey.Reveal(),
		Redis: s.rdb, Namespace: s.cfg.Namespace, Log: s.log,
	})
	if err != nil {
		return httpServer{}, fail(exitConfig, "%w", err)
	}
	l, err := net.Listen("tcp", s.cfg.HTTP.Addr)
	if errors.Is(err, syscall.EADDRINUSE) && s.mayYield && s.cfg.HTTP.Addr == config.DefaultHTTPAddr {
		s.log.Warn("HTTP is not served: its default address is taken, by another worker most likely",
			"addr", s.cfg.HTTP.Addr)
		return httpServer{stop: func() {}}, nil
	}
	if err != nil {
		return httpServer{}, fail(exitUnavailable,
			"HTTP: %w (TIWSNAP_HTTP_ADDR or --http-addr chooses another address, or none)", err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); auth.Open() && (!ok || !tcp.IP.IsLoopback()) {
		l.Close()
		return httpServer{}, fail(
			exitConfig,
			"HTTP: %s can be reached by others, and without users and tokens anyone has full access: "+
				"set TIWSNAP_HTTP_USERS or _TOKENS, or listen on 127.0.0.1",
			l.Addr(),
		)
	}
	pages := web.NewPages(web.PagesOptions{Auth: auth, API: api, Log: s.log})
	routes := slices.Concat(
		api.Routes(),
		api.HealthRoutes(),
		pages.Routes(),
		web.NewAsynqmon(web.AsynqmonOptions{Redis: s.rdb, Namespace: s.cfg.Namespace, Log: s.log}).Routes(),
	)
	if metrics != nil {
		routes = append(routes, *metrics)
	}
	handler := web.NewHandler(web.HandlerOptions{
		Auth: auth, Hosts: s.cfg.HTTP.Hosts, Proxies: s.cfg.HTTP.Proxies, Log: s.log,
	}, routes...)
	server := web.NewServer(handler, s.log)
	server.RegisterOnShutdown(pages.Close)
	server.RegisterOnShutdown(api.Close)
	s.log.Info("serving HTTP", "addr", l.Addr().String(), "logins", !auth.Open())
	return httpServer{l.Addr().String(), auth, serve(l, server, s.failed(l))}, nil
}

// logins is who may come in.
func logins(c config.HTTP) (users []web.User, tokens []web.Token) {
	roles := func(l config.Login) (all []web.Role) {
		for _, r := range l.Roles {
			all = append(all, web.Role(r))
		}
		return all
	}
	for _, u := range c.Users {
		users = append(users, web.User{Name: u.Name, Hash: u.Hash.Reveal(), Roles: roles(u)})
	}
	for _, t := range c.Tokens {
		tokens = append(tokens, web.Token{Name: t.Name, Hash: t.Hash.Reveal(), Roles: roles(t)})
	}
	return users, tokens
}

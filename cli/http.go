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
	"github.com/redis/go-redis/v9"

	"tiwsnap/config"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/schedule"
	"tiwsnap/version"
	"tiwsnap/web"
)

// httpPatience is how long requests may go on when the process ends.
const httpPatience = 5 * time.Second

// served is what is served over HTTP.
type served struct {
	config.HTTP
	rdb        redis.UniversalClient
	ledger     *ledger.Ledger
	replicated bool
	webhook    func(url string) error
	callback   func(url string) error
	limiters   map[string]*ratelimit.Limiter
	schedules  []schedule.Schedule
	metrics    *prometheus.Registry
	// metricsAddr is where they are served without a login; empty: with the
	// other things, and like them.
	metricsAddr string
	log         *slog.Logger
}

// serveHTTP serves browsers and programs, where an address is set, until stop is called. addr
// is where it listens. The error is ready to return.
func serveHTTP(s served) (addr string, stop func(), err error) {
	api := web.NewAPI(web.APIOptions{
		Redis: s.rdb, Ledger: s.ledger, Replicated: s.replicated, CheckWebhook: s.webhook, CheckCallback: s.callback,
		Limiters: s.limiters, Schedules: s.schedules, Version: version.Read().String(), Log: s.log,
	})
	s.metrics.MustRegister(api.Collector())
	metrics := web.MetricsRoute(s.metrics)
	stopMetrics := func() {}
	if s.metricsAddr != "" {
		l, err := net.Listen("tcp", s.metricsAddr)
		if err != nil {
			return "", nil, fail(exitUnavailable, "metrics: %w (TIWSNAP_METRICS_ADDR or --metrics-addr chooses another address, or none)", err)
		}
		s.log.Info("serving metrics", "addr", l.Addr().String())
		stopMetrics = serve(l, web.NewServer(metrics.Handler, s.log), s.failed(l))
		metrics = nil
	}
	if s.Addr == "" {
		return "", stopMetrics, nil
	}
	addr, stopSite, err := s.site(api, metrics)
	if err != nil {
		stopMetrics()
		return "", nil, err
	}
	return addr, func() { stopSite(); stopMetrics() }, nil
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
func (s served) site(api *web.API, metrics *web.Route) (addr string, stop func(), err error) {
	auth, err := newAuth(s)
	if err != nil {
		return "", nil, fail(exitConfig, "%w", err)
	}
	l, err := net.Listen("tcp", s.Addr)
	if errors.Is(err, syscall.EADDRINUSE) && s.Addr == config.DefaultHTTPAddr {
		s.log.Warn("HTTP is not served: its default address is taken, by another worker most likely", "addr", s.Addr)
		return "", func() {}, nil
	}
	if err != nil {
		return "", nil, fail(exitUnavailable, "HTTP: %w (TIWSNAP_HTTP_ADDR or --http-addr chooses another address, or none)", err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); auth.Open() && (!ok || !tcp.IP.IsLoopback()) {
		l.Close()
		return "", nil, fail(exitConfig, "HTTP: %s can be reached by others, and without users and tokens everybody may everything: set TIWSNAP_HTTP_USERS or _TOKENS, or listen on 127.0.0.1", l.Addr())
	}
	pages := web.NewPages(web.PagesOptions{Auth: auth, Redis: s.rdb, Limiter: s.limiters["CreateSnapshotTask"], Log: s.log})
	routes := slices.Concat(
		api.Routes(),
		api.HealthRoutes(),
		pages.Routes(),
		web.NewAsynqmon(web.AsynqmonOptions{Redis: s.rdb, Log: s.log}).Routes(),
	)
	if metrics != nil {
		routes = append(routes, *metrics)
	}
	handler := web.NewHandler(web.HandlerOptions{Auth: auth, Hosts: s.Hosts, Proxies: s.Proxies, Log: s.log}, routes...)
	server := web.NewServer(handler, s.log)
	server.RegisterOnShutdown(pages.Close)
	server.RegisterOnShutdown(api.Close)
	s.log.Info("serving HTTP", "addr", l.Addr().String(), "logins", !auth.Open())
	return l.Addr().String(), serve(l, server, s.failed(l)), nil
}

// newAuth knows who may come in.
func newAuth(s served) (*web.Auth, error) {
	o := web.AuthOptions{SessionKey: s.SessionKey.Reveal(), Redis: s.rdb, Log: s.log}
	roles := func(l config.Login) (all []web.Role) {
		for _, r := range l.Roles {
			all = append(all, web.Role(r))
		}
		return all
	}
	for _, u := range s.Users {
		o.Users = append(o.Users, web.User{Name: u.Name, Hash: u.Hash.Reveal(), Roles: roles(u)})
	}
	for _, t := range s.Tokens {
		o.Tokens = append(o.Tokens, web.Token{Name: t.Name, Hash: t.Hash.Reveal(), Roles: roles(t)})
	}
	return web.NewAuth(o)
}

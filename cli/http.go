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
	"tiwsnap/web/api"
	"tiwsnap/web/asynqmon"
	"tiwsnap/web/health"
	"tiwsnap/web/metrics"
	"tiwsnap/web/pages"
)

// shutdownTimeout is how long open requests may continue when the process ends.
const shutdownTimeout = 5 * time.Second

// serving has what a process serves over HTTP.
type serving struct {
	sites   []*servedNamespace // one per namespace; the first has the settings of the process
	metrics *prometheus.Registry
	log     *slog.Logger
	// mayYield: if another process listens at the default address, do not serve, without
	// an error.
	mayYield bool
}

// servedNamespace has what a process serves of one namespace.
type servedNamespace struct {
	*connection
	limiters  map[string]*ratelimit.Limiter
	schedules []schedule.Schedule
	log       *slog.Logger
}

// path returns the name and base path of the i-th site.
func (h *servedNamespace) path(i int) web.Site {
	name := h.cfg.Namespace.String()
	if i == 0 {
		return web.Site{Name: name}
	}
	return web.Site{Name: name, Base: "/n/" + name}
}

// withNamespaceLabel adds the label namespace to metrics.
func withNamespaceLabel(metrics prometheus.Registerer, c config.Config) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"namespace": c.Namespace.String()}, metrics)
}

// httpServer is a running HTTP server.
type httpServer struct {
	addr string    // address; empty: it does not listen
	auth *web.Auth // nil if it does not listen
	stop func()
}

// replaceLogins replaces users, tokens and the session key.
func (h httpServer) replaceLogins(c config.HTTP) error {
	if h.auth == nil {
		return nil
	}
	users, tokens := logins(c)
	return h.auth.Replace(users, tokens, c.SessionKey.Reveal())
}

// serveHTTP serves the pages, the API and the metrics at the addresses that are set. The
// error has an exit code.
func serveHTTP(s serving) (httpServer, error) {
	cfg := s.sites[0].cfg
	var apis []*api.API
	for i, h := range s.sites {
		pictures, err := imageSource(h.cfg.Images)
		if err != nil {
			return httpServer{}, err
		}
		var first *api.API
		if i > 0 {
			first = apis[0]
		}
		one := api.New(api.Options{
			Redis: h.rdb, Namespace: h.cfg.Namespace, Ledger: h.ledger, Replicated: h.replicated(),
			CheckWebhook: h.cfg.Webhook.Check, CheckCallback: h.cfg.CheckCallback,
			Images: pictures, Limiters: h.limiters, Schedules: h.schedules, Version: version.Read().String(), Log: h.log,
			Base: h.path(i).Base, Beside: first,
		})
		apis = append(apis, one)
		withNamespaceLabel(s.metrics, h.cfg).MustRegister(metrics.NewCollector(metrics.Options{
			Redis: h.rdb, Namespace: h.cfg.Namespace, Ledger: h.ledger, Limiters: h.limiters, Version: version.Read().String(),
		}))
	}
	scraped := []web.Route{metrics.Route(s.metrics)}
	stopMetrics := func() {}
	if addr := cfg.Metrics.Addr; addr != "" {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return httpServer{}, fail(exitUnavailable,
				"metrics: %w; choose another address with TIWSNAP_METRICS_ADDR or --metrics-addr, or none", err)
		}
		s.log.Info("serving metrics", "addr", l.Addr().String())
		stopMetrics = serve(l, web.NewServer(scraped[0].Handler, s.log), s.failed(l))
		scraped = nil
	}
	if cfg.HTTP.Addr == "" {
		return httpServer{stop: stopMetrics}, nil
	}
	h, err := s.serve(cfg.HTTP, apis, scraped)
	if err != nil {
		stopMetrics()
		return httpServer{}, err
	}
	stopSite := h.stop
	h.stop = func() { stopSite(); stopMetrics() }
	return h, nil
}

// failed returns a function that logs the failure of a listener.
func (s serving) failed(l net.Listener) func(error) {
	return func(err error) { s.log.Error("HTTP is no longer served", "addr", l.Addr().String(), "err", err) }
}

// serve serves on l until stop is called or the server fails.
func serve(l net.Listener, server *http.Server, failed func(error)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := web.Serve(ctx, server, l, shutdownTimeout); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			failed(err)
		}
	}()
	return func() { cancel(); <-ended }
}

// serve serves all sites and the routes of the process.
func (s serving) serve(c config.HTTP, apis []*api.API, routes []web.Route) (httpServer, error) {
	users, tokens := logins(c)
	auth, err := web.NewAuth(web.AuthOptions{
		Users: users, Tokens: tokens, SessionKey: c.SessionKey.Reveal(),
		Redis: s.sites[0].rdb, Namespace: s.sites[0].cfg.Namespace, Log: s.log,
	})
	if err != nil {
		return httpServer{}, fail(exitConfig, "%w", err)
	}
	l, err := net.Listen("tcp", c.Addr)
	if errors.Is(err, syscall.EADDRINUSE) && s.mayYield && c.Addr == config.DefaultHTTPAddr {
		s.log.Warn("not serving HTTP: the default address is in use, most likely by another worker",
			"addr", c.Addr)
		return httpServer{stop: func() {}}, nil
	}
	if err != nil {
		return httpServer{}, fail(exitUnavailable,
			"HTTP: %w; choose another address with TIWSNAP_HTTP_ADDR or --http-addr, or none", err)
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); auth.Open() && (!ok || !tcp.IP.IsLoopback()) {
		l.Close()
		return httpServer{}, fail(
			exitConfig,
			"HTTP: other machines can reach %s, and without users and tokens anyone has full access: "+
				"set TIWSNAP_HTTP_USERS or _TOKENS, or listen on 127.0.0.1",
			l.Addr(),
		)
	}
	var sites []web.Site
	var closers []func()
	for i, h := range s.sites {
		path := h.path(i)
		shown := pages.New(pages.Options{Auth: auth, API: apis[i], Log: h.log})
		queues := asynqmon.New(asynqmon.Options{
			Redis: h.rdb, Namespace: h.cfg.Namespace, Base: path.Base, Log: h.log,
		})
		routes = append(routes, path.Under(slices.Concat(
			apis[i].Routes(), health.Routes(h.rdb, h.cfg.Namespace), shown.Routes(), queues.Routes(),
		)...)...)
		sites, closers = append(sites, path), append(closers, apis[i].Close)
	}
	if len(sites) == 1 {
		sites = nil
	}
	handler := web.NewHandler(web.HandlerOptions{
		Auth: auth, ProblemPage: pages.ShowProblem, Hosts: c.Hosts, Proxies: c.Proxies, Sites: sites, Log: s.log,
	}, routes...)
	server := web.NewServer(handler, s.log)
	for _, closeSite := range closers {
		server.RegisterOnShutdown(closeSite)
	}
	s.log.Info("serving HTTP", "addr", l.Addr().String(), "logins", !auth.Open())
	return httpServer{l.Addr().String(), auth, serve(l, server, s.failed(l))}, nil
}

// logins returns the users and tokens of the settings.
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

package cli

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"tiwsnap/config"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/roster"
	"tiwsnap/tiw"
	"tiwsnap/web/callback"
	"tiwsnap/web/metrics"
	"tiwsnap/worker"
)

// gcPercent is GOGC of a long-running process. An upload of 2 million rooms keeps 20 MB
// live until its end; Go's default of 100 would add as much garbage. 25 keeps the process
// below 64 MB and costs a few percent of the upload's time.
const gcPercent = 25

// tuneGC sets gcPercent, unless the environment sets GOGC or GOMEMLIMIT.
func tuneGC(e env) {
	if e.getenv("GOGC") == "" && e.getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

func newWorker(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run a worker; all workers share one rate limit",
		Long: `Run a worker: feed the batches, send their requests and poll for the results. All
workers together stay within the account's rate limit. A worker also serves the HTTP
API and the pages and, with a callback address, receives Tencent's callbacks. If the
configuration file lists several namespaces, it works for all of them, or for the one
chosen with --namespace.

SIGTERM stops the worker gracefully: it waits for the requests in flight and stores
their outcomes.` + reloadHelp,
		Example: `  tiwsnap worker
  tiwsnap worker --config tiwsnap.yml --http-addr ""`,
		Args: cobra.NoArgs,
	}
	moved := cmd.Flags().Bool("moved", false, "accept this endpoint, though the namespace has worked with another one")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "tiw.endpoint", "tiw.region", "tiw.timeout", "rate.limit",
		"rate.margin",
		"worker.concurrency", "worker.attempts", "worker.spool", "confirm.after", "confirm.share", "suspend_for",
		"callback.addr", "callback.url", "http.addr", "metrics.addr", "unknown", "unknown_grace", "retention",
		"images.store", "log.level", "log.format")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		r := newReloader(cmd, e, config.Credentials, config.RoomFiles)
		defer r.close()
		tuneGC(e)
		cfgs, err := loadConfigs(cmd, e, config.Credentials, config.RoomFiles)
		if err != nil {
			return err
		}
		all, err := connectAll(ctx, cfgs)
		if err != nil {
			return err
		}
		defer closeAll(all)
		log, level := newLogger(cfgs[0], e.stderr)
		if cfgs[0].Redis.URL.Reveal() == rdb.Embedded {
			log.Warn("Redis is embedded in this process: nothing is durable or shared. Set TIWSNAP_REDIS_URL to " +
				"use a Redis server")
		}
		registry := metrics.NewRegistry()
		var installed []*installation
		var sites []*servedNamespace
		for _, c := range all {
			if err := c.probe(ctx); err != nil {
				return err
			}
			n, err := install(ctx, c, c.log(log, len(all)), withNamespaceLabel(registry, c.cfg), *moved)
			if err != nil {
				return err
			}
			defer n.close()
			installed, sites = append(installed, n), append(sites, &n.servedNamespace)
		}
		// Callbacks are still received while the worker stops.
		stopCallbacks, err := serveCallbacks(installed, log)
		if err != nil {
			return err
		}
		defer stopCallbacks()
		h, err := serveHTTP(serving{sites: sites, metrics: registry, log: log, mayYield: true})
		if err != nil {
			return err
		}
		defer h.stop()
		go r.run(ctx, cfgs, log, level, func(next []config.Config) error {
			if err := h.replaceLogins(next[0].HTTP); err != nil {
				return err
			}
			for i, n := range installed {
				n.key.Replace(next[i].TencentCloud)
			}
			return nil
		})
		running, ctx := errgroup.WithContext(ctx)
		for _, n := range installed {
			running.Go(func() error { return n.worker.Run(ctx) })
		}
		if err := running.Wait(); err != nil {
			return fail(exitTempFail, "the worker did not stop gracefully: %w", err)
		}
		return nil
	}
	return cmd
}

// installation is a namespace that this process works for.
type installation struct {
	servedNamespace
	worker    *worker.Worker
	key       *config.Credential
	callbacks http.Handler // for its own callback URLs
	closers   []func()
}

// close closes the resources that install has opened.
func (n *installation) close() {
	for _, closeOne := range slices.Backward(n.closers) {
		closeOne()
	}
}

// log returns the log of a namespace, with its name if there are several.
func (c *connection) log(log *slog.Logger, of int) *slog.Logger {
	if of == 1 {
		return log
	}
	return log.With("namespace", c.cfg.Namespace)
}

// install creates the worker of a namespace. The error has an exit code.
func install(
	ctx context.Context, c *connection, log *slog.Logger, registry prometheus.Registerer, moved bool,
) (_ *installation, err error) {
	n := &installation{key: c.cfg.TencentCloud.Credential(log)}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	api, err := newTIW(c.cfg, n.key)
	if err != nil {
		return nil, err
	}
	n.closers = append(n.closers, func() { api.Close() })
	webhooks, closeWebhooks, err := newSender(c.cfg)
	if err != nil {
		return nil, err
	}
	n.closers = append(n.closers, closeWebhooks)
	schedules, err := newSchedules(c.cfg)
	if err != nil {
		return nil, err
	}
	copier, closeCopier, err := newCopier(c, log, registry)
	if err != nil {
		return nil, err
	}
	n.closers = append(n.closers, closeCopier)
	n.worker, err = worker.New(worker.Options{
		Redis:        c.rdb,
		TIW:          api,
		Namespace:    c.cfg.Namespace,
		RateLimit:    c.cfg.Rate.Limit,
		Margin:       c.cfg.Rate.Margin,
		Concurrency:  c.cfg.Worker.Concurrency,
		Attempts:     c.cfg.Worker.Attempts,
		CallTimeout:  c.cfg.TIW.Timeout,
		ConfirmAfter: c.cfg.Confirm.After,
		ConfirmShare: c.cfg.Confirm.Share,
		CallbackURL:  callbackURL(c.cfg),
		OnUnknown:    worker.OnUnknown(c.cfg.Unknown),
		UnknownGrace: unknownGrace(c.cfg),
		SuspendFor:   c.cfg.SuspendFor,
		Spool:        spoolFolder(c.cfg),
		Replicated:   c.replicated(),
		Retention:    c.cfg.Retention,
		Webhooks:     webhooks,
		Schedules:    schedules,
		Copier:       copier,
		Metrics:      registry,
		Log:          log,

		OtherCallbackURL: c.cfg.TIW.CallbackURL.Reveal(),
	})
	if err != nil {
		return nil, fail(exitConfig, "%w", err)
	}
	if err := c.useEndpoint(ctx, moved); err != nil {
		return nil, err
	}
	var evicts *rdb.EvictionError
	switch err := n.worker.CheckRedis(ctx); {
	case errors.As(err, &evicts):
		return nil, fail(exitConfig, "%w", err)
	case err != nil:
		return nil, c.redisError(err)
	}
	n.callbacks = callback.NewHandler(callback.Options{
		Keys: callbackKeys(c.cfg), Record: c.ledger.Callback, Log: log, Metrics: registry,
	})
	n.servedNamespace = servedNamespace{connection: c, limiters: n.worker.Limiters(), schedules: schedules, log: log}
	return n, nil
}

// useEndpoint records the endpoint of the namespace. If another one is recorded, it
// returns an error, unless moved is true. The error has an exit code.
func (c *connection) useEndpoint(ctx context.Context, moved bool) error {
	if moved {
		if err := c.checkMove(ctx); err != nil {
			return err
		}
	}
	err := gate.NewBreaker(c.rdb, c.cfg.Namespace).UseEndpoint(ctx, c.cfg.TIW.Endpoint, moved)
	var other *gate.EndpointError
	if errors.As(err, &other) {
		return fail(exitConfig, "%w: %s", err, other.Fix())
	}
	return c.redisError(err)
}

// checkMove returns an error while workers with the other endpoint are running, because
// they would continue with it. The error has an exit code.
func (c *connection) checkMove(ctx context.Context) error {
	err := gate.NewBreaker(c.rdb, c.cfg.Namespace).CheckEndpoint(ctx, c.cfg.TIW.Endpoint)
	var other *gate.EndpointError
	if !errors.As(err, &other) {
		return c.redisError(err)
	}
	running, err := roster.List(ctx, c.rdb, c.cfg.Namespace)
	if err != nil {
		return c.redisError(err)
	}
	if len(running) == 0 {
		return nil
	}
	var who []string
	for _, w := range running[:min(len(running), 5)] {
		who = append(who, fmt.Sprintf("%s (process %d)", w.Host, w.PID))
	}
	if n := len(running) - len(who); n > 0 {
		who = append(who, fmt.Sprintf("%d more", n))
	}
	return fail(exitConfig, "--moved: workers of namespace %s still run with %s: %s; stop them first (a killed "+
		"worker is forgotten after %s)", c.cfg.Namespace, other.Known, strings.Join(who, ", "), roster.Timeout)
}

// callbackLife is the validity of a callback URL. After three days neither Tencent nor
// tiwsnap waits for the result.
const callbackLife = 72 * time.Hour

// callbackURL returns a function that makes the CallbackURL of an attempt. It returns nil
// if tiwsnap receives no callbacks.
func callbackURL(c config.Config) func(snapshot string, attempt int) string {
	if c.Callback.URL == "" {
		return nil
	}
	keys := callbackKeys(c)
	return func(snapshot string, attempt int) string {
		return keys.URL(c.Callback.URL, snapshot, attempt, time.Now().Add(callbackLife))
	}
}

// spoolFolder returns the folder for outcomes while Redis is unavailable. Each Redis and
// each namespace has its own, so that no outcome is stored in another one.
func spoolFolder(c config.Config) string {
	dir := c.Worker.Spool
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = os.TempDir() // a container's user has no home
		}
		dir = filepath.Join(cache, "tiwsnap", "spool")
	}
	where := rdb.Redact(c.Redis.URL.Reveal())
	if c.Namespace != keys.Default { // the default keeps the folder of releases without namespaces
		where += " " + c.Namespace.String()
	}
	sum := sha256.Sum256([]byte(where))
	return filepath.Join(dir, hex.EncodeToString(sum[:8]))
}

// unknownGrace returns how long an unknown outcome waits for its callback: 0 if tiwsnap
// receives no callbacks.
func unknownGrace(c config.Config) time.Duration {
	if c.Callback.URL == "" {
		return 0
	}
	return c.UnknownGrace
}

// callbackKeys returns the callback keys of a namespace. Namespaces may share a secret:
// each derives its own key, so a URL of one is invalid for another with the same ids.
func callbackKeys(c config.Config) tiw.CallbackKeys {
	secret := func(s config.Secret) string {
		if s.Empty() || c.Namespace == keys.Default {
			return s.Reveal()
		}
		h := hmac.New(sha256.New, []byte(s.Reveal()))
		io.WriteString(h, "namespace "+c.Namespace.String())
		return hex.EncodeToString(h.Sum(nil))
	}
	return tiw.NewCallbackKeys(secret(c.Callback.Key), secret(c.Callback.KeyOld))
}

// serveCallbacks listens for the callbacks of all namespaces until stop is called, if
// callback.addr is set. The error has an exit code.
func serveCallbacks(all []*installation, log *slog.Logger) (stop func(), err error) {
	addr := all[0].cfg.Callback.Addr
	if addr == "" {
		return func() {}, nil
	}
	srv := callback.NewServer(addr, callbackHandler(all))
	srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	listener, err := net.Listen("tcp", srv.Addr)
	if err != nil {
		return nil, fail(exitUnavailable, "callbacks: %w; choose another address with TIWSNAP_CALLBACK_ADDR or "+
			"--callback-addr", err)
	}
	log.Info("listening for callbacks", "addr", listener.Addr().String())
	return serve(listener, srv, func(err error) {
		log.Error("no longer receiving callbacks; results come from polling alone", "err", err)
	}), nil
}

// callbackHandler routes a callback to the namespace whose key has signed its URL. The
// first namespace refuses and counts unsigned ones.
func callbackHandler(all []*installation) http.Handler {
	keys := make([]tiw.CallbackKeys, len(all))
	for i, n := range all {
		keys[i] = callbackKeys(n.cfg)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		whose := 0
		for i := range keys {
			if _, _, err := keys[i].Verify(r.URL.EscapedPath(), time.Now()); err == nil {
				whose = i
			}
		}
		all[whose].callbacks.ServeHTTP(w, r)
	})
}

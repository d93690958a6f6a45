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

// gcPercent is by how much the heap of a long-running process grows before it is
// collected. Of a list of 2 million rooms that comes in 20 MB stay until its end, and with
// Go's 100 percent as much garbage again: this keeps the process below 64 MB and
// costs a few percent of the time that reading the list takes.
const gcPercent = 25

// collectEarly sets that, unless the environment sets another pace.
func collectEarly(e env) {
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

SIGTERM ends the process in order: it waits for the requests in flight and stores their
outcomes. SIGHUP makes it ` + reloadHelp,
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
		collectEarly(e)
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
		var sites []*hosted
		for _, c := range all {
			if err := c.probe(ctx); err != nil {
				return err
			}
			n, err := install(ctx, c, c.log(log, len(all)), ofNamespace(registry, c.cfg), *moved)
			if err != nil {
				return err
			}
			defer n.close()
			installed, sites = append(installed, n), append(sites, &n.hosted)
		}
		// Callbacks of calls that end while the worker stops still come in.
		stopCallbacks, err := serveCallbacks(installed, log)
		if err != nil {
			return err
		}
		defer stopCallbacks()
		h, err := serveHTTP(served{sites: sites, metrics: registry, log: log, mayYield: true})
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
			return fail(exitTempFail, "the worker did not stop in order: %w", err)
		}
		return nil
	}
	return cmd
}

// installation is one namespace that this process works for.
type installation struct {
	hosted
	worker    *worker.Worker
	key       *config.Credential
	callbacks http.Handler // of its own URLs
	closers   []func()
}

// close ends what install has opened.
func (n *installation) close() {
	for _, closeOne := range slices.Backward(n.closers) {
		closeOne()
	}
}

// log is the log of a namespace, which names it where there are several.
func (c *connection) log(log *slog.Logger, of int) *slog.Logger {
	if of == 1 {
		return log
	}
	return log.With("namespace", c.cfg.Namespace)
}

// install makes the worker of one namespace. The error is ready to return.
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
		return nil, c.away(err)
	}
	n.callbacks = callback.NewHandler(callback.Options{
		Keys: callbackKeys(c.cfg), Record: c.ledger.Callback, Log: log, Metrics: registry,
	})
	n.hosted = hosted{connection: c, limiters: n.worker.Limiters(), schedules: schedules, log: log}
	return n, nil
}

// useEndpoint remembers the endpoint that the namespace works with. The error is
// ready to return: the namespace works with another one, unless it has moved.
func (c *connection) useEndpoint(ctx context.Context, moved bool) error {
	if moved {
		if err := c.mayMove(ctx); err != nil {
			return err
		}
	}
	err := gate.NewBreaker(c.rdb, c.cfg.Namespace).UseEndpoint(ctx, c.cfg.TIW.Endpoint, moved)
	var other *gate.EndpointError
	if errors.As(err, &other) {
		return fail(exitConfig, "%w: %s", err, other.Fix())
	}
	return c.away(err)
}

// mayMove refuses a move while workers with the other endpoint run: they would go on there. The error is ready to
// return.
func (c *connection) mayMove(ctx context.Context) error {
	err := gate.NewBreaker(c.rdb, c.cfg.Namespace).CheckEndpoint(ctx, c.cfg.TIW.Endpoint)
	var other *gate.EndpointError
	if !errors.As(err, &other) {
		return c.away(err)
	}
	running, err := roster.List(ctx, c.rdb, c.cfg.Namespace)
	if err != nil {
		return c.away(err)
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
	return fail(exitConfig, "--moved: workers of namespace %s still run with %s: %s; stop them first (one that was "+
		"killed "+
		"is forgotten after %s)", c.cfg.Namespace, other.Known, strings.Join(who, ", "), roster.Gone)
}

// callbackLife is how long a callback URL is good for. After three days neither
// Tencent nor tiwsnap waits for the result any more.
const callbackLife = 72 * time.Hour

// callbackURL returns what makes the CallbackURL of an attempt, which leads to
// tiwsnap. It is nil where results come by polling alone.
func callbackURL(c config.Config) func(snapshot string, attempt int) string {
	if c.Callback.URL == "" {
		return nil
	}
	keys := callbackKeys(c)
	return func(snapshot string, attempt int) string {
		return keys.URL(c.Callback.URL, snapshot, attempt, time.Now().Add(callbackLife))
	}
}

// spoolFolder is where outcomes lie while Redis is away. Each Redis and each
// namespace has its own: an outcome must not be told to another one.
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
	if c.Namespace != keys.Default { // whose folder is that of releases without namespaces
		where += " " + c.Namespace.String()
	}
	sum := sha256.Sum256([]byte(where))
	return filepath.Join(dir, hex.EncodeToString(sum[:8]))
}

// unknownGrace is how long an unknown outcome waits for its callback: not at
// all where callbacks do not come to tiwsnap.
func unknownGrace(c config.Config) time.Duration {
	if c.Callback.URL == "" {
		return 0
	}
	return c.UnknownGrace
}

// callbackKeys are the keys of a namespace. Namespaces may share their secret: what
// it signs for one is not good for another, though their snapshots have one id.
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

// serveCallbacks listens for the callbacks of all namespaces, where that is set,
// until stop is called. The error is ready to return.
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

// callbackHandler gives a callback to the namespace whose key has signed its URL,
// and what nobody has signed to the first one, which refuses and counts it.
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

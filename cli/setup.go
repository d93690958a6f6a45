package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"tiwsnap/backlog"
	"tiwsnap/config"
	"tiwsnap/internal/embedded"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tiw"
	"tiwsnap/web/health"
)

// loadConfig reads the settings of one namespace: the selected one, or the first. The
// error has an exit code.
func loadConfig(cmd *cobra.Command, e env, needs ...config.Need) (config.Config, error) {
	all, err := loadConfigs(cmd, e, needs...)
	if err != nil {
		return config.Config{}, err
	}
	return all[0], nil
}

// loadConfigs reads the settings of all namespaces. The error lists all invalid settings
// and exits with exitConfig.
func loadConfigs(cmd *cobra.Command, e env, needs ...config.Need) ([]config.Config, error) {
	file, err := cmd.Flags().GetString("config")
	if err != nil {
		return nil, err
	}
	all, err := config.LoadAll(config.Source{File: file, Environ: e.environ(), Flags: cmd.Flags()}, needs...)
	if err != nil {
		return nil, fail(exitConfig, "bad configuration:\n  %s", strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	return all, nil
}

// openRedis connects to the Redis of the settings. Errors exit with exitUnavailable.
func openRedis(ctx context.Context, c config.Config) (redis.UniversalClient, func(), error) {
	client, closeRedis, err := dialRedis(ctx, c)
	if err != nil {
		return nil, nil, &exitError{exitUnavailable, withFix(err)}
	}
	return client, closeRedis, nil
}

// withFix adds the fix to an error of Redis, if there is a known one.
func withFix(err error) error {
	if fix := rdb.Fix(err); fix != "" {
		return fmt.Errorf("%w; %s", err, fix)
	}
	return err
}

// probe checks that Redis accepts the commands of a long-running process. The error has an
// exit code.
func (c *connection) probe(ctx context.Context) error {
	if err := probeRedis(ctx, c.cfg, c.rdb); err != nil {
		return &exitError{exitUnavailable, withFix(err)}
	}
	return nil
}

func probeRedis(ctx context.Context, c config.Config, client redis.UniversalClient) error {
	return rdb.Probe(ctx, client, c.Redis.URL.Reveal(), health.ProbeKeys(c.Namespace)...)
}

// connection is a connection to the Redis of the settings, with the stores on it.
type connection struct {
	cfg     config.Config
	rdb     redis.UniversalClient
	ledger  *ledger.Ledger
	backlog *backlog.Backlog
	results *results.Reader
	close   func()
}

// connect reads the settings and connects to Redis. The error has an exit code.
func connect(cmd *cobra.Command, e env, needs ...config.Need) (*connection, error) {
	cfg, err := loadConfig(cmd, e, needs...)
	if err != nil {
		return nil, err
	}
	return connectWith(cmd.Context(), cfg)
}

// connectWith connects to Redis, which must not be embedded. The error has an exit code.
func connectWith(ctx context.Context, cfg config.Config) (*connection, error) {
	if err := notEmbedded(cfg); err != nil {
		return nil, err
	}
	return connectTo(ctx, cfg)
}

// withRedis returns a RunE that connects to Redis and calls run.
func withRedis(e env, run func(cmd *cobra.Command, c *connection, args []string) error,
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		return run(cmd, c, args)
	}
}

// notEmbedded returns an error for an embedded Redis, whose data this process would lose
// at its end. The error has an exit code.
func notEmbedded(cfg config.Config) error {
	if cfg.Redis.URL.Reveal() != rdb.Embedded {
		return nil
	}
	return fail(exitConfig, "TIWSNAP_REDIS_URL is \"embedded\", a Redis inside one worker, which no other process "+
		"can reach: set it to the URL of the workers' Redis (a worker with an embedded Redis serves the pages "+
		"and the API itself)")
}

// connectEach is connect for each namespace of the settings. The caller closes them.
func connectEach(cmd *cobra.Command, e env) ([]*connection, error) {
	cfgs, err := loadConfigs(cmd, e)
	if err != nil {
		return nil, err
	}
	if err := notEmbedded(cfgs[0]); err != nil {
		return nil, err
	}
	return connectAll(cmd.Context(), cfgs)
}

// connectTo connects to a Redis, which may be embedded. The error has an exit code.
func connectTo(ctx context.Context, cfg config.Config) (*connection, error) {
	client, closeRedis, err := openRedis(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return newConnection(client, closeRedis, cfg)
}

// connectAll connects each namespace to Redis with its own client; they share an embedded
// Redis. The caller closes all. The error has an exit code.
func connectAll(ctx context.Context, cfgs []config.Config) (all []*connection, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
		}
	}()
	for i, cfg := range cfgs {
		var c *connection
		if i > 0 && cfg.Redis.URL.Reveal() == rdb.Embedded {
			c, err = newConnection(all[0].rdb, func() {}, cfg)
		} else {
			c, err = connectTo(ctx, cfg)
		}
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

// closeAll closes the connections, the first one last, because others may share it.
func closeAll(all []*connection) {
	for _, c := range slices.Backward(all) {
		c.close()
	}
}

// newConnection returns a connection on a client. On error it closes the client; the error
// has an exit code.
func newConnection(client redis.UniversalClient, closeRedis func(), cfg config.Config) (*connection, error) {
	l := ledger.New(client, ledger.Options{Namespace: cfg.Namespace, Retention: cfg.Retention})
	c := &connection{cfg, client, l, backlog.New(client, cfg.Namespace),
		results.NewReader(client, cfg.Namespace), closeRedis}
	if err := c.locateCopies(); err != nil {
		closeRedis()
		return nil, err
	}
	return c, nil
}

// batch returns the batch of an id. The error has an exit code.
func (c *connection) batch(ctx context.Context, id string) (ledger.Batch, error) {
	b, err := c.ledger.Batch(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return b, c.unknownID(id)
	}
	return b, c.redisError(err)
}

// redisError adds exitUnavailable and the address to an error of Redis. It returns nil,
// and errors with an exit code, unchanged.
func (c *connection) redisError(err error) error {
	var ready *exitError
	if err == nil || errors.As(err, &ready) {
		return err
	}
	return fail(exitUnavailable, "Redis at %s: %w", rdb.Redact(c.cfg.Redis.URL.Reveal()), withFix(err))
}

func dialRedis(ctx context.Context, c config.Config) (redis.UniversalClient, func(), error) {
	logging.Disable() // go-redis would log every failed dial; its errors report it once
	url := c.Redis.URL.Reveal()
	t := c.Redis.TLS
	if url == rdb.Embedded {
		client, closeRedis, err := embedded.Open()
		return client, func() { closeRedis() }, err
	}
	client, closeRedis, err := rdb.OpenTLS(url, rdb.TLS{CA: t.CA, Cert: t.Cert, Key: t.Key, ServerName: t.ServerName})
	if err != nil {
		return nil, nil, err
	}
	if err := rdb.Ping(ctx, client, url); err != nil {
		closeRedis()
		return nil, nil, err
	}
	return client, func() { closeRedis() }, nil
}

// newTIW returns a client of Tencent's API. The error has an exit code.
func newTIW(c config.Config, key *config.Credential) (*tiw.Client, error) {
	client, err := tiw.New(tiw.Options{
		Endpoint:   c.TIW.Endpoint,
		Region:     c.TIW.Region,
		Credential: key,
		Timeout:    c.TIW.Timeout,
		MaxConns:   c.Worker.Concurrency,
	})
	if err != nil {
		return nil, fail(exitConfig, "%w", err)
	}
	return client, nil
}

// newLogger returns the log of a long-running command, and its level.
func newLogger(c config.Config, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.Log.Level)
	opt := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt)), level
	}
	return slog.New(slog.NewTextHandler(w, opt)), level
}

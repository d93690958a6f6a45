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

// loadConfig reads the settings for a command that works on one namespace: the
// chosen one, or the first. The error is ready to return, as of loadConfigs.
func loadConfig(cmd *cobra.Command, e env, needs ...config.Need) (config.Config, error) {
	all, err := loadConfigs(cmd, e, needs...)
	if err != nil {
		return config.Config{}, err
	}
	return all[0], nil
}

// loadConfigs reads the settings of all namespaces for a command that serves them.
// The error is ready to return: it lists every fault and exits with exitConfig.
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

// openRedis connects to the Redis of the settings. The error is ready to
// return: where Redis does not answer it exits with exitUnavailable.
func openRedis(ctx context.Context, c config.Config) (redis.UniversalClient, func(), error) {
	client, closeRedis, err := dialRedis(ctx, c)
	if err != nil {
		return nil, nil, &exitError{exitUnavailable, withFix(err)}
	}
	return client, closeRedis, nil
}

// withFix adds what to do about an error of Redis, where that is known.
func withFix(err error) error {
	if fix := rdb.Fix(err); fix != "" {
		return fmt.Errorf("%w; %s", err, fix)
	}
	return err
}

// probe finds out whether Redis takes what a process needs that runs on. The error is ready to return.
func (c *connection) probe(ctx context.Context) error {
	if err := probeRedis(ctx, c.cfg, c.rdb); err != nil {
		return &exitError{exitUnavailable, withFix(err)}
	}
	return nil
}

func probeRedis(ctx context.Context, c config.Config, client redis.UniversalClient) error {
	return rdb.Probe(ctx, client, c.Redis.URL.Reveal(), health.ProbeKeys(c.Namespace)...)
}

// connection is what a command has in hand that works on the Redis of the
// settings.
type connection struct {
	cfg     config.Config
	rdb     redis.UniversalClient
	ledger  *ledger.Ledger
	backlog *backlog.Backlog
	results *results.Reader
	close   func()
}

// connect reads the settings and connects to Redis. The error is ready to
// return.
func connect(cmd *cobra.Command, e env, needs ...config.Need) (*connection, error) {
	cfg, err := loadConfig(cmd, e, needs...)
	if err != nil {
		return nil, err
	}
	if err := notEmbedded(cfg); err != nil {
		return nil, err
	}
	return connectTo(cmd.Context(), cfg)
}

// notEmbedded refuses a Redis inside this process: what it took would be gone with
// it. The error is ready to return.
func notEmbedded(cfg config.Config) error {
	if cfg.Redis.URL.Reveal() != rdb.Embedded {
		return nil
	}
	return fail(exitConfig, "TIWSNAP_REDIS_URL is \"embedded\", a Redis inside one worker, which no other process "+
		"can reach: "+
		"give the URL of the workers' Redis (a worker with an embedded Redis serves the pages and the API itself)")
}

// connectEach is connect for each namespace of the settings. Close all of them.
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

// connectTo connects to any Redis, one inside this process included. The error
// is ready to return.
func connectTo(ctx context.Context, cfg config.Config) (*connection, error) {
	client, closeRedis, err := openRedis(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return newConnection(client, closeRedis, cfg)
}

// connectAll connects to the Redis of all namespaces. Each has connections of its
// own, but where Redis is embedded. Close each. The error is ready to return.
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

// closeAll closes the connections, the first one last: others may share it.
func closeAll(all []*connection) {
	for _, c := range slices.Backward(all) {
		c.close()
	}
}

// newConnection is what a command has in hand on a client. The error is ready to
// return; Redis is closed then.
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

// away makes an error of Redis ready to return: try again later. Errors that
// are ready already, and nil, stay as they are.
func (c *connection) away(err error) error {
	var ready *exitError
	if err == nil || errors.As(err, &ready) {
		return err
	}
	return fail(exitUnavailable, "Redis at %s: %w", rdb.Redact(c.cfg.Redis.URL.Reveal()), withFix(err))
}

func dialRedis(ctx context.Context, c config.Config) (redis.UniversalClient, func(), error) {
	logging.Disable() // go-redis would print every dial that fails, and retries; its errors say it once
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

// newTIW returns a client of the API with that API key.
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

// newLogger returns the log of a long-running command, and its level to change.
func newLogger(c config.Config, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.Log.Level)
	opt := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt)), level
	}
	return slog.New(slog.NewTextHandler(w, opt)), level
}

package cli

import (
	"context"
	"sync"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/gate"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/web/metrics"
)

func newWeb(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "web",
		Short: "Serve the pages, the API and asynqmon, without a worker",
		Long: `Serve the pages, the HTTP API, asynqmon and the metrics of the workers on the same
Redis, without taking snapshots. It needs the workers' configuration file, but not
Tencent's API key. Any number of processes may run; with the same http.session_key a
login is valid in all of them.

SIGTERM ends the process after its open requests.` + reloadHelp,
		Example: `  tiwsnap web
  tiwsnap web --http-addr 127.0.0.1:8081 --redis-url redis://db:6379/0`,
		Args: cobra.NoArgs,
	}
	config.Flags(cmd.Flags(), "redis.url", "namespace", "rate.limit", "rate.margin", "confirm.share",
		"http.addr", "metrics.addr", "retention", "log.level", "log.format")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		tuneGC(e)
		r := newReloader(cmd, e)
		defer r.close()
		cfgs, err := loadConfigs(cmd, e)
		if err != nil {
			return err
		}
		if err := notEmbedded(cfgs[0]); err != nil {
			return err
		}
		all, err := connectAll(ctx, cfgs)
		if err != nil {
			return err
		}
		defer closeAll(all)
		ctx, stop := context.WithCancel(ctx)
		var loops sync.WaitGroup
		defer func() { stop(); loops.Wait() }()
		if cfgs[0].HTTP.Addr == "" {
			return fail(exitConfig, "TIWSNAP_HTTP_ADDR is empty, so nothing would be served: set it, for example to %s",
				config.DefaultHTTPAddr)
		}
		log, level := newLogger(cfgs[0], e.stderr)
		var sites []*servedNamespace
		for _, c := range all {
			if err := c.probe(ctx); rdb.Misconf(err) {
				log.Warn("Redis refuses writes: serving reads only", "err", err)
			} else if err != nil {
				return err
			}
			schedules, err := newSchedules(c.cfg)
			if err != nil {
				return err
			}
			g, err := gate.New(gate.Options{
				Redis: c.rdb, Namespace: c.cfg.Namespace,
				RateLimit: c.cfg.Rate.Limit, Margin: c.cfg.Rate.Margin, DescribeShare: c.cfg.Confirm.Share, Follows: true,
			})
			if err != nil {
				return fail(exitConfig, "%w", err)
			}
			defer g.Close(context.WithoutCancel(ctx)) // it holds no permits, so Close does not wait
			one := &servedNamespace{connection: c, limiters: g.Limiters(), schedules: schedules, log: c.log(log, len(all))}
			loops.Go(func() {
				c.ledger.WatchLosses(ctx, ledger.LossWatch{
					Dir: spoolFolder(c.cfg), Notify: !c.cfg.Webhook.URL.Empty(), Log: one.log,
				})
			})
			sites = append(sites, one)
		}
		h, err := serveHTTP(serving{sites: sites, metrics: metrics.NewRegistry(), log: log})
		if err != nil {
			return err
		}
		defer h.stop()
		r.run(ctx, cfgs, log, level, func(next []config.Config) error { return h.replaceLogins(next[0].HTTP) })
		return nil
	}
	return cmd
}

package cli

import (
	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/worker"
)

func newWorker(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run the snapshots; any number of workers share one request quota",
		Long: `Run the snapshots: feed the batches, send the requests at the account's quota
however many workers there are, and ask what became of them. SIGTERM ends it in
order: calls that are out are waited for and their outcomes are written.`,
		Args: cobra.NoArgs,
	}
	config.Flags(cmd.Flags(), "redis.url", "tiw.endpoint", "tiw.region", "tiw.timeout", "tiw.account", "rate.limit",
		"worker.concurrency", "worker.attempts", "confirm.after", "retention", "log.level", "log.format")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		c, err := connect(cmd, e, config.Credentials)
		if err != nil {
			return err
		}
		defer c.close()
		log := newLogger(c.cfg, e.stderr)
		api, err := newTIW(c.cfg, log)
		if err != nil {
			return err
		}
		defer api.Close()
		webhooks, closeWebhooks, err := newSender(c.cfg)
		if err != nil {
			return err
		}
		defer closeWebhooks()
		w, err := worker.New(worker.Options{
			Redis:        c.rdb,
			TIW:          api,
			Account:      c.cfg.TIW.Account,
			RateLimit:    c.cfg.Rate.Limit,
			Concurrency:  c.cfg.Worker.Concurrency,
			Attempts:     c.cfg.Worker.Attempts,
			CallTimeout:  c.cfg.TIW.Timeout,
			ConfirmAfter: c.cfg.Confirm.After,
			Retention:    c.cfg.Retention,
			Webhooks:     webhooks,
			Log:          log,
		})
		if err != nil {
			return fail(exitConfig, "%w", err)
		}
		if err := w.Run(ctx); err != nil {
			return fail(exitTempFail, "worker stopped, not all in order: %w", err)
		}
		return nil
	}
	return cmd
}

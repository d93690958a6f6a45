package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/keys"
	"tiwsnap/ratelimit"
)

func newLimit(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "limit [N|default]",
		Short: "Show or set how many snapshots a second are requested, for all workers at once",
		Long: `Show how many requests to make a snapshot the account may send in a second, and
what is left of them where somebody else spends too. N sets the limit for all
workers of the account, at once and until "default" gives it back to the
configuration (rate.limit).`,
		Args: cobra.MaximumNArgs(1),
	}
	config.Flags(cmd.Flags(), "redis.url", "tiw.account", "rate.limit", "rate.margin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		limit := 0
		if len(args) > 0 && args[0] != "default" {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 || n > ratelimit.MaxLimit {
				return fail(exitUsage, "%q is no limit: give a whole number from 1 to %d, or default", args[0], ratelimit.MaxLimit)
			}
			limit = n
		}
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		key := keys.Limit(c.cfg.TIW.Account, "CreateSnapshotTask")
		if len(args) > 0 {
			if err := ratelimit.Set(ctx, c.rdb, key, limit); err != nil {
				return c.away(err)
			}
		}
		l, err := ratelimit.New(ratelimit.Options{Redis: c.rdb, Key: key, Limit: c.cfg.Rate.Limit, Margin: c.cfg.Rate.Margin})
		if err != nil {
			return fail(exitConfig, "%w", err)
		}
		defer l.Close(ctx)
		s, err := l.State(ctx)
		if err != nil {
			return c.away(err)
		}
		why := ""
		if s.Effective < s.Limit {
			why = "  (somebody else spends the same quota)"
		}
		fmt.Fprintf(e.stdout, "configured              %d a second\nin force                %d\nleft of it              %d%s\nmargin                  %s\nused in the last second %d\nfullest second of late  %d\n",
			c.cfg.Rate.Limit, s.Limit, s.Effective, why, s.Margin.Round(100*time.Microsecond), s.Used, s.Fullest)
		return nil
	}
	return cmd
}

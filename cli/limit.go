package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/ratelimit"
)

func newLimit(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "limit [N|default]",
		Short: "Show or set the rate limit of all workers",
		Long: `Show or set the rate limit of CreateSnapshotTask, in requests per second. If other
clients use the same account, the output also shows the available rate.

N sets the limit of all workers at once, until "default" returns to the configured
limit (rate.limit). If the workers are configured with different limits, the lowest
applies. The limit of a worker that has stopped is forgotten within a minute.`,
		Example: `  tiwsnap limit
  tiwsnap limit 10
  tiwsnap limit default`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions([]string{"default"}, cobra.ShellCompDirectiveNoFileComp),
	}
	output := outputFlag(cmd, "table", "json")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "rate.limit", "rate.margin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		limit := 0
		if len(args) > 0 && args[0] != "default" {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 || n > ratelimit.MaxLimit {
				return fail(exitUsage, "%q is not a limit: it must be a whole number from 1 to %d, or default",
					args[0], ratelimit.MaxLimit)
			}
			limit = n
		}
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		key := c.cfg.Namespace.Limit("CreateSnapshotTask")
		if len(args) > 0 {
			if err := ratelimit.Set(ctx, c.rdb, key, limit); err != nil {
				return c.redisError(err)
			}
			c.audit(e, "set-limit", "", args[0])
			if limit > defaultLimit {
				fmt.Fprintf(e.stderr, "warning: Tencent allows %d requests per second by default; "+
					"set more only if it has raised your limit\n", defaultLimit)
			}
		}
		s, err := createLimit(ctx, c.rdb, c.cfg)
		if err != nil {
			return c.redisError(err)
		}
		if *output == "json" {
			return printJSON(e.stdout, map[string]any{
				"configured": c.cfg.Rate.Limit, "limit": s.Limit, "available": s.Effective,
				"margin_ms": float64(s.Margin.Round(100*time.Microsecond)) / float64(time.Millisecond),
				"used":      s.Used, "peak": s.Peak,
			}, true)
		}
		why := ""
		if s.Effective < s.Limit {
			why = "  (other clients of the account use the rest)"
		}
		if differ := limitsDiffer(s); differ != "" {
			fmt.Fprintf(e.stderr, "%s; %s\n", differ, limitsFix)
		}
		return printFields(e.stdout,
			"configured", fmt.Sprintf("%d per second", c.cfg.Rate.Limit),
			"current limit", s.Limit,
			"available rate", fmt.Sprintf("%d%s", s.Effective, why),
			"safety margin", s.Margin.Round(100*time.Microsecond),
			"used in the last second", s.Used,
			"peak second (last 2 min)", s.Peak,
		)
	}
	return cmd
}

// defaultLimit is how many requests of CreateSnapshotTask per second Tencent allows an account, unless it has raised
// the limit: https://cloud.tencent.com/document/api/1137/59004.
const defaultLimit = 20

// createLimit reads the state of the rate limit of CreateSnapshotTask.
func createLimit(ctx context.Context, rdb redis.UniversalClient, c config.Config) (ratelimit.State, error) {
	return ratelimit.Read(ctx, ratelimit.Options{
		Redis: rdb, Key: c.Namespace.Limit("CreateSnapshotTask"), Limit: c.Rate.Limit, Margin: c.Rate.Margin,
	})
}

// limitsDiffer returns a message if workers are configured with different limits,
// otherwise an empty string.
func limitsDiffer(s ratelimit.State) string {
	if s.Lowest == s.Highest {
		return ""
	}
	text := fmt.Sprintf("workers have different rate limits, %d to %d requests per second: %d applies",
		s.Lowest, s.Highest, s.Limit)
	if s.Limit != s.Lowest {
		text += ", as set with tiwsnap limit"
	}
	return text
}

const limitsFix = "give all workers the same TIWSNAP_RATE_LIMIT, or set the limit for all: tiwsnap limit N"

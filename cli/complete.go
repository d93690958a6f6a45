package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/internal/plural"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
)

const (
	// completionTimeout bounds a completion from Redis.
	completionTimeout = 2 * time.Second
	// maxCompleted is the number of batches that completion offers.
	maxCompleted = 100
)

// completeBatches completes the names of the newest batches for which good is true.
// Errors of Redis are ignored, because a shell cannot show them.
func completeBatches(e env, good func(ledger.Batch) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, begin string) ([]string, cobra.ShellCompDirective) {
		names, _ := batchNames(cmd, e, begin, good)
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func batchNames(cmd *cobra.Command, e env, begin string, good func(ledger.Batch) bool) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), completionTimeout)
	defer cancel()
	cfg, err := loadConfig(cmd, e)
	if err != nil || cfg.Redis.URL.Reveal() == rdb.Embedded {
		return nil, err
	}
	client, closeRedis, err := dialRedis(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer closeRedis()
	var names []string
	var more bool
	for b, err := range (batchFilter{}).batches(ctx, ledger.New(client, ledger.Options{Namespace: cfg.Namespace}), &more) {
		if err != nil {
			return names, err
		}
		if strings.HasPrefix(b.ID, begin) && good(b) {
			names = append(names, fmt.Sprintf("%s\t%s, %s", b.ID, plural.Of(b.Total, "room"), b.State))
		}
		if len(names) == maxCompleted {
			break
		}
	}
	return names, nil
}

// anyBatch accepts every batch.
func anyBatch(ledger.Batch) bool { return true }

// completeSchedules completes the names of the schedules.
func completeSchedules(e env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if cfg, err := loadConfig(cmd, e); err == nil && len(args) == 0 {
			for _, s := range cfg.Schedules {
				names = append(names, s.Name+"\t"+s.Cron)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

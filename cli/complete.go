package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
)

const (
	// completeTime is how long a shell waits for names.
	completeTime = 2 * time.Second
	// maxCompleted is how many names are offered, of the newest batches.
	maxCompleted = 100
)

// completeBatches offers the names of the newest batches that a command is good
// for. It says nothing where Redis is away: a shell has no place for errors.
func completeBatches(e env, good func(ledger.Batch) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, begin string) ([]string, cobra.ShellCompDirective) {
		names, _ := batchNames(cmd, e, begin, good)
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func batchNames(cmd *cobra.Command, e env, begin string, good func(ledger.Batch) bool) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), completeTime)
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
			names = append(names, fmt.Sprintf("%s\t%s, %s", b.ID, plural(b.Total, "room"), b.State))
		}
		if len(names) == maxCompleted {
			break
		}
	}
	return names, nil
}

// anyBatch is for commands that are good for every batch.
func anyBatch(ledger.Batch) bool { return true }

// completeSchedules offers the names of the schedules.
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

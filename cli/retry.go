package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/internal/plural"
	"tiwsnap/ledger"
)

func newRetry(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry ID... | BATCH... --failed|--held",
		Short: "Retry snapshots that failed, were canceled, or are held for review",
		Long: `Retry snapshots that failed, were canceled, or are held for review. Their count of
attempts restarts at zero. --failed and --held retry all such snapshots of batches.

A snapshot is held for review if the outcome of its last request is unknown. Retrying
it may create a second task.

Exit code 1 if there is nothing to retry.`,
		Example: `  tiwsnap retry monday.17
  tiwsnap retry monday --failed
  tiwsnap retry monday --failed --code InternalError
  tiwsnap retry monday --held`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeBatches(e, func(b ledger.Batch) bool { return b.Failed+b.Unknown > 0 }),
	}
	failed := cmd.Flags().Bool("failed", false, "all failed snapshots of the batches")
	held := cmd.Flags().Bool("held", false, "all snapshots of the batches that are held for review")
	code := cmd.Flags().
		String("code", "", "only those with this error `code`; InternalError includes InternalError.Timeout")
	output := outputFlag(cmd, "table", "json", "jsonl")
	cmd.MarkFlagsMutuallyExclusive("failed", "held")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if *code != "" && !*failed && !*held {
			return fail(exitUsage, "--code needs --failed or --held")
		}
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		r := retrier{c, enqueue.New(c.rdb, c.cfg.Namespace)}
		return eachID(e, c, args, *output, func(id string) (said string, done bool, err error) {
			if *failed || *held {
				said, done, err = r.batch(ctx, id, *held, *code)
			} else {
				said, done, err = r.snapshot(ctx, id)
			}
			if done && err == nil {
				c.audit(e, "retry", id, said)
			}
			return said, done, err
		})
	}
	return cmd
}

// retrier retries snapshots and batches.
type retrier struct {
	c     *connection
	queue *enqueue.Client
}

func (r retrier) snapshot(ctx context.Context, id string) (said string, done bool, err error) {
	if _, err := r.c.ledger.Batch(ctx, id); !errors.Is(err, ledger.ErrNotFound) {
		if err == nil {
			err = fail(exitUsage, "%s is a batch: add --failed or --held", id)
		}
		return "", false, err
	}
	s, err := r.c.results.Snapshot(ctx, id)
	if err != nil {
		return "", false, err
	}
	ok, err := r.queue.Retry(ctx, s)
	if err != nil {
		return "", false, err
	}
	if !ok {
		return fmt.Sprintf("the state is %s: only failed, canceled and held snapshots can be retried", s.State), false, nil
	}
	return "queued again", true, nil
}

// batch retries the failed or the held snapshots of a batch, only those with the code if
// one is given.
func (r retrier) batch(ctx context.Context, id string, held bool, code string) (said string, done bool, err error) {
	if _, err := r.c.ledger.Batch(ctx, id); err != nil {
		return "", false, err
	}
	n, err := r.queue.RetryBatch(ctx, id, held, code)
	if ctx.Err() != nil {
		return "", false, fail(exitTempFail, "interrupted after %s of %s; repeat the command to continue",
			plural.Of(n, "snapshot"), id)
	}
	if err != nil || n > 0 {
		return fmt.Sprintf("%d queued for retry", n), true, err
	}
	said, err = r.c.results.NothingToRetry(ctx, id, held, code)
	return said, false, err
}

package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tiwsnap/backlog"
	"tiwsnap/config"
	"tiwsnap/ledger"
)

func newPause(e env) *cobra.Command {
	return newPauseCommand(e, &cobra.Command{
		Use:   "pause BATCH...",
		Short: "Pause batches",
		Long: `Pause batches: their rooms are not sent until tiwsnap resume, except a few seconds of
work that are already in the queue. Exit code 1 if a batch has nothing left to send.`,
		Example: `  tiwsnap pause monday
  tiwsnap pause monday tuesday -o json`,
		ValidArgsFunction: completeBatches(e, func(b ledger.Batch) bool { return !b.Ended() && !b.Paused }),
	}, (*backlog.Backlog).Pause, "paused; rooms that are already in the queue are still sent")
}

func newResume(e env) *cobra.Command {
	return newPauseCommand(e, &cobra.Command{
		Use:   "resume BATCH...",
		Short: "Resume paused batches",
		Long: `Resume paused batches: their rooms are sent again, in turn with the other batches. A
batch that is not paused does not change. Exit code 1 if a batch has nothing left to
send.`,
		Example: `  tiwsnap resume monday
  tiwsnap resume $(tiwsnap status --state paused -o jsonl | jq -r .id)`,
		ValidArgsFunction: completeBatches(e, func(b ledger.Batch) bool { return b.Paused }),
	}, (*backlog.Backlog).Resume, "resumed")
}

// newPauseCommand completes the commands pause and resume.
func newPauseCommand(
	e env,
	cmd *cobra.Command,
	do func(*backlog.Backlog, context.Context, string) error,
	said string,
) *cobra.Command {
	cmd.Args = cobra.MinimumNArgs(1)
	output := outputFlag(cmd, "table", "json", "jsonl")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = withRedis(e, func(cmd *cobra.Command, c *connection, args []string) error {
		ctx := cmd.Context()
		return eachID(e, c, args, *output, func(id string) (string, bool, error) {
			b, err := c.ledger.Batch(ctx, id)
			if err != nil {
				return "", false, err
			}
			if b.Ended() || b.CanceledFrom > 0 && b.Queued == 0 {
				return fmt.Sprintf("nothing left to send: the state is %s", b.State), false, nil
			}
			err = do(c.backlog, ctx, id)
			if errors.Is(err, backlog.ErrNotFound) {
				err = ledger.ErrNotFound // it has just expired
			}
			if err == nil {
				c.audit(e, cmd.Name()+"-batch", id, "")
			}
			return said, true, err
		})
	})
	return cmd
}

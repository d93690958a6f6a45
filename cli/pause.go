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
	return newTurn(e, &cobra.Command{
		Use:   "pause BATCH...",
		Short: "Feed nothing more of batches; what was fed, a few seconds of work, goes on",
	}, (*backlog.Backlog).Pause, "paused; what was fed before goes on")
}

func newResume(e env) *cobra.Command {
	return newTurn(e, &cobra.Command{
		Use:   "resume BATCH...",
		Short: "Let paused batches go on",
	}, (*backlog.Backlog).Resume, "goes on")
}

// newTurn completes a command that takes batches out of their turn or back in.
func newTurn(e env, cmd *cobra.Command, do func(*backlog.Backlog, context.Context, string) error, said string) *cobra.Command {
	cmd.Args = cobra.MinimumNArgs(1)
	config.Flags(cmd.Flags(), "redis.url")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		return eachID(e, c, args, func(id string) (string, bool, error) {
			b, err := c.ledger.Batch(ctx, id)
			if err != nil {
				return "", false, err
			}
			if b.Ended() || b.CanceledFrom > 0 && b.Queued == 0 {
				return fmt.Sprintf("nothing is left to feed: the batch is %s", b.State), false, nil
			}
			err = do(c.backlog, ctx, id)
			if errors.Is(err, backlog.ErrNotFound) {
				err = ledger.ErrNotFound // it has expired just now
			}
			return said, true, err
		})
	}
	return cmd
}

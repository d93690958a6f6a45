package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tiwsnap/backlog"
	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/internal/plural"
	"tiwsnap/tasks"
)

func newAgain(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "again BATCH",
		Short: "Enqueue the rooms of a batch again, as a new batch",
		Long: `Enqueue all rooms of a batch again, as a new batch, and print its id. To repeat only
the rooms that failed, use "tiwsnap retry BATCH --failed".

Without --name, the id of the new batch is the old id and the time in UTC. A name that
exists already is an error (exit code 2).`,
		Example: `  tiwsnap again monday
  tiwsnap again monday --name tuesday --wait`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeBatches(e, anyBatch),
	}
	name := cmd.Flags().String("name", "", "`id` of the new batch: a-z, 0-9 and -; default: the old id and the time")
	wait := cmd.Flags().Bool("wait", false, "wait until all snapshots have ended; exit code 1 if any failed")
	output := outputFlag(cmd, "table", "json", "jsonl")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "redis.durability")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if err := checkName(*name); err != nil {
			return err
		}
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		batch, err := enqueue.New(c.rdb, c.cfg.Namespace).Rerun(ctx, args[0], enqueue.BatchOptions{
			ID: *name, By: "command " + currentUser(), Replicated: c.replicated(),
		})
		switch {
		case errors.Is(err, enqueue.ErrNotReplicated):
			return c.enqueueError(err)
		case err != nil && ctx.Err() != nil:
			return fail(exitTempFail, "interrupted; nothing was enqueued")
		case errors.Is(err, backlog.ErrNotFound):
			return c.unknownID(args[0])
		case errors.Is(err, enqueue.ErrExists):
			return fail(exitUsage, "nothing was enqueued: %w; choose another --name", err)
		case err != nil:
			return c.enqueueError(err)
		}
		c.audit(e, "again-batch", args[0], batch.ID+": "+plural.Of(batch.Rooms, "room"))
		fmt.Fprintf(e.stderr, "batch %s: %s of %s enqueued\n", batch.ID, plural.Of(batch.Rooms, "room"), args[0])
		switch {
		case *wait:
			return waitAndPrint(ctx, e, c, []string{batch.ID}, *output)
		case *output == "table":
			_, err = fmt.Fprintln(e.stdout, batch.ID)
			return err
		}
		return printJSON(e.stdout, map[string]any{"id": batch.ID, "rooms": batch.Rooms}, *output == "json")
	}
	return cmd
}

// checkName checks the batch id of --name. The error has an exit code.
func checkName(name string) error {
	if name != "" && !tasks.ValidBatchID(name) {
		return fail(exitUsage, "--name %q: it must be 1 to 64 of a-z, 0-9 and -, and not begin with -", name)
	}
	return nil
}

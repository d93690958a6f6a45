package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/internal/rdb"
	"tiwsnap/tasks"
)

func newEnqueue(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "enqueue",
		Short: "Enqueue a snapshot of one room, or of a batch of rooms",
		Example: `  tiwsnap enqueue room --app 1400123480 --room 12345
  tiwsnap enqueue batch class.csv --wait`,
	}
	cmd.AddCommand(newEnqueueRoom(e), newEnqueueBatch(e))
	return cmd
}

// checkCallback checks the CallbackURL of a room. The error has an exit code.
func checkCallback(cfg config.Config, r tasks.Room) error {
	if r.CallbackURL != "" {
		if err := cfg.CheckCallback(r.CallbackURL); err != nil {
			return fail(exitUsage, "--callback-url %w", err)
		}
	}
	return nil
}

// replicated reports whether redis.durability is replicated.
func (c *connection) replicated() bool { return c.cfg.Redis.Durability == "replicated" }

// enqueueError adds the exit code to an error of package enqueue.
func (c *connection) enqueueError(err error) error {
	var bad *tasks.RoomError
	var full *enqueue.FullError
	var evicts *rdb.EvictionError
	switch {
	case errors.As(err, &bad):
		return fail(exitUsage, "%w", err)
	case errors.As(err, &evicts):
		return fail(exitConfig, "nothing was enqueued: %w", err)
	case errors.As(err, &full):
		return fail(exitTempFail, "nothing was enqueued: %w", err)
	case errors.Is(err, enqueue.ErrNotReplicated):
		return fail(exitTempFail, "%w; it is safe to repeat the command with a --key, or with the name of the batch",
			err)
	}
	return c.redisError(err)
}

package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/tasks"
)

func newEnqueueRoom(e env) *cobra.Command {
	var room uint64
	cmd := &cobra.Command{
		Use:   "room --app SDKAPPID --room ROOMID",
		Short: "Enqueue a snapshot of one room, ahead of the batches",
		Long: `Enqueue a snapshot of one room, ahead of the batches, and print its id.

--key is an idempotency key: the same app, room and key are one snapshot, however often
it is enqueued. The same key with other parameters is an error (exit code 2).`,
		Example: `  tiwsnap enqueue room --app 1400123480 --room 12345 --wait
  tiwsnap enqueue room --app 1400123480 --room 12345 --key lesson-7
  tiwsnap enqueue room --app 1400123480 --room 12345 --width 1920 --height 1080 -o json`,
		Args: cobra.NoArgs,
	}
	read := roomFlags(cmd.Flags())
	cmd.Flags().Uint64Var(&room, "room", 0, "`number` of the room (RoomId)")
	key := cmd.Flags().
		String("key", "", "idempotency `key`, such as a class session: the same app, room and key are one snapshot")
	wait := cmd.Flags().Bool("wait", false, "wait until the snapshot has ended, and print it")
	output := outputFlag(cmd, "table", "json", "jsonl")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "redis.durability")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		r := read()
		r.RoomId = room
		if cmd.Flags().Changed("key") {
			if err := tasks.CheckKey(*key); err != nil {
				return fail(exitUsage, "--key: %w", err)
			}
		}
		if room > tasks.MaxDocumentedRoomID {
			fmt.Fprintf(e.stderr, "warning: RoomId %d is above %d, which other whiteboard APIs do not take\n",
				room, uint64(tasks.MaxDocumentedRoomID))
		}
		cfg, err := loadConfig(cmd, e)
		if err != nil {
			return err
		}
		if err := checkCallback(cfg, r); err != nil {
			return err
		}
		if r.SdkAppId == 0 {
			return fail(exitUsage, "SdkAppId is missing: set it with --app")
		}
		if err := r.Validate(); err != nil {
			return fail(exitUsage, "%w: see %s -h", err, cmd.CommandPath())
		}
		c, err := connectWith(ctx, cfg)
		if err != nil {
			return err
		}
		defer c.close()
		seen := c.watchLoss(ctx, e)
		snapshot, err := enqueue.New(c.rdb, c.cfg.Namespace).
			Room(ctx, r, enqueue.RoomOptions{Key: *key, Replicated: c.replicated()})
		if errors.Is(err, enqueue.ErrExists) {
			return fail(exitUsage, "nothing was enqueued: %w; choose another --key", err)
		}
		if err != nil {
			return c.enqueueError(err)
		}
		seen.save(snapshot.ID)
		if snapshot.Created {
			fmt.Fprintf(e.stderr, "snapshot %s: enqueued\n", snapshot.ID)
		} else {
			fmt.Fprintf(
				e.stderr,
				"snapshot %s exists already with the same --key and parameters; nothing was enqueued\n",
				snapshot.ID,
			)
		}
		if *wait {
			return waitAndPrint(ctx, e, c, []string{snapshot.ID}, *output)
		}
		if *output == "table" {
			fmt.Fprintln(e.stdout, snapshot.ID)
			return nil
		}
		return printJSON(e.stdout, map[string]any{"id": snapshot.ID, "created": snapshot.Created}, *output == "json")
	}
	return cmd
}

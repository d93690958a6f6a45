package cli

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/internal/plural"
	"tiwsnap/internal/rooms"
)

func newEnqueueBatch(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "batch FILE",
		Short: "Enqueue every room of a class list (CSV, .xlsx or JSON; - is stdin)",
		Long: `Enqueue every room of a class list, as one batch, and print its id.

The list is CSV with a header, a workbook (.xlsx), JSON lines or a JSON array. Its
columns have the API's field names: SdkAppId, RoomId, CallbackURL, SnapshotMode,
Whiteboard.Width, COS.Bucket and so on. Columns named Label.NAME are copied to the
results. Flags give the values that a row leaves out. Format and encoding are detected
and reported, and so are rows that are skipped because they are not rooms.

A bad row is reported with its line number and left out (exit code 1). With --strict
one bad row rejects the whole list. A batch is enqueued as a whole or not at all.

Without --name the batch is named after the file and its content. Repeating the command
then finds the same batch and adds nothing, even if it was killed halfway. A name that
belongs to other rooms is an error (exit code 2).

--check reads the list, prints its errors and enqueues nothing. It needs no Redis.`,
		Example: `  tiwsnap enqueue batch class.csv --check
  tiwsnap enqueue batch class.csv --wait
  tiwsnap enqueue batch class.csv --name monday --strict
  tiwsnap enqueue batch rooms.jsonl --app 1400123480 --mode LatestMarksOnly
  generate-rooms | tiwsnap enqueue batch - --name monday -o json`,
		Args: cobra.ExactArgs(1),
	}
	read := roomFlags(cmd.Flags())
	name := cmd.Flags().String("name", "",
		"`id` of the batch: a-z, 0-9 and -; default: made from the name and content of the file")
	strict := cmd.Flags().Bool("strict", false, "enqueue nothing if any row is bad")
	check := cmd.Flags().Bool("check", false, "check the list without enqueueing it")
	encoding := cmd.Flags().String("encoding", "",
		"text `encoding`, such as utf-8, gb18030, big5 or windows-1252; default: detected")
	sheet := cmd.Flags().String("sheet", "", "`name` of the worksheet in an .xlsx file; default: the first")
	hook := cmd.Flags().
		String("webhook", "", "`URL` to notify when the batch ends, instead of TIWSNAP_WEBHOOK_URL; "+
			"TIWSNAP_WEBHOOK_ALLOW must name its host, here and at the workers")
	wait := cmd.Flags().Bool("wait", false, "wait until all snapshots have ended; exit code 1 if any failed")
	output := outputFlag(cmd, "table", "json", "jsonl")
	cmd.MarkFlagsMutuallyExclusive("check", "wait")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "redis.durability")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if err := checkName(*name); err != nil {
			return err
		}
		defaults := read()
		var err error
		options := rooms.Options{Defaults: defaults, Sheet: *sheet}
		if options.Encoding, err = rooms.ParseEncoding(*encoding); err != nil {
			return fail(exitUsage, "--encoding: %w", err)
		}
		in, err := openList(ctx, e, args[0])
		if err != nil {
			return err
		}
		defer in.Close()
		cfg, err := loadConfig(cmd, e)
		if err != nil {
			return err
		}
		if *hook != "" {
			if err := cfg.Webhook.Check(*hook); err != nil {
				return fail(exitUsage, "--webhook %w", err)
			}
		}
		if err := checkCallback(cfg, defaults); err != nil {
			return err
		}
		if err := checkDefaults(cmd, defaults); err != nil {
			return err
		}
		options.CheckCallback = cfg.CheckCallback
		list := &classList{e: e, file: args[0], strict: *strict}
		if *check {
			return list.check(ctx, list.rooms(in, options), *output)
		}
		c, err := connectWith(ctx, cfg)
		if err != nil {
			return err
		}
		defer c.close()
		seen := c.watchLoss(ctx, e)
		batch, err := enqueue.New(c.rdb, c.cfg.Namespace).Batch(ctx, list.rooms(in, options), enqueue.BatchOptions{
			ID: batchID(*name, args[0]), Defaults: defaults, Webhook: *hook, By: "command " + currentUser(),
			Replicated: c.replicated(),
		})
		list.summary()
		switch {
		case errors.Is(err, enqueue.ErrNotReplicated): // enqueued, even if interrupted
			return c.enqueueError(err)
		case err != nil && ctx.Err() != nil:
			return fail(exitTempFail, "interrupted; nothing was enqueued")
		case list.err != nil:
			return fail(exitUsage, "%s: %w; nothing was enqueued", args[0], list.err)
		case errors.Is(err, enqueue.ErrExists):
			return fail(exitUsage, "nothing was enqueued: %w; choose another --name", err)
		case err != nil:
			return c.enqueueError(err)
		}
		seen.save(batch.ID)
		if batch.Created {
			c.audit(e, "create-batch", batch.ID, plural.Of(batch.Rooms, "room"))
			fmt.Fprintf(e.stderr, "batch %s: %s enqueued\n", batch.ID, plural.Of(batch.Rooms, "room"))
		} else {
			fmt.Fprintf(e.stderr, "batch %s exists already with the same %s; nothing was enqueued. "+
				"To snapshot them again, choose another --name\n", batch.ID, plural.Of(batch.Rooms, "room"))
		}
		switch {
		case *wait:
			err = waitAndPrint(ctx, e, c, []string{batch.ID}, *output)
		case *output == "table":
			fmt.Fprintln(e.stdout, batch.ID)
		default:
			err = printJSON(e.stdout, map[string]any{
				"id": batch.ID, "rooms": batch.Rooms, "created": batch.Created, "bad_rows": list.bad,
			}, *output == "json")
		}
		return cmp.Or(err, badRowsExit(list.bad))
	}
	return cmd
}

// badRowsExit returns the exit code of a command that has left out bad rows, or nil if
// there were none.
func badRowsExit(bad int) error {
	if bad == 0 {
		return nil
	}
	return &exitError{exitFailed, nil}
}

// badRowsText returns a message with the number of rows left out.
func badRowsText(bad int) string { return plural.Of(bad, "bad row") + " left out" }

// batchID returns the name, or by default a prefix from the name of the file, to which
// enqueue adds twelve digits of a hash of the content.
func batchID(name, file string) string {
	if name != "" {
		return name
	}
	base := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	id := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, base), "-")
	if len(id) > 40 {
		id = id[:40]
	}
	if id == "" {
		id = "batch"
	}
	return id + "-"
}

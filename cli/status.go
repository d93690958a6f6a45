package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/ledger"
	"tiwsnap/results"
)

func newStatus(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [ID]",
		Short: "Show a snapshot or a batch; without an id, list all batches",
		Long: `Show a snapshot or a batch. Without an id, list all batches, newest first; --state,
--since and --limit filter the list. If the YAML file has several namespaces, the list
has the batches of all of them, unless --namespace selects one.

For a batch, -o csv and -o jsonl print the result list: one line per room, in the order
of the class list, with labels and image URLs. -o xlsx and -o csv --excel print it for
Excel, with a column for each image and times in local time. All of these can be
enqueued again.

--rooms lists the rooms that were enqueued one by one, by tiwsnap enqueue room or over
HTTP: first those that have not ended, then the newest.

--watch refreshes the output every two seconds until the snapshot or batch has ended,
or until Ctrl-C. Without a terminal it prints one line each time.`,
		Example: `  tiwsnap status
  tiwsnap status --state running,paused --since 24h
  tiwsnap status --limit 10 -o json
  tiwsnap status --rooms --limit 20
  tiwsnap status --watch
  tiwsnap status monday
  tiwsnap status monday -o csv > monday.csv
  tiwsnap status monday -o xlsx --tz Asia/Shanghai > monday.xlsx
  tiwsnap status monday.17`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeBatches(e, anyBatch),
	}
	filter := batchFilterFlags(cmd)
	singles := cmd.Flags().Bool("rooms", false, "list single rooms instead of batches")
	repeat := cmd.Flags().Bool("watch", false, "refresh the output every two seconds")
	output := outputFlag(cmd, "table", "json", "jsonl", "csv", "xlsx")
	sheet := sheetFlags(cmd, e)
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := filter()
		if err != nil {
			return err
		}
		id := ""
		if len(args) > 0 {
			id = args[0]
			for _, name := range []string{"state", "since", "limit"} {
				if cmd.Flags().Changed(name) {
					return fail(exitUsage, "--%s filters the list of all batches: leave out %s", name, id)
				}
			}
		}
		switch {
		case *singles && id != "":
			return fail(exitUsage, "--rooms lists all single rooms: leave out %s", id)
		case *singles && (len(f.states) > 0 || !f.since.IsZero() || *repeat || *output == "xlsx"):
			return fail(exitUsage, "--rooms works only with --limit and -o table, json, jsonl or csv")
		}
		if *repeat && *output != "table" {
			return fail(exitUsage, "--watch works only with -o table, not -o %s", *output)
		}
		asSheet, err := sheet(*output, args)
		if err != nil {
			return err
		}
		all, err := connectEach(cmd, e)
		if err != nil {
			return err
		}
		defer closeAll(all)
		c := all[0]
		if len(all) > 1 && id == "" {
			if !*singles && !*repeat && asSheet == nil {
				return printNamespaces(cmd.Context(), e, all, f, *output)
			}
			fmt.Fprintf(e.stderr, "only namespace %s is shown, of %d; --namespace chooses another one\n",
				c.cfg.Namespace, len(all))
		}
		if *repeat {
			return refresh(cmd.Context(), e, c, id, f)
		}
		if err := printWarnings(cmd.Context(), e, c); err != nil {
			return err
		}
		if asSheet != nil {
			return printSheet(cmd.Context(), e, c, id, *asSheet)
		}
		if *singles {
			return printSingles(cmd.Context(), e, c, f.limit, *output)
		}
		if id == "" {
			return printBatches(cmd.Context(), e, c, f, *output)
		}
		return printStatus(cmd.Context(), e, c, id, *output)
	}
	return cmd
}

// printStatus prints the snapshot or batch of an id.
func printStatus(ctx context.Context, e env, c *connection, id, output string) error {
	b, s, err := c.find(ctx, id)
	switch {
	case err != nil:
		return err
	case b != nil:
		return printBatch(ctx, e, c, *b, output)
	}
	return printSnapshot(e.stdout, *s, output)
}

// find returns the batch or the snapshot of an id. The error has an exit code.
func (c *connection) find(ctx context.Context, id string) (*ledger.Batch, *results.Result, error) {
	b, err := c.ledger.Batch(ctx, id)
	if err == nil {
		return &b, nil, nil
	}
	if !errors.Is(err, ledger.ErrNotFound) {
		return nil, nil, c.redisError(err)
	}
	s, err := c.results.Snapshot(ctx, id)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return nil, nil, c.unknownID(id)
	case err != nil:
		return nil, nil, c.redisError(err)
	}
	r := c.results.Explain(ctx, s)
	return nil, &r, nil
}

// unknownID returns the error for an unknown id.
func (c *connection) unknownID(id string) error {
	return fail(exitUsage, "there is no snapshot or batch %s; records are kept for %s after the end",
		plain(id), config.Brief(c.cfg.Retention))
}

func printSnapshot(w io.Writer, s results.Result, output string) error {
	switch output {
	case "json":
		return printJSON(w, s, true)
	case "jsonl":
		return printJSON(w, s, false)
	case "csv":
		return results.WriteCSV(w, nil, func(yield func(results.Result, error) bool) { yield(s, nil) })
	}
	held := ""
	if s.Held {
		held = "for review: decide with tiwsnap retry or tiwsnap cancel"
	}
	code, counted := "error", ""
	if s.State == ledger.Succeeded {
		code = "result"
	}
	if s.Total != nil {
		counted = fmt.Sprintf("%d according to Tencent, %d URLs", *s.Total, len(s.Images))
	}
	return printFields(w,
		"snapshot", s.ID,
		"room", roomName(s.Room),
		"batch", s.Batch,
		"state", s.State,
		"held", held,
		"attempts", s.Attempts,
		"TaskID", s.TaskID,
		"RequestId", s.RequestID,
		code, s.Code,
		"message", s.Message,
		"meaning", s.Meaning,
		"fix", s.Fix,
		"possible duplicates", nonzero(s.PossibleDuplicates),
		"sent", formatTime(s.SentAt),
		"accepted", formatTime(s.AcceptedAt),
		"ended", formatTime(s.EndedAt),
		"images counted", counted,
		"images", strings.Join(s.Links(), " "),
		"copies", copiesLine(s),
		"images at Tencent", s.Expiry(time.Now()),
		"not copied", s.CopyProblem,
	)
}

// copiesLine returns the URLs of the copies of a snapshot's images.
func copiesLine(s results.Result) string {
	var urls []string
	for _, c := range s.CopyList {
		if c.URL != "" {
			urls = append(urls, c.URL)
		}
	}
	return strings.Join(urls, " ")
}

func printBatch(ctx context.Context, e env, c *connection, b ledger.Batch, output string) error {
	switch output {
	case "json":
		return printJSON(e.stdout, b, true)
	case "csv":
		return c.redisError(results.WriteCSV(e.stdout, b.Labels, c.results.Batch(ctx, b, 1, b.Total)))
	case "jsonl":
		for s, err := range c.results.Batch(ctx, b, 1, b.Total) {
			if err != nil {
				return c.redisError(err)
			}
			if err := printJSON(e.stdout, s, false); err != nil {
				return err
			}
		}
		return nil
	}
	var running, took string // both are empty for a paused batch
	switch {
	case b.Ended():
		took = b.EndedAt.Sub(b.CreatedAt).Round(100 * time.Millisecond).String()
	case b.State == "running":
		running = max(0, time.Since(b.CreatedAt)).Round(time.Second).String()
	}
	return printFields(e.stdout,
		"batch", b.ID,
		"state", b.State,
		"rooms", b.Total,
		"queued", b.Queued,
		"sending", b.Sending,
		"unknown", nonzero(b.Unknown),
		"accepted", b.Accepted,
		"succeeded", b.Succeeded,
		"of them without an image", nonzero(b.NoImage),
		"failed", b.Failed,
		"canceled", nonzero(b.Canceled),
		"images", b.Images,
		"images missing", nonzero(b.MissingImages),
		"images copied", nonzero(b.CopiedImages),
		"images to copy", nonzero(b.PendingImages),
		"images lost", nonzero(b.LostImages),
		"possible duplicates", nonzero(b.PossibleDuplicates),
		"enqueued", formatTime(b.CreatedAt),
		"ended", formatTime(b.EndedAt),
		"running for", running,
		"took", took,
	)
}

// printWarnings prints on stderr why sending is stopped, and other problems of the
// namespace. The error has an exit code.
func printWarnings(ctx context.Context, e env, c *connection) error {
	stops, err := c.results.Stops(ctx)
	if err != nil {
		return c.redisError(err)
	}
	for _, s := range stops {
		fmt.Fprintln(e.stderr, plain(s.String()))
	}
	trouble, err := c.ledger.CopyTrouble(ctx)
	if err != nil {
		return c.redisError(err)
	}
	if trouble != nil {
		fmt.Fprintf(e.stderr, "Images cannot be copied since %s: %s. Copying is retried. Fix: see tiwsnap doctor\n",
			formatTime(trouble.Since), plain(trouble.Why))
	}
	loss, err := c.ledger.LastLoss(ctx)
	if err != nil {
		return c.redisError(err)
	}
	if loss != nil {
		fmt.Fprintf(e.stderr, "%s (found %s). Fix: %s\n", loss, formatTime(loss.At), ledger.LossFix)
	}
	limit, err := createLimit(ctx, c.rdb, c.cfg)
	if err != nil {
		return c.redisError(err)
	}
	if differ := limitsDiffer(limit); differ != "" {
		fmt.Fprintf(e.stderr, "%s; %s\n", differ, limitsFix)
	}
	return nil
}

// formatTime returns a time in RFC 3339 and UTC, or an empty string for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// nonzero returns n as text, or an empty string for 0.
func nonzero(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

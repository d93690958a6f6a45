package cli

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/gate"
	"tiwsnap/ledger"
	"tiwsnap/results"
)

// maxBatches is how many batches the overview shows.
const maxBatches = 50

func newStatus(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [ID]",
		Short: "Show what became of a snapshot or a batch; without an id, all batches",
		Long: `Show what became of a snapshot or a batch; without an id, all batches.

For a batch, -o csv and -o jsonl print the result list: one line a room, in the
order of the class list, with its labels and the URLs of its images.`,
		Args: cobra.MaximumNArgs(1),
	}
	output := outputFlag(cmd, "table", "json", "jsonl", "csv")
	config.Flags(cmd.Flags(), "redis.url")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		if err := sayTrouble(cmd.Context(), e, c); err != nil {
			return err
		}
		if len(args) == 0 {
			return printOverview(cmd.Context(), e, c, *output)
		}
		return printStatus(cmd.Context(), e, c, args[0], *output)
	}
	return cmd
}

func newWait(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wait ID...",
		Short: "Wait until snapshots or batches have ended; exit 1 if some failed",
		Args:  cobra.MinimumNArgs(1),
	}
	output := outputFlag(cmd, "table", "json", "jsonl", "csv")
	config.Flags(cmd.Flags(), "redis.url")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		return waitAndPrint(cmd.Context(), e, c, args, *output)
	}
	return cmd
}

// printStatus prints the snapshot or batch of that id.
func printStatus(ctx context.Context, e env, c *connection, id, output string) error {
	b, err := c.ledger.Batch(ctx, id)
	if err == nil {
		return printBatch(ctx, e, c, b, output)
	}
	if !errors.Is(err, ledger.ErrNotFound) {
		return c.away(err)
	}
	s, err := c.results.Snapshot(ctx, id)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return c.unknownID(id)
	case err != nil:
		return c.away(err)
	}
	return printSnapshot(e.stdout, results.Explain(s), output)
}

// unknownID is the error, ready to return, for an id that nothing has.
func (c *connection) unknownID(id string) error {
	return fail(exitUsage, "there is no snapshot or batch %s; ended ones are kept for %s", plain(id), c.cfg.Retention)
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
		held = "until a person decides: tiwsnap retry sends it again, tiwsnap cancel gives it up"
	}
	code, counted := "error", ""
	if s.State == ledger.Succeeded {
		code = "result"
	}
	if s.Total != nil {
		counted = fmt.Sprintf("%d by Tencent's count, %d named", *s.Total, len(s.Images))
	}
	return fields(w,
		"snapshot", s.ID,
		"room", roomWords(s.Room),
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
		"sent", clock(s.SentAt),
		"accepted", clock(s.AcceptedAt),
		"ended", clock(s.EndedAt),
		"images counted", counted,
		"images", strings.Join(s.Images, " "),
	)
}

func printBatch(ctx context.Context, e env, c *connection, b ledger.Batch, output string) error {
	switch output {
	case "json":
		return printJSON(e.stdout, b, true)
	case "csv":
		return c.away(results.WriteCSV(e.stdout, b.Labels, c.results.Batch(ctx, b, 1, b.Total)))
	case "jsonl":
		for s, err := range c.results.Batch(ctx, b, 1, b.Total) {
			if err != nil {
				return c.away(err)
			}
			if err := printJSON(e.stdout, s, false); err != nil {
				return err
			}
		}
		return nil
	}
	took := time.Since(b.CreatedAt)
	if b.Ended() {
		took = b.EndedAt.Sub(b.CreatedAt)
	}
	return fields(e.stdout,
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
		"possible duplicates", nonzero(b.PossibleDuplicates),
		"enqueued", clock(b.CreatedAt),
		"ended", clock(b.EndedAt),
		"took", took.Round(100*time.Millisecond),
	)
}

func printOverview(ctx context.Context, e env, c *connection, output string) error {
	all, err := c.ledger.Batches(ctx, maxBatches)
	if err != nil {
		return c.away(err)
	}
	if output == "json" {
		return printJSON(e.stdout, map[string]any{"batches": all}, true)
	}
	if output == "jsonl" {
		return printLines(e.stdout, all)
	}
	rows := [][]string{{"BATCH", "STATE", "ROOMS", "QUEUED", "IN WORK", "SUCCEEDED", "NO IMAGE", "FAILED", "IMAGES", "ENQUEUED", "ENDED"}}
	for _, b := range all {
		rows = append(rows, []string{
			b.ID, b.State, strconv.Itoa(b.Total), strconv.Itoa(b.Queued), strconv.Itoa(b.Sending + b.Unknown + b.Accepted),
			strconv.Itoa(b.Succeeded), strconv.Itoa(b.NoImage), strconv.Itoa(b.Failed), strconv.Itoa(b.Images), clock(b.CreatedAt), clock(b.EndedAt),
		})
	}
	if output == "csv" {
		return csv.NewWriter(e.stdout).WriteAll(rows)
	}
	return printTable(e.stdout, rows)
}

// sayTrouble says on stderr, before anything else, why sending is stopped.
func sayTrouble(ctx context.Context, e env, c *connection) error {
	stops, err := gate.NewBreaker(c.rdb).Stops(ctx)
	if err != nil {
		return c.away(err)
	}
	for _, s := range stops {
		fmt.Fprintf(e.stderr, "%s since %s: %s. It waits for %s. Fix: %s\n",
			s.What, clock(s.Since), plain(s.Why), s.WaitsFor, plain(s.Fix))
	}
	return nil
}

// clock is a time for people; empty for none.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// nonzero is n, or empty for 0.
func nonzero(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

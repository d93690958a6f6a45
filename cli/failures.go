package cli

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/ledger"
	"tiwsnap/results"
)

func newFailures(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "failures",
		Short: "Show failures by error code, with their meaning and fix",
		Long: `Show the failures of all snapshots, or of one batch, by error code: how many, what the
code means, how to fix it, and the newest example. "tiwsnap retry" retries them.`,
		Example: `  tiwsnap failures
  tiwsnap failures --batch monday --list -o csv > failed.csv
  tiwsnap failures --held`,
		Args: cobra.NoArgs,
	}
	batch := cmd.Flags().String("batch", "", "only failures of the batch with this `id`")
	list := cmd.Flags().Bool("list", false, "list every failed snapshot instead, newest first in each batch")
	held := cmd.Flags().Bool("held", false,
		"show snapshots held for review instead: the outcome of their last request is unknown")
	withFailures := completeBatches(e, func(b ledger.Batch) bool { return b.Failed+b.LostImages+b.Unknown > 0 })
	cmd.RegisterFlagCompletionFunc("batch", withFailures)
	output := outputFlag(cmd, "table", "json", "jsonl", "csv")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = withRedis(e, func(cmd *cobra.Command, c *connection, _ []string) error {
		ctx := cmd.Context()
		batches, err := selectBatches(ctx, c, *batch)
		if err != nil {
			return err
		}
		all := c.results.Failed(ctx, batches, *held)
		if *list {
			return c.redisError(printFailures(e, all, *output))
		}
		groups, err := results.Group(all)
		if err != nil {
			return c.redisError(err)
		}
		if len(groups) == 0 && *output == "table" {
			fmt.Fprintln(e.stderr, "no failures")
		}
		return printGroups(e.stdout, groups, *output)
	})
	return cmd
}

// selectBatches returns the given batch. For an empty id it returns all batches, and ""
// for single rooms. The error has an exit code.
func selectBatches(ctx context.Context, c *connection, id string) ([]string, error) {
	if id != "" {
		_, err := c.batch(ctx, id)
		return []string{id}, err
	}
	all, err := c.results.WithTrouble(ctx)
	return all, c.redisError(err)
}

func printGroups(w io.Writer, groups []*results.Failure, output string) error {
	switch output {
	case "json":
		if groups == nil {
			groups = []*results.Failure{}
		}
		return printJSON(w, map[string]any{"failures": groups}, true)
	case "jsonl":
		return printLines(w, groups)
	case "csv":
		rows := [][]string{{"Code", "Class", "Count", "Meaning", "Fix", "Newest", "Message", "RequestId", "TaskID",
			"At"}}
		for _, g := range groups {
			text := results.CSVText
			rows = append(rows, []string{
				text(g.Code), g.Class, strconv.Itoa(g.Count), g.Meaning, g.Fix, g.Newest.ID,
				text(g.Newest.Message), text(g.Newest.RequestID), text(g.Newest.TaskID), formatTime(g.Newest.At),
			})
		}
		return csv.NewWriter(w).WriteAll(rows)
	}
	for i, g := range groups {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := printFields(w,
			"error", g.Code,
			"snapshots", g.Count,
			"class", g.Class,
			"meaning", g.Meaning,
			"fix", g.Fix,
			"newest", g.Newest.ID,
			"at", formatTime(g.Newest.At),
			"message", g.Newest.Message,
			"RequestId", g.Newest.RequestID,
			"TaskID", g.Newest.TaskID,
		); err != nil {
			return err
		}
	}
	return nil
}

// printFailures prints one line per snapshot, as they are read.
func printFailures(e env, all iter.Seq2[results.Result, error], output string) error {
	w := e.stdout
	switch output {
	case "csv":
		return results.WriteCSV(w, nil, all)
	case "json":
		return printJSONList(w, "failures", all, nil)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	n := 0
	for s, err := range all {
		if err != nil {
			return errors.Join(err, tw.Flush())
		}
		if output == "jsonl" {
			if err := printJSON(w, s, false); err != nil {
				return err
			}
			continue
		}
		if n == 0 {
			fmt.Fprintln(tw, "SNAPSHOT\tROOM\tCODE\tREQUESTID\tMESSAGE")
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n",
			s.ID, roomName(s.Room), plain(s.Code), plain(s.RequestID), plain(s.Message))
		if n++; n%alignedRows == 0 {
			if err := tw.Flush(); err != nil {
				return err
			}
		}
	}
	if n == 0 && output == "table" {
		fmt.Fprintln(e.stderr, "no failures")
	}
	return tw.Flush()
}

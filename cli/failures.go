package cli

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/ledger"
	"tiwsnap/tiw"
)

func newFailures(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "failures",
		Short: "Show what failed, by error code: what it means and what to do",
		Long: `Show what failed, in all batches and single rooms or in one batch, by error code:
how often, what it means, what to do, and the newest example. To try again, see
tiwsnap retry.`,
		Args: cobra.NoArgs,
	}
	batch := cmd.Flags().String("batch", "", "only those of this batch, by its `id`")
	list := cmd.Flags().Bool("list", false, "print every snapshot instead, the newest of each batch first")
	held := cmd.Flags().Bool("held", false, "instead of failures, what waits for a person because the outcome of a request is unknown")
	output := outputFlag(cmd, "table", "json", "jsonl", "csv")
	config.Flags(cmd.Flags(), "redis.url")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		if *list && *output == "json" {
			return fail(exitUsage, "--list with -o json: a list of any length is printed with -o jsonl, csv or table")
		}
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		batches, err := batchesOrOne(ctx, c, *batch)
		if err != nil {
			return err
		}
		of := c.ledger.Failures
		if *held {
			of = c.ledger.Held
		}
		all := func(yield func(result, error) bool) {
			for _, id := range batches {
				for s, err := range of(ctx, id) {
					if !yield(explained(s), err) || err != nil {
						return
					}
				}
			}
		}
		if *list {
			return c.away(printFailures(e.stdout, all, *output))
		}
		groups, err := groupFailures(all)
		if err != nil {
			return c.away(err)
		}
		if len(groups) == 0 && *output == "table" {
			fmt.Fprintln(e.stderr, "none")
		}
		return printGroups(e.stdout, groups, *output)
	}
	return cmd
}

// batchesOrOne is the given batch, or all of them and "" for the single rooms.
func batchesOrOne(ctx context.Context, c *connection, id string) ([]string, error) {
	if id != "" {
		_, err := c.ledger.Batch(ctx, id)
		if errors.Is(err, ledger.ErrNotFound) {
			return nil, c.unknownID(id)
		}
		return []string{id}, c.away(err)
	}
	all, err := c.ledger.Batches(ctx, 0)
	if err != nil {
		return nil, c.away(err)
	}
	ids := []string{""}
	for _, b := range all {
		ids = append(ids, b.ID)
	}
	return ids, nil
}

// failureGroup is the failures with one code.
type failureGroup struct {
	Code    string         `json:"code"`
	Class   string         `json:"class"`
	Count   int            `json:"count"`
	Meaning string         `json:"meaning"`
	Fix     string         `json:"fix"`
	Newest  failureExample `json:"newest"`
}

type failureExample struct {
	ID        string    `json:"id"`
	Message   string    `json:"message,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	TaskID    string    `json:"task_id,omitempty"`
	At        time.Time `json:"at"`
}

// groupFailures groups by code, the most frequent first.
func groupFailures(all iter.Seq2[result, error]) ([]*failureGroup, error) {
	byCode := make(map[string]*failureGroup)
	for s, err := range all {
		if err != nil {
			return nil, err
		}
		g := byCode[s.Code]
		if g == nil {
			g = &failureGroup{Code: s.Code, Class: tiw.Explain(s.Code).Class.String(), Meaning: s.Meaning, Fix: s.Fix}
			byCode[s.Code] = g
		}
		g.Count++
		at := s.EndedAt
		if at.IsZero() { // held
			at = s.SentAt
		}
		if g.Count == 1 || at.After(g.Newest.At) {
			g.Newest = failureExample{s.ID, s.Message, s.RequestID, s.TaskID, at}
		}
	}
	return slices.SortedFunc(maps.Values(byCode), func(a, b *failureGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Code, b.Code))
	}), nil
}

func printGroups(w io.Writer, groups []*failureGroup, output string) error {
	switch output {
	case "json":
		if groups == nil {
			groups = []*failureGroup{}
		}
		return printJSON(w, map[string]any{"failures": groups}, true)
	case "jsonl":
		for _, g := range groups {
			if err := printJSON(w, g, false); err != nil {
				return err
			}
		}
		return nil
	case "csv":
		rows := [][]string{{"Code", "Class", "Count", "Meaning", "Fix", "Newest", "Message", "RequestId", "TaskID", "At"}}
		for _, g := range groups {
			rows = append(rows, []string{g.Code, g.Class, strconv.Itoa(g.Count), g.Meaning, g.Fix,
				g.Newest.ID, csvText(g.Newest.Message), g.Newest.RequestID, g.Newest.TaskID, clock(g.Newest.At)})
		}
		return csv.NewWriter(w).WriteAll(rows)
	}
	for i, g := range groups {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := fields(w,
			"error", g.Code,
			"snapshots", g.Count,
			"class", g.Class,
			"meaning", g.Meaning,
			"fix", g.Fix,
			"newest", g.Newest.ID,
			"at", clock(g.Newest.At),
			"message", g.Newest.Message,
			"RequestId", g.Newest.RequestID,
			"TaskID", g.Newest.TaskID,
		); err != nil {
			return err
		}
	}
	return nil
}

// printFailures prints a line for each snapshot, as they come.
func printFailures(w io.Writer, all iter.Seq2[result, error], output string) error {
	if output == "csv" {
		return printResults(w, nil, all)
	}
	const screen = 100 // lines of a table that are aligned with one another
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
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", s.ID, roomWords(s.Room), plain(s.Code), plain(s.RequestID), plain(s.Message))
		if n++; n%screen == 0 {
			if err := tw.Flush(); err != nil {
				return err
			}
		}
	}
	return tw.Flush()
}

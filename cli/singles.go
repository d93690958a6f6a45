package cli

import (
	"context"
	"fmt"
	"iter"
	"text/tabwriter"

	"tiwsnap/results"
)

// printSingles prints one line per single room, at most limit; 0: all.
func printSingles(ctx context.Context, e env, c *connection, limit int, output string) error {
	more := false
	var all iter.Seq2[results.Result, error] = func(yield func(results.Result, error) bool) {
		n := 0
		for s, err := range c.results.Singles(ctx) {
			if more = limit > 0 && n == limit; more {
				return
			}
			if n++; !yield(s, err) {
				return
			}
		}
	}
	n := 0
	var err error
	switch output {
	case "json":
		return c.redisError(printJSONList(e.stdout, "snapshots", all, &more))
	case "csv":
		err = results.WriteCSV(e.stdout, nil, all)
	default:
		tw := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		for s, failed := range all {
			switch {
			case failed != nil:
				return c.redisError(failed)
			case output == "jsonl":
				err = printJSON(e.stdout, s, false)
			default:
				if n == 0 {
					fmt.Fprintln(tw, "SNAPSHOT\tROOM\tSTATE\tCODE\tIMAGES\tSENT\tENDED")
				}
				_, err = fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n",
					s.ID, roomName(s.Room), s.State, plain(s.Code),
					len(s.Images), formatTime(s.SentAt), formatTime(s.EndedAt))
				if n%alignedRows == alignedRows-1 {
					err = tw.Flush()
				}
			}
			if n++; err != nil {
				return err
			}
		}
		err = tw.Flush()
	}
	switch {
	case err != nil:
		return c.redisError(err)
	case more:
		fmt.Fprintf(e.stderr, "only %d listed; list more with --limit\n", limit)
	case n == 0 && output == "table":
		fmt.Fprintln(e.stderr, "no single rooms")
	}
	return nil
}

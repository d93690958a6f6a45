package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/results"
)

func newFind(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "find WORD",
		Short: "Find snapshots by RoomId, TaskID, RequestId or label",
		Long: `Find snapshots by RoomId, by the TaskID or RequestId of any attempt, or by the exact
value of a label, newest first. Queued rooms are included. A snapshot is found until
its record expires. Exit code 1 if there is none.`,
		Example: `  tiwsnap find 10007
  tiwsnap find "Class 3b" --limit 1000 -o csv > class-3b.csv
  tiwsnap find 4db0b1a9-0ee5-4a6d-8a0f-9b8f1f2c6d11 -o json`,
		Args: cobra.ExactArgs(1),
	}
	limit := cmd.Flags().Int("limit", 100, "print at most `N`")
	output := outputFlag(cmd, "table", "json", "jsonl", "csv")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *limit < 1 {
			return fail(exitUsage, "--limit %d: it must be 1 or more", *limit)
		}
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		found, err := c.results.Find(cmd.Context(), args[0], *limit, "")
		for err == nil && found.Next != "" && len(found.Snapshots) < *limit {
			var more results.Found
			more, err = c.results.Find(cmd.Context(), args[0], *limit-len(found.Snapshots), found.Next)
			found.Snapshots = append(found.Snapshots, more.Snapshots...)
			found.Searched, found.Next = more.Searched, more.Next
		}
		if err != nil {
			return c.redisError(err)
		}
		if err := printFound(e.stdout, found, *output); err != nil {
			return err
		}
		switch {
		case len(found.Snapshots) == 0:
			return fail(exitFailed, "no snapshot has the RoomId, TaskID, RequestId or label %s; records are kept "+
				"for %s after the end",
				plain(args[0]), config.Brief(c.cfg.Retention))
		case found.Next != "" && !found.More:
			fmt.Fprintf(e.stderr, "%d listed; %d of %d queued rooms were searched; search more with "+
				"--limit\n",
				len(found.Snapshots), found.Searched, found.Waiting)
		case found.More:
			fmt.Fprintf(e.stderr, "only the newest %d listed; list more with --limit\n", len(found.Snapshots))
		}
		return nil
	}
	return cmd
}

func printFound(w io.Writer, found results.Found, output string) error {
	switch output {
	case "json":
		return printJSON(w, found, true)
	case "jsonl":
		return printLines(w, found.Snapshots)
	case "csv":
		return results.WriteCSV(w, nil, func(yield func(results.Result, error) bool) {
			for _, s := range found.Snapshots {
				if !yield(s, nil) {
					return
				}
			}
		})
	}
	if len(found.Snapshots) == 0 {
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SNAPSHOT\tROOM\tSTATE\tIMAGES\tENDED\tTASKID\tREQUESTID")
	for _, s := range found.Snapshots {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n",
			s.ID, roomName(s.Room), s.State, len(s.Images), formatTime(s.EndedAt), plain(s.TaskID), plain(s.RequestID))
	}
	return tw.Flush()
}

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/internal/audit"
)

// audit adds a change to the audit log. A failure only prints a warning, because the
// change has been made.
func (c *connection) audit(e env, action, object, detail string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	entry := audit.Entry{By: currentUser(), Via: audit.Command, Action: action, Object: object, Detail: detail}
	if err := audit.New(c.rdb, c.cfg.Namespace).Add(ctx, entry); err != nil {
		fmt.Fprintf(e.stderr, "warning: the change was not written to the audit log: %v\n", err)
	}
}

func newAudit(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List who changed what, and when",
		Long: `List who changed what, and when: on the pages, through the API and on the command
line. The log keeps the newest 100,000 changes of the last 90 days.`,
		Example: `  tiwsnap audit
  tiwsnap audit -n 1000 -o jsonl | jq -r 'select(.action == "set-limit")'`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json", "jsonl")
	n := cmd.Flags().IntP("number", "n", 100, "`number` of changes to list, newest first: 1 to 100000")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *n < 1 || *n > audit.Most {
			return fail(exitUsage, "--number %d: it must be 1 to %d", *n, audit.Most)
		}
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		all, more, err := audit.New(c.rdb, c.cfg.Namespace).Page(cmd.Context(), "", *n)
		if err != nil {
			return c.redisError(err)
		}
		if more != "" {
			fmt.Fprintf(e.stderr, "older changes are not listed; list more with --number\n")
		}
		switch *output {
		case "json":
			return printJSON(e.stdout, map[string]any{"entries": all, "more": more != ""}, true)
		case "jsonl":
			return printLines(e.stdout, all)
		}
		if len(all) == 0 {
			fmt.Fprintln(e.stderr, "the audit log is empty")
			return nil
		}
		rows := [][]string{{"TIME", "WHO", "VIA", "FROM", "ACTION", "WHAT", "DETAIL"}}
		for _, a := range all {
			rows = append(rows, []string{a.At.Format(time.RFC3339), a.By, a.Via, a.From, a.Action, a.Object, a.Detail})
		}
		return printTable(e.stdout, rows)
	}
	return cmd
}

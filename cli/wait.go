package cli

import (
	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/ledger"
)

func newWait(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wait ID...",
		Short: "Wait until snapshots or batches have ended",
		Long: `Wait until snapshots or batches have ended, and print their status. Exit code 1 if a
snapshot failed or was canceled. Ctrl-C stops only the command, not the work (exit code
75).`,
		Example: `  tiwsnap wait monday
  tiwsnap wait monday tuesday -o json
  tiwsnap wait monday -o csv > monday.csv`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeBatches(e, func(b ledger.Batch) bool { return !b.Ended() }),
	}
	output := outputFlag(cmd, "table", "json", "jsonl", "csv")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = withRedis(e, func(cmd *cobra.Command, c *connection, args []string) error {
		return waitAndPrint(cmd.Context(), e, c, args, *output)
	})
	return cmd
}

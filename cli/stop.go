package cli

import (
	"cmp"
	"fmt"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/gate"
)

func newStop(e env) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop all sending until it is started again",
		Long: `Stop all sending at once, in every worker, until tiwsnap start.

Requests in flight are completed. Queued snapshots wait, and nothing is lost. status,
doctor, the pages, metrics and logs show who stopped sending, and why.`,
		Example: `  tiwsnap stop --reason "maintenance at Tencent until 6"
  tiwsnap start`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&reason, "reason", "", "reason, shown wherever sending is shown as stopped")
	output := outputFlag(cmd, "table", "json")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if len(reason) > maxReason {
			return fail(exitUsage, "--reason has %d bytes: at most %d are allowed", len(reason), maxReason)
		}
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		if _, err := gate.NewBreaker(c.rdb, c.cfg.Namespace).Stop(cmd.Context(), person(), reason); err != nil {
			return c.away(err)
		}
		c.did(e, "stop-sending", "", reason)
		return printSending(e, "sending is stopped; start it again with: tiwsnap start", true, *output)
	}
	return cmd
}

// maxReason is how long a reason may be, in bytes.
const maxReason = 200

func newStart(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start sending again, whatever has stopped it",
		Long: `Start sending again, after tiwsnap stop or after an error of the account, of the
connection or of Tencent's API has stopped it. Suspended applications are tried at once.
An error that persists stops sending again.`,
		Example: `  tiwsnap start`,
		Args:    cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect(cmd, e)
		if err != nil {
			return err
		}
		defer c.close()
		before, err := gate.NewBreaker(c.rdb, c.cfg.Namespace).Start(cmd.Context())
		if err != nil {
			return c.away(err)
		}
		c.did(e, "start-sending", "", string(before))
		said := "sending was not stopped"
		if before != "" {
			said = fmt.Sprintf("sending has started; cause of the stop: %s", before)
		}
		return printSending(e, said, false, *output)
	}
	return cmd
}

// printSending prints what became of sending.
func printSending(e env, said string, stopped bool, output string) error {
	if output == "json" {
		return printJSON(e.stdout, map[string]any{"stopped": stopped, "message": said}, true)
	}
	_, err := fmt.Fprintln(e.stdout, said)
	return err
}

// person is who runs the command.
func person() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname() // without one the name alone has to do
	return name + "@" + cmp.Or(host, "unknown")
}

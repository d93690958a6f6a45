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
		if _, err := gate.NewBreaker(c.rdb, c.cfg.Namespace).Stop(cmd.Context(), currentUser(), reason); err != nil {
			return c.redisError(err)
		}
		c.audit(e, "stop-sending", "", reason)
		return printSending(e, "sending is stopped; start it again with: tiwsnap start", true, *output)
	}
	return cmd
}

// maxReason is the maximum length of a reason in bytes.
const maxReason = 200

func newStart(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start sending again",
		Long: `Start sending again, after tiwsnap stop or after an error of the account, of the
connection or of Tencent's API. Suspended applications are tried at once. An error that
persists stops sending again.`,
		Example: `  tiwsnap start`,
		Args:    cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = withRedis(e, func(cmd *cobra.Command, c *connection, _ []string) error {
		before, err := gate.NewBreaker(c.rdb, c.cfg.Namespace).Start(cmd.Context())
		if err != nil {
			return c.redisError(err)
		}
		said, was := "sending was not stopped", before.Ended()
		if was != "" {
			said = "sending has started; " + was
		}
		c.audit(e, "start-sending", "", was)
		return printSending(e, said, false, *output)
	})
	return cmd
}

// printSending prints whether sending is stopped.
func printSending(e env, said string, stopped bool, output string) error {
	if output == "json" {
		return printJSON(e.stdout, map[string]any{"stopped": stopped, "message": said}, true)
	}
	_, err := fmt.Fprintln(e.stdout, said)
	return err
}

// currentUser returns USER@HOST of the command.
func currentUser() string {
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	return name + "@" + cmp.Or(host, "unknown")
}

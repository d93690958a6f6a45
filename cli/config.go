package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"tiwsnap/config"
)

const configHelp = `Settings come from the built-in defaults, a YAML file (--config), the environment
and flags, each stronger than the one before. The variable of the YAML key
rate.limit is TIWSNAP_RATE_LIMIT. Tencent's API key is TENCENTCLOUD_SECRET_ID,
TENCENTCLOUD_SECRET_KEY and, for temporary credentials, TENCENTCLOUD_TOKEN; each
may name a file instead: TENCENTCLOUD_SECRET_KEY_FILE. They are no flags, since
everybody on the machine can read those.`

func newConfig(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show the settings",
		Long:  configHelp,
	}
	check := &cobra.Command{
		Use:   "check",
		Short: "Check the settings of all layers and list every fault",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd, e, config.RoomFiles)
			if err != nil {
				return err
			}
			fmt.Fprintln(e.stdout, "ok")
			if why, fix := c.RegionWarning(); why != "" {
				fmt.Fprintf(e.stderr, "warning: TIWSNAP_TIW_REGION: %s; %s\n", why, fix)
			}
			if c.TencentCloud.SecretID.Empty() {
				fmt.Fprintln(e.stderr, "there is no API key of Tencent: a worker needs TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY")
			}
			return nil
		},
	}
	print := &cobra.Command{
		Use:   "print",
		Short: "Print the settings in force as YAML, each with where it comes from",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd, e)
			if err != nil {
				return err
			}
			return c.Print(e.stdout)
		},
	}
	for _, sub := range []*cobra.Command{check, print} {
		config.AllFlags(sub.Flags())
		cmd.AddCommand(sub)
	}
	return cmd
}

package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"tiwsnap/config"
)

const configHelp = `Settings come from the built-in defaults, a YAML file (--config), the environment
and flags. Each of these overrides the one before. The environment variable of the
YAML key rate.limit is TIWSNAP_RATE_LIMIT.

Tencent's API key is TENCENTCLOUD_SECRET_ID, TENCENTCLOUD_SECRET_KEY and, for
temporary credentials, TENCENTCLOUD_TOKEN. Each can be read from a file instead, as
with TENCENTCLOUD_SECRET_KEY_FILE. There are no flags for them, because every user of
the machine can read command lines.`

func newConfig(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and print the settings",
		Long:  "Check and print the settings.\n\n" + configHelp,
		Example: `  tiwsnap config check --config tiwsnap.yml
  tiwsnap config print`,
	}
	check := &cobra.Command{
		Use:   "check",
		Short: "Check all settings and list every error",
		Example: `  tiwsnap config check
  tiwsnap config check --config tiwsnap.yml`,
		Args: cobra.NoArgs,
	}
	checked := outputFlag(check, "table", "json")
	check.RunE = func(cmd *cobra.Command, _ []string) error {
		all, err := loadConfigs(cmd, e, config.RoomFiles)
		if err != nil {
			return err
		}
		if *checked == "json" {
			err = printJSON(e.stdout, map[string]bool{"ok": true}, true)
		} else {
			_, err = fmt.Fprintln(e.stdout, "ok")
		}
		for _, c := range all {
			of := ""
			if len(all) > 1 {
				of = "namespace " + c.Namespace.String() + ": "
			}
			if why, fix := c.RegionWarning(); why != "" {
				fmt.Fprintf(e.stderr, "warning: %sTIWSNAP_TIW_REGION: %s; %s\n", of, why, fix)
			}
			if c.TencentCloud.SecretID.Empty() {
				fmt.Fprintln(e.stderr, of+
					"warning: Tencent's API key is not set: a worker needs TENCENTCLOUD_SECRET_ID and "+
					"TENCENTCLOUD_SECRET_KEY")
			}
		}
		return err
	}
	print := &cobra.Command{
		Use:   "print",
		Short: "Print the effective settings and where each comes from",
		Long: `Print the effective settings and where each comes from, as a configuration file or
with -o json as JSON. Secrets are printed as ***.`,
		Example: `  tiwsnap config print
  tiwsnap config print --config tiwsnap.yml -o json`,
		Args: cobra.NoArgs,
	}
	printed := outputFlag(print, "yaml", "json")
	print.RunE = func(cmd *cobra.Command, _ []string) error {
		all, err := loadConfigs(cmd, e)
		if err != nil {
			return err
		}
		if *printed == "json" {
			return printJSON(e.stdout, config.ShownAll(all), true)
		}
		return config.PrintAll(e.stdout, all)
	}
	for _, sub := range []*cobra.Command{check, print} {
		config.AllFlags(sub.Flags())
		cmd.AddCommand(sub)
	}
	return cmd
}

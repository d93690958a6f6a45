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
		Short: "Check and print the settings",
		Long:  "Check and print the settings.\n\n" + configHelp,
		Example: `  tiwsnap config check --config tiwsnap.yml
  tiwsnap config print`,
	}
	check := &cobra.Command{
		Use:   "check",
		Short: "Check the settings of all layers and list every fault",
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
					"there is no API key of Tencent: a worker needs TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY")
			}
		}
		return err
	}
	print := &cobra.Command{
		Use:   "print",
		Short: "Print the settings in force, each with where it comes from",
		Long: `Print the settings in force, each with where it comes from: as a configuration
file, or with -o json. Secrets show as ***.`,
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

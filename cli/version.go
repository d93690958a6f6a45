package cli

import (
	"cmp"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"tiwsnap/version"
)

func newVersion(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version and the commit it was built from",
		Example: `  tiwsnap version
  tiwsnap version -o json`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		if *output == "json" {
			v := version.Read()
			return printJSON(e.stdout, map[string]any{
				"version": v.Version, "commit": v.Commit, "modified": v.Modified, "date": v.Date, "go": runtime.Version(),
			}, true)
		}
		_, err := fmt.Fprintln(e.stdout, versionLine())
		return err
	}
	return cmd
}

// versionLine returns the output of version and --version.
func versionLine() string {
	v := version.Read()
	commit := cmp.Or(v.Commit, "unknown")
	if v.Modified {
		commit += ", modified"
	}
	date := cmp.Or(v.Date, "date unknown")
	return fmt.Sprintf("tiwsnap %s (commit %s, %s, %s)", v.Version, commit, date, runtime.Version())
}

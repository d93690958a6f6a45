package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/bench"
)

const benchHelp = `Measure what tiwsnap promises, and print figures beside what they are to reach.

Each row starts a redis-server (append-only file, everysec), the simulator as
the referee, and worker processes of this binary, all on loopback, and ends
them again. Rows about peers need the sources (--peers), Go, and for BullMQ
Node and npm. A figure that falls short is marked; only a broken promise (a
second over the cap, a room lost or made twice) makes the exit code 1.

Figures are of this machine at this moment: leave it alone meanwhile. The load
average beside each tells whether others did.

Rows:
`

func newBench(e env) *cobra.Command {
	var o bench.Options
	var out, compare string
	var names []string
	help := strings.Builder{}
	help.WriteString(benchHelp)
	for _, row := range bench.Rows() {
		names = append(names, row.Name)
		fmt.Fprintf(&help, "  %-10s %s\n", row.Name, row.About)
	}
	cmd := &cobra.Command{
		Use:   "bench [ROW...]",
		Short: "Measure what it promises, against a strict referee",
		Long:  strings.TrimSuffix(help.String(), "\n"),
		Example: `  tiwsnap bench
  tiwsnap bench drain idle --out today.json
  tiwsnap bench --short
  tiwsnap bench --compare today.json`,
		ValidArgsFunction: cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&o.Short, "short", false, "half a minute in all: enough to see a broken promise")
	f.DurationVar(&o.Margin, "margin", 0, "TIWSNAP_RATE_MARGIN of the workers; by default their own")
	f.StringVar(&out, "out", "", "also write the report to this `file`, as JSON")
	f.StringVar(&compare, "compare", "", "`file` that --out wrote: print each figure's ratio to the one there")
	f.StringVar(&o.Peers, "peers", filepath.Join("bench", "peers"), "`folder` of the peers' programs")
	f.StringVar(&o.Keep, "keep", "", "`folder` for the data and logs of each row, which are thrown away otherwise")
	output := outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range args {
			if !slices.Contains(names, name) {
				return fail(exitUsage, "there is no row %q; the rows are %s", name, strings.Join(names, ", "))
			}
		}
		var before *bench.Report
		if compare != "" {
			var err error
			if before, err = bench.Read(compare); err != nil {
				return fail(exitUsage, "--compare: %w", err)
			}
		}
		binary, err := os.Executable()
		if err != nil {
			return err
		}
		o.Binary, o.Rows, o.Log = binary, args, e.stderr
		if *output == "table" {
			o.Each = bench.NewTable(e.stdout, before).Add
		}
		began := time.Now()
		report, err := bench.Run(cmd.Context(), o)
		if errors.Is(err, exec.ErrNotFound) && report == nil {
			return fail(exitUnavailable, "%w (Debian: apt-get install redis-server)", err)
		}
		if report == nil {
			return err
		}
		if *output == "json" {
			if err := printJSON(e.stdout, report, true); err != nil {
				return err
			}
		}
		for _, line := range report.Missing {
			fmt.Fprintf(e.stderr, "not measured: %s\n", line)
		}
		fmt.Fprintf(e.stderr, "%s; %d s\n", report.Machine, int(time.Since(began).Seconds()))
		if out != "" {
			if err := report.Write(out); err != nil {
				return err
			}
		}
		if len(report.Broken) > 0 {
			return fail(exitFailed, "promises broken:\n  %s", strings.Join(report.Broken, "\n  "))
		}
		if err != nil {
			return fail(exitFailed, "bench: %w", err)
		}
		return nil
	}
	return cmd
}

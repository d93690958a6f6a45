package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tiwsnap/internal/plural"
	"tiwsnap/ledger"
	"tiwsnap/results"
)

// sheetOptions are the options of a result list for a spreadsheet program.
type sheetOptions struct {
	xlsx bool
	zone *time.Location
}

// sheetFlags adds the flags of result lists for spreadsheet programs. It returns a
// function that reads them, which returns nil for other output. Its error has an exit
// code.
func sheetFlags(cmd *cobra.Command, e env) func(output string, args []string) (*sheetOptions, error) {
	excel := cmd.Flags().Bool("excel", false,
		"with -o csv: a CSV for Excel, with a column for each image and times in local time")
	zone := cmd.Flags().String("tz", "",
		"time `zone` for Excel, such as Asia/Shanghai; default: that of this machine")
	return func(output string, args []string) (*sheetOptions, error) {
		o := &sheetOptions{xlsx: output == "xlsx", zone: localZone(e)}
		isSheet := o.xlsx || *excel
		switch {
		case *excel && output != "csv":
			return nil, fail(exitUsage, "--excel works only with -o csv, not -o %s (-o xlsx needs no --excel)", output)
		case *zone != "" && !isSheet:
			return nil, fail(exitUsage, "--tz works only with -o csv --excel and -o xlsx: all other formats use UTC")
		case !isSheet:
			return nil, nil
		case len(args) == 0:
			return nil, fail(exitUsage, "a list for Excel needs the id of a batch: tiwsnap status ID")
		}
		if out, ok := e.stdout.(*stream); ok && o.xlsx && out.terminal != nil {
			return nil, fail(exitUsage, "-o xlsx is binary: redirect it with > FILE.xlsx")
		}
		if *zone != "" {
			var err error
			if o.zone, err = time.LoadLocation(*zone); err != nil || strings.EqualFold(*zone, "local") {
				return nil, fail(exitUsage, "--tz %q: it must be a time zone such as Asia/Shanghai or UTC", *zone)
			}
		}
		return o, nil
	}
}

// localZone returns the time zone of this machine by name. If the name is unknown, it
// returns today's offset from UTC.
func localZone(e env) *time.Location {
	name := strings.TrimPrefix(e.getenv("TZ"), ":")
	if name == "" {
		target, _ := os.Readlink("/etc/localtime")
		_, name, _ = strings.Cut(target, "zoneinfo/")
	}
	if zone, err := time.LoadLocation(name); err == nil && name != "" && name != "Local" {
		return zone
	}
	now := time.Now()
	if _, offset := now.Zone(); offset != 0 {
		return time.FixedZone(now.Format("UTC-07:00"), offset)
	}
	return time.UTC
}

// printSheet prints the result list of a batch, or of one snapshot.
func printSheet(ctx context.Context, e env, c *connection, id string, o sheetOptions) error {
	var labels []string
	var all iter.Seq2[results.Result, error]
	b, err := c.ledger.Batch(ctx, id)
	switch {
	case err == nil:
		labels, all = b.Labels, c.results.Batch(ctx, b, 1, b.Total)
	case !errors.Is(err, ledger.ErrNotFound):
		return c.redisError(err)
	default:
		s, err := c.results.Snapshot(ctx, id)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return c.unknownID(id)
		case err != nil:
			return c.redisError(err)
		}
		labels = slices.Sorted(maps.Keys(s.Room.Label))
		all = func(yield func(results.Result, error) bool) { yield(c.results.Explain(ctx, s), nil) }
	}
	sheet, err := results.NewSheet(labels, o.zone, all)
	if err != nil {
		return c.sheetError(err)
	}
	defer sheet.Close()
	if o.xlsx {
		if n := sheet.Lossy(); n > 0 {
			fmt.Fprintf(e.stderr, "%s: control characters were replaced by U+FFFD, because a workbook cannot store "+
				"them; -o csv keeps them\n", plural.Of(n, "room"))
		}
		return c.sheetError(sheet.WriteXLSX(e.stdout))
	}
	return c.sheetError(sheet.WriteCSV(e.stdout))
}

// sheetError adds the exit code to an error of a Sheet.
func (c *connection) sheetError(err error) error {
	var excel *results.SheetError
	var file *fs.PathError
	switch {
	case errors.As(err, &excel):
		return fail(exitUsage, "%w: use -o csv without --excel", err)
	case errors.As(err, &file): // the output, or a temporary file
		return fail(exitTempFail, "%w", err)
	}
	return c.redisError(err)
}

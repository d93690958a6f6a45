// Command bench measures tiwsnap, one row at a time. It builds the binary and runs worker processes against a real
// redis-server and the simulator, which counts the requests. It measures other job queues (peers) in the same way.
// Everything runs on loopback and ends by itself.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"tiwsnap/internal/testbed"
)

const help = `Measure tiwsnap and print each figure beside its target.

Usage: go run ./bench [flags] [ROW...]

Each row starts a redis-server (append-only file, everysec), the simulator of the
API, and worker processes of tiwsnap, all on loopback, and stops them at the end.
The row peers also needs Node and npm for BullMQ. A figure that misses its target
is marked "missed". The exit code is 1 only if a promise is broken: a second over
the rate limit, a lost room, or a second task for a room.

Run nothing else on the machine meanwhile. Each figure has the load average, which
shows if something did.

ROWS
%s
FLAGS
%s
EXAMPLES
  go run ./bench
  go run ./bench --out today.json drain idle
  go run ./bench --short
  go run ./bench --compare today.json
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit code: 0, or 1 if a promise is broken or a row could not be measured, or 2 for wrong usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := options{Log: stderr}
	var out, compare string
	var asJSON bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.Short, "short", false, "short form, half a minute in all: shows a broken promise")
	f.DurationVar(&o.Margin, "margin", 0, "TIWSNAP_RATE_MARGIN of the workers; default: that of a worker")
	f.StringVar(&out, "out", "", "also write the report as JSON to this `file`")
	f.StringVar(&compare, "compare", "", "print the ratio of each figure to that in this `file`, which --out has written")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON instead of a table")
	f.StringVar(&o.Peers, "peers", filepath.Join("bench", "peers"), "`folder` with the programs of the peers")
	f.StringVar(&o.Keep, "keep", "", "keep the data and logs of each row in this `folder`; default: delete them")
	f.Usage = func() {
		var list, flags strings.Builder
		for _, r := range rows {
			fmt.Fprintf(&list, "  %-10s %s\n", r.name, r.about)
		}
		f.SetOutput(&flags)
		f.PrintDefaults()
		fmt.Fprintf(stderr, help, list.String(), flags.String())
	}
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	o.Rows = f.Args()
	complain := func(code int, err error) int {
		fmt.Fprintln(stderr, "bench:", err)
		return code
	}
	if _, err := chosenRows(o); err != nil {
		return complain(2, err)
	}
	var before *report
	if compare != "" {
		var err error
		if before, err = readReport(compare); err != nil {
			return complain(2, fmt.Errorf("--compare: %w", err))
		}
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		return complain(1, fmt.Errorf("%w (Debian: apt-get install redis-server)", err))
	}
	logging.Disable() // Redis goes away at the end of every row
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return complain(1, err)
	}
	defer os.RemoveAll(dir)
	if o.Binary, err = testbed.Build(ctx, dir); err != nil {
		return complain(1, err)
	}
	if !asJSON {
		o.Each = newTable(stdout, before).add
	}
	began := time.Now()
	report, err := measure(ctx, o)
	if report == nil {
		return complain(1, err)
	}
	for _, line := range report.Missing {
		fmt.Fprintf(stderr, "not measured: %s\n", line)
	}
	fmt.Fprintf(stderr, "%s; %s; %d s\n", report.Program, report.Machine, int(time.Since(began).Seconds()))
	if asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		err = errors.Join(err, e.Encode(report))
	}
	if out != "" {
		err = errors.Join(err, report.write(out))
	}
	if len(report.Broken) > 0 {
		err = errors.Join(err, fmt.Errorf("promises broken:\n  %s", strings.Join(report.Broken, "\n  ")))
	}
	if err != nil {
		return complain(1, err)
	}
	return 0
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"tiwsnap/internal/testbed"
)

// options are the settings of a run.
type options struct {
	Binary string        // the tiwsnap binary
	Rows   []string      // names of rows; empty: all
	Short  bool          // only rows with a short form, and in that form: half a minute in all
	Margin time.Duration // TIWSNAP_RATE_MARGIN of the workers; 0: their default
	Peers  string        // folder with the programs of the peers
	Keep   string        // folder for the data and logs of each row; empty: they are deleted
	Log    io.Writer     // gets progress messages
	Each   func(figure)  // is called with each figure as soon as it is measured
}

// row is a measurement.
type row struct {
	name    string
	about   string
	short   bool // has a short form
	timeout time.Duration
	run     func(context.Context, *recorder) error
}

// rows are all rows in the order in which they run. The timeouts are several times the duration on an idle machine.
var rows = []row{
	{"drain", "600 rooms at 20 a second, by 1, 4 and 16 processes, and with all cores busy", true,
		10 * time.Minute, drain},
	{"urgent", "single rooms during a batch of 10,000, by 1 and 8 processes", false,
		5 * time.Minute, urgent},
	{"fair", "30 rooms behind 100,000, and the shares of three batches of different sizes", false,
		5 * time.Minute, fair},
	{"idle", "single rooms to an idle worker, and the cost of an idle worker", false,
		6 * time.Minute, idle},
	{"pipeline", "everything except Tencent: no rate limit and an API that answers at once, by 1 and 2 processes", false,
		3 * time.Minute, pipeline},
	{"growth", "the cost of a snapshot with more processes, a slower API or Redis, more rooms and more batches", false,
		20 * time.Minute, growth},
	{"peers", "BullMQ, and asynq behind three limiters: drain, idle latency, bulk enqueue", false,
		20 * time.Minute, measurePeers},
}

// measure runs the rows. The report lists rows whose software is missing, and broken promises. The error lists the rows
// that failed; the report has their figures up to then.
func measure(ctx context.Context, o options) (*report, error) {
	chosen, err := chosenRows(o)
	if err != nil {
		return nil, err
	}
	program, err := exec.CommandContext(ctx, o.Binary, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s version: %w", o.Binary, err)
	}
	report := &report{
		At: time.Now().UTC(), Program: strings.TrimSpace(string(program)), Machine: machine(),
		Short: o.Short, Missing: []string{}, Broken: []string{},
	}
	var errs []error
	for _, r := range chosen {
		if err := runRow(ctx, o, r, report); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return report, errors.Join(errs...)
}

func chosenRows(o options) (chosen []row, err error) {
	for _, name := range o.Rows {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.name == name }) {
			var names []string
			for _, r := range rows {
				names = append(names, r.name)
			}
			return nil, fmt.Errorf("there is no row %q; the rows are %s", name, strings.Join(names, ", "))
		}
	}
	for _, r := range rows {
		if len(o.Rows) == 0 && (r.short || !o.Short) || slices.Contains(o.Rows, r.name) {
			chosen = append(chosen, r)
		}
	}
	return chosen, nil
}

func runRow(ctx context.Context, o options, r row, report *report) error {
	fmt.Fprintf(o.Log, "%s: %s\n", r.name, r.about)
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.Keep != "" {
		dir = filepath.Join(o.Keep, r.name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	err = r.run(ctx, &recorder{options: o, row: r.name, dir: dir, report: report})
	var missing *missingError
	if errors.As(err, &missing) {
		report.Missing = append(report.Missing, r.name+": "+missing.Error())
		return nil
	}
	return err
}

// missingError means that software that a row needs is not installed.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what }

// recorder records the figures of a row.
type recorder struct {
	options
	row    string
	dir    string
	report *report
}

// add records a figure.
func (r *recorder) add(name string, value float64, unit string, target target) {
	f := figure{Row: r.row, Name: name, Value: value, Unit: unit, Target: target, Load: testbed.LoadAverage()}
	r.report.Figures = append(r.report.Figures, f)
	if r.Each != nil {
		r.Each(f)
	}
}

// broken records that a promise was broken.
func (r *recorder) broken(format string, args ...any) {
	r.report.Broken = append(r.report.Broken, r.row+": "+fmt.Sprintf(format, args...))
}

// log prints a progress message.
func (r *recorder) log(format string, args ...any) {
	fmt.Fprintf(r.Log, r.row+": "+format+"\n", args...)
}

// machine describes this machine.
func machine() string {
	cores := fmt.Sprintf("%d cores", runtime.NumCPU())
	if runtime.NumCPU() == 1 {
		cores = "1 core"
	}
	words := []string{cores}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				words = append(words, strings.TrimSpace(value))
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		words = append(words, "Linux "+strings.TrimSpace(string(b)))
	}
	words = append(words, runtime.Version())
	if out, err := exec.Command("redis-server", "--version").Output(); err == nil {
		for _, word := range strings.Fields(string(out)) {
			if v, ok := strings.CutPrefix(word, "v="); ok {
				words = append(words, "Redis "+v)
			}
		}
	}
	return strings.Join(words, ", ")
}

// pause waits for d. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func processes(n int) string {
	if n == 1 {
		return "1 process"
	}
	return fmt.Sprint(n, " processes")
}

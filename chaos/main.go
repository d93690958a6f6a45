// Command chaos injects faults around a batch of rooms, on a seeded schedule. Then it compares the class list, the log
// of the simulator and the ledger. It builds the binary and runs worker processes, a real redis-server and the
// simulator, all on loopback. The exit code is 1 if a promise is broken.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"tiwsnap/internal/testbed"
	"tiwsnap/tiw/tiwtest"
)

// options are the flags.
type options struct {
	seed                             uint64
	rooms, workers, rate             int
	margin                           time.Duration
	minutes                          float64
	faults                           string
	killEvery, strikeFor             time.Duration
	grace, timeout                   time.Duration
	callbacks                        bool
	cut, silent, internal, internalC float64
	lost, double                     float64
	short                            bool
	json, keep                       string
}

func main() { os.Exit(exitCode()) }

func exitCode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.Uint64Var(&o.seed, "seed", 0, "seed of the schedule and of the simulator; 0: a random one, which is printed")
	flag.IntVar(&o.rooms, "rooms", 1000, "rooms of the batch; a run of a single fault has a fifth of them, at least 80")
	flag.IntVar(&o.workers, "workers", 3, "worker processes, 1 to 16; a run of a single fault has two")
	flag.IntVar(&o.rate, "rate", 20, "rate limit of the workers and of the simulator, requests a second")
	flag.DurationVar(&o.margin, "margin", 15*time.Millisecond,
		"TIWSNAP_RATE_MARGIN of the workers; a busy machine that delays requests needs a larger one")
	flag.Float64Var(&o.minutes, "minutes", 30, "end a run after this time, even if rooms are in progress")
	flag.StringVar(&o.faults, "faults", strings.Join(allFaults(), ","), "`list` of faults; default: all")
	flag.DurationVar(&o.killEvery, "kill-every", 10*time.Second,
		"time between two kills; the other times of the schedule are multiples of it")
	flag.DurationVar(&o.strikeFor, "strike-for", 5*time.Minute,
		"duration of the schedule; 0: until every room has ended")
	flag.BoolVar(&o.callbacks, "callbacks", true, "give the workers a callback address; without one they only poll")
	flag.DurationVar(&o.grace, "grace", 30*time.Second, "TIWSNAP_UNKNOWN_GRACE of the workers")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Second, "TIWSNAP_TIW_TIMEOUT of the workers")
	flag.Float64Var(&o.cut, "cut", 0.05, "probability that a request creates a task and its connection is cut")
	flag.Float64Var(&o.silent, "silent", 0.05, "probability that a request creates a task and is never answered")
	flag.Float64Var(&o.internal, "internal", 0.05, "probability of InternalError without a task")
	flag.Float64Var(&o.internalC, "internal-created", 0.05, "probability of InternalError with a task")
	flag.Float64Var(&o.lost, "callback-lost", 0.2, "probability that a callback is lost")
	flag.Float64Var(&o.double, "callback-double", 0.2, "probability that a callback comes twice")
	flag.BoolVar(&o.short, "short", false, "a run of under a minute without kill -9, for CI; other flags override it")
	flag.StringVar(&o.json, "json", "", "write the reports as JSON to this `file`; - is stdout")
	flag.StringVar(&o.keep, "keep", "",
		"keep the data of Redis and the logs in this `folder`; default: keep them only if a promise is broken")
	flag.Parse()
	if o.short {
		o.setShort()
	}
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 2
	}
	if o.seed == 0 {
		o.seed = 1 + mathrand.Uint64N(1<<32)
	}
	if err := runAll(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	return 0
}

// setShort applies -short to the flags that are not set.
func (o *options) setShort() {
	given := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{
		"rooms": "200", "workers": "2",
		"faults": "stop,term,redis,odd-probe,images,store-away,bad-room", "kill-every": "2s", "strike-for": "15s",
		"grace": "6s", "timeout": "2s", "minutes": "5",
	} {
		if !given[name] {
			flag.Set(name, value)
		}
	}
}

func (o *options) check() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(o.rooms < 10 || o.rooms > 100_000, "-rooms is %d, it must be from 10 to 100,000", o.rooms)
	bad(o.workers < 1 || o.workers > 16, "-workers is %d, it must be from 1 to 16", o.workers)
	bad(o.rate < 1 || o.rate > 200, "-rate is %d, it must be from 1 to 200", o.rate)
	bad(!(o.minutes > 0 && o.minutes <= 600), "-minutes is %v, it must be up to 600", o.minutes)
	bad(o.killEvery < time.Second, "-kill-every is %v, it must be at least 1s", o.killEvery)
	bad(o.strikeFor < 0, "-strike-for is %v, it must not be negative", o.strikeFor)
	bad(o.callbacks && o.grace < 2*slack, "-grace is %v, it must be at least %v", o.grace, 2*slack)
	_, err := parseFaults(o.faults)
	faults := o.requestFaults()
	return errors.Join(append(errs, err, faults.Validate())...)
}

func (o *options) requestFaults() tiwtest.Faults {
	return tiwtest.Faults{
		Cut: o.cut, Silent: o.silent, InternalError: o.internal, InternalErrorCreated: o.internalC,
		CallbackLost: o.lost, CallbackDouble: o.double,
	}
}

// runAll runs all runs of the chosen faults and prints their reports. The error lists the broken promises.
func runAll(ctx context.Context, o options) error {
	dir, err := folder(o.keep)
	if err != nil {
		return err
	}
	faults, err := parseFaults(o.faults)
	if err != nil {
		return err
	}
	binary, err := testbed.Build(ctx, dir)
	if err != nil {
		return err
	}
	logging.Disable() // Redis is unavailable on purpose
	var all []*report
	broken := []string{fmt.Sprintf("promises broken (seed %d, logs in %s):", o.seed, dir)}
	for i, done := range startAll(ctx, o, faults, binary, dir) {
		d := <-done
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d.err != nil {
			broken = append(broken, fmt.Sprintf("%s: %v", runsOf(faults)[i].name, d.err))
		}
		for _, r := range d.reports {
			if err := r.print(os.Stdout); err != nil {
				return err
			}
			for _, line := range append(append(r.Broken, r.Examples...), r.Deaths...) {
				broken = append(broken, r.Name+": "+line)
			}
		}
		all = append(all, d.reports...)
	}
	if err := errors.Join(printTable(os.Stdout, all), saveJSON(o.json, all)); err != nil {
		return err
	}
	if len(broken) > 1 {
		return errors.New(strings.Join(broken, "\n  "))
	}
	if o.keep == "" {
		return os.RemoveAll(dir)
	}
	return nil
}

func folder(keep string) (string, error) {
	if keep == "" {
		return os.MkdirTemp("", "chaos")
	}
	dir, err := filepath.Abs(keep)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}

func saveJSON(name string, all []*report) error {
	if name == "" {
		return nil
	}
	var to io.WriteCloser = os.Stdout
	if name != "-" {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer f.Close()
		to = f
	}
	e := json.NewEncoder(to)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

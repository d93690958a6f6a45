// Command chaos breaks everything around a batch of rooms, by a seeded
// schedule, and then compares three truths: the class list, the log of the
// simulator as the referee, the ledger. The workers are processes of the
// tiwsnap binary that it builds, Redis is a real redis-server, all on loopback.
// It ends by itself, and exits 1 on a broken promise.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"tiwsnap/internal/testbed"
	"tiwsnap/ledger"
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
	flag.Uint64Var(&o.seed, "seed", 0, "of the schedule and of the simulator; 0: a random one, which is printed")
	flag.IntVar(&o.rooms, "rooms", 1000, "rooms of the batch")
	flag.IntVar(&o.workers, "workers", 3, "worker processes, 1 to 16")
	flag.IntVar(&o.rate, "rate", 20, "requests a second, for the workers and for the referee")
	flag.DurationVar(&o.margin, "margin", 15*time.Millisecond, "what the workers add to the second: as much as the machine delays requests on their way")
	flag.Float64Var(&o.minutes, "minutes", 30, "after so many minutes the run ends, whether all rooms have or not")
	flag.StringVar(&o.faults, "faults", strings.Join(allFaults(), ","), "what strikes: a `list` of the default's words")
	flag.DurationVar(&o.killEvery, "kill-every", 10*time.Second, "time between two kills; all other times of the schedule are in proportion")
	flag.DurationVar(&o.strikeFor, "strike-for", 0, "how long the schedule goes on; 0: until every room has ended")
	flag.BoolVar(&o.callbacks, "callbacks", true, "give the workers a callback address; without one they can only ask")
	flag.DurationVar(&o.grace, "grace", 30*time.Second, "how long an unknown outcome waits for its callback")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Second, "of one call of the API")
	flag.Float64Var(&o.cut, "cut", 0.05, "probability that a request makes a task and its connection is cut")
	flag.Float64Var(&o.silent, "silent", 0.05, "probability that a request makes a task and is never answered")
	flag.Float64Var(&o.internal, "internal", 0.05, "probability of InternalError without a task")
	flag.Float64Var(&o.internalC, "internal-created", 0.05, "probability of InternalError with a task")
	flag.Float64Var(&o.lost, "callback-lost", 0.2, "probability that a callback is lost")
	flag.Float64Var(&o.double, "callback-double", 0.2, "probability that a callback comes twice")
	flag.BoolVar(&o.short, "short", false, "a run of under 90 seconds without kill -9, for CI; other flags are over it")
	flag.StringVar(&o.json, "json", "", "`file` for the report; - for stdout")
	flag.StringVar(&o.keep, "keep", "", "`folder` for Redis' data and the logs of the workers; by default they are kept only if a promise was broken")
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
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	return 0
}

// setShort sets what was not set by a flag.
func (o *options) setShort() {
	given := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{
		"rooms": "200", "workers": "2",
		"faults": "stop,term,redis,odd-probe,bad-room", "kill-every": "2s", "strike-for": "15s",
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

const batchName = "chaos"

func run(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(o.minutes*float64(time.Minute)))
	defer cancel()
	dir, err := folder(o.keep)
	if err != nil {
		return err
	}
	r, err := chaos(ctx, o, dir)
	if err != nil {
		return fmt.Errorf("%w (logs in %s)", err, dir)
	}
	if err := r.print(os.Stdout); err != nil {
		return err
	}
	if err := saveJSON(o.json, r); err != nil {
		return err
	}
	if len(r.Broken) > 0 {
		lines := append([]string{fmt.Sprintf("promises broken (seed %d, logs in %s):", r.Seed, dir)}, r.Broken...)
		lines = append(append(lines, r.Examples...), r.Deaths...)
		return errors.New(strings.Join(lines, "\n  "))
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

func saveJSON(name string, r *report) error {
	switch name {
	case "":
		return nil
	case "-":
		return r.writeJSON(os.Stdout)
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(r.writeJSON(f), f.Close())
}

// saveCalls writes the log of the referee, for whoever wants to know more.
func saveCalls(name string, calls []tiwtest.Call) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, c := range calls {
		if err := e.Encode(c); err != nil {
			return err
		}
	}
	return os.WriteFile(name, b.Bytes(), 0o600)
}

// chaos is one run, with all that it starts ended again.
func chaos(ctx context.Context, o options, dir string) (*report, error) {
	binary, err := testbed.Build(ctx, dir)
	if err != nil {
		return nil, err
	}
	kinds, err := parseFaults(o.faults)
	if err != nil {
		return nil, err
	}
	list, file := newList(o.seed, kinds, o.rooms), filepath.Join(dir, "rooms.csv")
	if err := list.write(file); err != nil {
		return nil, err
	}
	logging.Disable() // Redis being away is part of the game
	bed, err := testbed.New(dir, binary)
	if err != nil {
		return nil, err
	}
	defer bed.Close()
	faults := o.requestFaults()
	faults.RoomCodes, faults.AppCodes = list.roomCodes(), list.appCodes()
	err = bed.Simulate(tiwtest.Options{
		Limit: o.rate, Window: tiwtest.Sliding, Seed: o.seed, Faults: faults,
		Latency: 80 * time.Millisecond, LatencySigma: 0.35, TaskDuration: 500 * time.Millisecond, TaskSigma: 0.35,
		CallbackTimeout: time.Duration(o.workers+1) * proxyPatience,
		CallLog:         100_000 + 50*o.rooms,
	})
	if err != nil {
		return nil, err
	}
	bed.Environ = append(bed.Environ,
		fmt.Sprint("TIWSNAP_TIW_TIMEOUT=", o.timeout),
		fmt.Sprint("TIWSNAP_RATE_LIMIT=", o.rate),
		fmt.Sprint("TIWSNAP_RATE_MARGIN=", o.margin),
		"TIWSNAP_CONFIRM_AFTER=5s",
	)
	fleet, err := newFleet(o.workers, binary, dir, bed.Environ)
	if err != nil {
		return nil, err
	}
	var front *proxy
	base := ""
	if o.callbacks {
		front = newProxy(fleet.callbackAddrs())
		var closeFront func()
		if base, closeFront, err = serve(front); err != nil {
			return nil, err
		}
		defer closeFront()
		fleet.setCallbacks(base, rand.Text()+rand.Text(), o.grace)
	}
	fleet.start()
	defer fleet.stop(o.timeout + 10*time.Second)
	if err := fleet.up(ctx, bed.DB); err != nil {
		return nil, err
	}

	start := time.Now()
	var saying sync.Mutex
	say := func(what, format string, args ...any) {
		saying.Lock()
		defer saying.Unlock()
		fmt.Fprintf(os.Stderr, "%7.1fs  %-9s  %s\n", time.Since(start).Seconds(), what, fmt.Sprintf(format, args...))
	}
	say("begin", "%d rooms, %d workers, %d requests a second, seed %d", o.rooms, o.workers, o.rate, o.seed)
	if _, err := bed.Command(ctx, "enqueue", "batch", file, "--name", batchName); err != nil {
		return nil, err
	}

	arena := &arena{fleet: fleet, redis: bed.Redis, sim: bed.Sim, rate: o.rate, say: say, faults: faults}
	striking, endStrikes := context.WithCancel(ctx)
	var lost map[string]time.Time
	var held []tiwtest.Stall
	var game sync.WaitGroup
	end := cmp.Or(o.strikeFor, time.Duration(o.minutes*float64(time.Minute)))
	game.Go(func() { arena.run(striking, schedule(o.seed, kinds, o.rooms, o.killEvery, end)) })
	game.Go(func() { lost = orphans(striking, bed.DB) })
	game.Go(func() { held = tiwtest.Stalls(striking, start) })
	follow(ctx, ledger.New(bed.DB, ledger.Options{}), say)
	seconds := time.Since(start).Seconds()
	endStrikes()
	game.Wait()
	if err := errors.Join(arena.broken...); err != nil {
		return nil, err
	}

	// What is still on its way may make an extra task or tell of one. From here
	// on the bound of the run does not count: it has been reached, or all rooms
	// have ended.
	say("end", "waiting for what is on its way")
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	settle(after, bed.Sim)
	fleet.stop(o.timeout + 10*time.Second)

	e := evidence{rooms: list.rooms, must: list.must, calls: bed.Sim.Calls(), strikes: arena.strikes}
	for t := range bed.Sim.Tasks() {
		e.tasks = append(e.tasks, t)
	}
	if o.callbacks {
		e.grace, e.taken = o.grace, front.takenAt(base)
	}
	if e.records, e.batch, err = readLedger(after, bed); err != nil {
		return nil, err
	}

	if err := saveCalls(filepath.Join(dir, "calls.jsonl"), e.calls); err != nil {
		return nil, err
	}

	st := bed.Sim.State()
	create := st.Actions[tiwtest.ActionCreate]
	r := &report{
		Seed: o.seed, Workers: o.workers, Rate: o.rate, Faults: kinds, KillEvery: o.killEvery.String(),
		finding: audit(e),
		Calls:   create.Received.Calls, Rejected: create.Rejected, Foreign: create.Foreign,
		Sliding: create.Received.SlidingSecond.Calls, Calendar: create.Received.CalendarSecond.Calls,
		Over:          tiwtest.Over(e.calls, o.rate, start, held),
		Tightest:      tightest(e.calls, o.rate, start),
		DescribesEach: float64(st.Actions[tiwtest.ActionDescribe].Received.Calls) / float64(o.rooms),
		Struck:        st.Faults, Callbacks: st.Callbacks,
		Strikes: arena.strikes, Recovery: recoveries(arena.strikes, e.calls),
		Bad: failures(e), Orphans: orphaned(lost, e.records),
		Stalls: held, Deaths: fleet.deaths(), Seconds: seconds, Load: testbed.LoadAverage(),
	}
	if o.callbacks {
		r.Grace = o.grace.String()
	}
	r.judge()
	return r, nil
}

// serve serves on a free loopback port until closed.
func serve(h http.Handler) (base string, closed func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(l)
	return "http://" + l.Addr().String(), func() { srv.Close() }, nil
}

// follow waits until every room has ended, or until ctx does, and tells how it
// gets on.
func follow(ctx context.Context, l *ledger.Ledger, say func(what, format string, args ...any)) {
	told := time.Now()
	for pause(ctx, 250*time.Millisecond) {
		b, err := l.Batch(ctx, batchName)
		if err != nil {
			continue // Redis is away: that is part of the game
		}
		if time.Since(told) > 10*time.Second || b.Ended() {
			told = time.Now()
			say("", "%d of %d ended, %d failed; %d accepted, %d unknown, %d sending, %d queued",
				b.Done(), b.Total, b.Failed, b.Accepted, b.Unknown, b.Sending, b.Queued)
		}
		if b.Ended() {
			return
		}
	}
}

// settle waits until the simulator has nothing more to tell: no task runs, and
// for a while no callback was sent. By then a zombie that was let go has done
// what it does.
func settle(ctx context.Context, sim *tiwtest.Server) {
	const quiet = 3 * time.Second
	var last tiwtest.State
	since := time.Now()
	for time.Since(since) < quiet && pause(ctx, 100*time.Millisecond) {
		st := sim.State()
		if st.Tasks.Running > 0 || st.Calls != last.Calls || st.Callbacks != last.Callbacks {
			since = time.Now()
		}
		last = st
	}
}

// readLedger asks the program what has become of the batch.
func readLedger(ctx context.Context, bed *testbed.Testbed) (records []ledger.Snapshot, b ledger.Batch, err error) {
	out, err := bed.Command(ctx, "status", batchName, "-o", "json")
	if err == nil {
		err = json.Unmarshal(out, &b)
	}
	if err != nil {
		return nil, b, err
	}
	if out, err = bed.Command(ctx, "status", batchName, "-o", "jsonl"); err != nil {
		return nil, b, err
	}
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var s ledger.Snapshot
		err := d.Decode(&s)
		if errors.Is(err, io.EOF) {
			return records, b, nil
		}
		if err != nil {
			return nil, b, fmt.Errorf("result list: %w", err)
		}
		records = append(records, s)
	}
}

// Command drain measures the promise of tiwsnap: a batch is drained at the cap
// by any number of worker processes, no second holds more requests than the
// cap, nothing is rejected, every room is snapshotted exactly once.
//
// It starts a redis-server and, as the referee, a simulator that counts
// strictly; the workers are processes of the tiwsnap binary that it builds.
// Everything is on loopback and ends by itself. It exits 1 on a broken
// promise, never on a slow machine.
package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/redistest"
	"tiwsnap/tiw/tiwtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	rooms := flag.Int("rooms", 600, "rooms to drain")
	procs := flag.String("procs", "1,4", "numbers of worker processes, one run each")
	window := flag.String("window", "sliding", "how the referee draws a second: sliding or calendar")
	latency := flag.Duration("latency", 80*time.Millisecond, "median latency of the API")
	keep := flag.String("keep", "", "folder for the result lists and logs")
	flag.Parse()
	if err := run(ctx, *rooms, *procs, tiwtest.Window(*window), *latency, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "drain:", err)
		stop()
		os.Exit(1)
	}
}

// report is what one run measured.
type report struct {
	procs         int
	firstToLast   time.Duration // first request at the API to the last
	wall          time.Duration // start of the enqueue to the last request
	rejected      int64
	sliding       int64
	calendar      int64
	twice, images int
	perSnapshot   float64 // Redis commands, those inside scripts included
	load          string
}

func run(ctx context.Context, rooms int, procs string, window tiwtest.Window, latency time.Duration, keep string) error {
	dir, err := os.MkdirTemp("", "drain")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if keep == "" {
		keep = dir
	}
	binary := filepath.Join(dir, "tiwsnap")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "tiwsnap")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	list := filepath.Join(dir, "rooms.csv")
	if err := os.WriteFile(list, classList(rooms), 0o600); err != nil {
		return err
	}

	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "PROCESSES\tROOMS\tSECONDS\tRATE\tREJECTED\tFULLEST SECOND\tFULLEST CALENDAR SECOND\tTWICE\tIMAGES\tREDIS COMMANDS A SNAPSHOT\tLOAD")
	var broken []error
	for _, word := range strings.Split(procs, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > 64 {
			return fmt.Errorf("-procs %q: it must be a list of numbers from 1 to 64", procs)
		}
		r, err := drain(ctx, filepath.Join(keep, word), binary, list, rooms, n, window, latency)
		if err != nil {
			broken = append(broken, fmt.Errorf("%d processes: %w", n, err))
		}
		fmt.Fprintf(tw, "%d\t%d\t%.2f\t%.2f\t%d\t%d\t%d\t%d\t%d\t%.1f\t%s\n", r.procs, rooms, r.wall.Seconds(),
			float64(rooms-1)/r.firstToLast.Seconds(), r.rejected, r.sliding, r.calendar, r.twice, r.images, r.perSnapshot, r.load)
	}
	return errors.Join(tw.Flush(), errors.Join(broken...))
}

func drain(ctx context.Context, dir, binary, list string, rooms, procs int, window tiwtest.Window, latency time.Duration) (r report, err error) {
	r.procs = procs
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(rooms)*200*time.Millisecond)
	defer cancel()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return r, err
	}
	server, err := redistest.Start(dir, "--appendonly", "yes", "--appendfsync", "everysec")
	if err != nil {
		return r, err
	}
	defer server.Kill()
	sim := tiwtest.New(tiwtest.Options{
		Window: window, Latency: latency, LatencySigma: 0.35, TaskDuration: 500 * time.Millisecond, TaskSigma: 0.35,
	})
	defer sim.Close()
	if err := sim.Listen("127.0.0.1:0"); err != nil {
		return r, err
	}
	environ := append(os.Environ(),
		"TIWSNAP_REDIS_URL="+server.URL(),
		"TIWSNAP_TIW_ENDPOINT="+sim.URL,
		"TENCENTCLOUD_SECRET_ID="+tiwtest.DefaultSecret,
		"TENCENTCLOUD_SECRET_KEY="+tiwtest.DefaultSecret,
		"TIWSNAP_CONFIRM_AFTER=1s",
	)
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, binary, args...)
		cmd.Env = environ
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 20 * time.Second
		return cmd
	}
	for i := range procs {
		log, err := os.Create(filepath.Join(dir, fmt.Sprintf("worker-%d.log", i)))
		if err != nil {
			return r, err
		}
		defer log.Close()
		w := command("worker")
		w.Stderr = log
		if err := w.Start(); err != nil {
			return r, err
		}
		defer func() {
			w.Process.Signal(os.Interrupt)
			err = errors.Join(err, w.Wait())
		}()
	}
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer rdb.Close()
	if err := workersUp(ctx, rdb, procs); err != nil {
		return r, err
	}
	before, err := commands(ctx, rdb)
	if err != nil {
		return r, err
	}

	start := time.Now()
	out, err := command("enqueue", "batch", list, "--name", "drain", "--wait").CombinedOutput()
	if err != nil {
		return r, fmt.Errorf("enqueue: %w\n%s", err, out)
	}
	after, err := commands(ctx, rdb)
	if err != nil {
		return r, err
	}
	r.perSnapshot = float64(after-before) / float64(rooms)

	calls := sim.Calls()
	if len(calls) == 0 {
		return r, errors.New("no request reached the referee")
	}
	last := time.Unix(0, calls[len(calls)-1].AtNs)
	r.firstToLast, r.wall = last.Sub(time.Unix(0, calls[0].AtNs)), last.Sub(start)
	st := sim.State()
	create := st.Actions[tiwtest.ActionCreate]
	r.rejected = create.Rejected
	r.sliding = int64(create.Received.SlidingSecond.Calls)
	r.calendar = int64(create.Received.CalendarSecond.Calls)
	r.load = loadAverage()

	results, err := command("status", "drain", "-o", "csv").Output()
	if err != nil {
		return r, fmt.Errorf("status: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "results.csv"), results, 0o600); err != nil {
		return r, err
	}
	seen := make(map[string]int)
	for task := range sim.Tasks() {
		seen[fmt.Sprint(task.RoomId)]++
	}
	for _, n := range seen {
		if n > 1 {
			r.twice++
		}
	}
	var broken []error
	r.images, err = audit(results, rooms)
	broken = append(broken, err)
	if len(seen) != rooms || r.twice > 0 {
		broken = append(broken, fmt.Errorf("%d of %d rooms have a task, %d of them more than one", len(seen), rooms, r.twice))
	}
	if r.rejected > 0 || r.sliding > 20 {
		broken = append(broken, fmt.Errorf("%d requests rejected, %d in the fullest second", r.rejected, r.sliding))
	}
	return r, errors.Join(broken...)
}

// audit checks that the result list has every room, succeeded, with images,
// and returns the number of images.
func audit(results []byte, rooms int) (images int, err error) {
	r := csv.NewReader(bytes.NewReader(results))
	header, err := r.Read()
	if err != nil {
		return 0, fmt.Errorf("result list: %w", err)
	}
	column := make(map[string]int)
	for i, name := range header {
		column[name] = i
	}
	seen := make(map[string]bool)
	for {
		row, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return images, fmt.Errorf("result list: %w", err)
		}
		urls := strings.Fields(row[column["Snapshots"]])
		if row[column["State"]] != "succeeded" || len(urls) == 0 {
			return images, fmt.Errorf("result list: room %s is %s with %d images", row[column["RoomId"]], row[column["State"]], len(urls))
		}
		images += len(urls)
		seen[row[column["RoomId"]]] = true
	}
	if len(seen) != rooms {
		return images, fmt.Errorf("result list: %d rooms, want %d", len(seen), rooms)
	}
	return images, nil
}

func classList(rooms int) []byte {
	var b bytes.Buffer
	b.WriteString("SdkAppId,RoomId\n")
	for i := range rooms {
		fmt.Fprintf(&b, "1400123480,%d\n", 100_000+i)
	}
	return b.Bytes()
}

// workersUp waits until all lanes of all processes are registered, and then
// for the time that a worker is expected to have been idle before its work.
func workersUp(ctx context.Context, rdb *redis.Client, procs int) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := rdb.ZCard(ctx, "asynq:servers").Result()
		if err != nil {
			return err
		}
		if n >= int64(2*procs) {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d worker lanes came up", n, 2*procs)
		case <-tick.C:
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * time.Second):
		return nil
	}
}

// commands is the number of commands that Redis has run, those that scripts
// called included.
func commands(ctx context.Context, rdb *redis.Client) (total int64, err error) {
	info, err := rdb.Info(ctx, "commandstats").Result()
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(info, "\r\n") {
		_, rest, ok := strings.Cut(line, ":calls=")
		if !ok {
			continue
		}
		n, _, _ := strings.Cut(rest, ",")
		calls, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("commandstats: %q", line)
		}
		total += calls
	}
	return total, nil
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	load, _, _ := strings.Cut(string(b), " ")
	return load
}

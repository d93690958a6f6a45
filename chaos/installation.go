package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/plural"
	"tiwsnap/internal/testbed"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tiw/tiwtest"
)

const batchName = "chaos"

// installation is a namespace of tiwsnap with a simulator, an account, workers, and a class list that is one batch.
type installation struct {
	*testbed.Testbed
	stage *stage
	ns    keys.Namespace
	list  list
	file  string // with the list
	fleet *fleet
	front *proxy // in front of the workers' callback listeners; nil without callbacks
	base  string // its URL
	store *store // for copies of images; nil: none
	close func() // stops everything

	mu       sync.Mutex
	faults   tiwtest.Faults // of the simulator
	ended    time.Time      // end of the batch and of copying its images
	negative bool           // a counter of the batch was negative at some time
}

// install starts an installation on the Redis of bed, which it closes. environ are additional settings.
func (s *stage) install(bed *testbed.Testbed, ns keys.Namespace, environ ...string) (_ *installation, err error) {
	in := &installation{Testbed: bed, stage: s, ns: ns, list: newList(s.seed, s.kinds, s.rooms)}
	in.file = filepath.Join(bed.Dir, "rooms.csv")
	closers := []func(){bed.Close}
	in.close = func() {
		for i := range closers {
			closers[len(closers)-1-i]()
		}
	}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	if err := in.list.write(in.file); err != nil {
		return nil, err
	}
	in.faults = s.requestFaults()
	in.faults.RoomCodes, in.faults.AppCodes = in.list.roomCodes(), in.list.appCodes()
	err = bed.Simulate(tiwtest.Options{
		Credentials: map[string]tiwtest.Secret{ns.String(): tiwtest.Secret("key-of-" + ns)},
		Limit:       s.rate, Window: tiwtest.Sliding, Seed: s.seed, Faults: in.faults,
		Latency: 80 * time.Millisecond, LatencySigma: 0.35, TaskDuration: 500 * time.Millisecond, TaskSigma: 0.35,
		CallbackTimeout: time.Duration(s.workers+1) * proxyPatience,
		RequestLog:      100_000 + 50*s.rooms,
	})
	if err != nil {
		return nil, err
	}
	if s.has(faultImages, faultStoreAway, faultStoreFull) {
		volume, err := s.folder("store")
		if err != nil {
			return nil, err
		}
		if in.store, err = newStore(volume, s.has(faultStoreFull)); err != nil {
			return nil, err
		}
		closers = append(closers, func() { in.store.close() })
		environ = append(environ, "TIWSNAP_IMAGES_STORE="+in.store.url(), "TIWSNAP_IMAGES_PRIVATE=127.0.0.1")
	}
	bed.Environ = append(append(bed.Environ,
		fmt.Sprint("TIWSNAP_NAMESPACE=", ns),
		fmt.Sprint("TENCENTCLOUD_SECRET_ID=", ns),
		fmt.Sprint("TENCENTCLOUD_SECRET_KEY=key-of-", ns),
		fmt.Sprint("TIWSNAP_TIW_TIMEOUT=", s.timeout),
		fmt.Sprint("TIWSNAP_RATE_LIMIT=", s.rate),
		fmt.Sprint("TIWSNAP_RATE_MARGIN=", s.margin),
		"TIWSNAP_CONFIRM_AFTER=5s",
	), environ...)
	if in.fleet, err = newFleet(s.workers, bed.Binary, bed.Dir, bed.Environ); err != nil {
		return nil, err
	}
	if s.callbacks {
		in.front = newProxy(in.fleet.callbackAddrs())
		var closeFront func()
		if in.base, closeFront, err = serve(in.front); err != nil {
			return nil, err
		}
		closers = append(closers, closeFront)
		in.fleet.setCallbacks(in.base, rand.Text()+rand.Text(), s.grace)
	}
	in.fleet.start()
	closers = append(closers, in.stop)
	return in, in.fleet.up(context.Background(), bed.DB, ns)
}

// stop stops the workers.
func (in *installation) stop() { in.fleet.stop(in.stage.timeout + 10*time.Second) }

// enqueue enqueues the batch.
func (in *installation) enqueue(ctx context.Context) error {
	_, err := in.Command(ctx, "enqueue", "batch", in.file, "--name", batchName)
	return err
}

// sent waits until the number of requests is that share of the rooms, 0 to 1.
func (in *installation) sent(ctx context.Context, share float64) error {
	return in.Sim.WaitRequests(ctx, int(share*float64(in.stage.rooms)))
}

// follow waits until every room has ended and all images are copied, or until ctx ends. It prints the progress.
func (in *installation) follow(ctx context.Context) {
	l := ledger.New(in.DB, ledger.Options{Namespace: in.ns})
	logged := time.Now()
	for pause(ctx, 250*time.Millisecond) {
		b, err := l.Batch(ctx, batchName)
		if err != nil {
			continue // Redis is unavailable on purpose
		}
		in.negative = in.negative || min(b.Queued, b.Sending, b.Unknown, b.Accepted, b.Succeeded, b.Failed) < 0
		over := b.Ended() && b.PendingImages == 0
		if time.Since(logged) > 10*time.Second || over {
			logged = time.Now()
			in.stage.log(in.ns.String(),
				"%d of %d ended, %d failed; %d accepted, %d unknown, %d sending, %d queued; %s to copy",
				b.Done(), b.Total, b.Failed, b.Accepted, b.Unknown, b.Sending, b.Queued,
				plural.Of(b.PendingImages, "image"))
		}
		if over {
			in.ended = logged
			return
		}
	}
}

// finish stops the workers when nothing is in flight any more, and makes the report. The caller adds what only it knows
// to the evidence: strikes, and what was lost.
func (in *installation) finish(ctx context.Context, e evidence) (*report, error) {
	s := in.stage
	if in.ended.IsZero() {
		in.ended = time.Now()
	}
	// Requests and callbacks in flight may create or report an extra task. The time limit of the run does not apply any
	// more: it has been reached, or all rooms have ended.
	s.log("end", "waiting for requests and callbacks in flight")
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	settle(after, in.Sim)
	in.stop()

	e.rooms, e.must, e.calls = in.list.rooms, in.list.must, in.Sim.Requests()
	for t := range in.Sim.Tasks() {
		e.tasks = append(e.tasks, t)
	}
	if in.front != nil {
		e.grace, e.taken = s.grace, in.front.takenAt(in.base)
	}
	var err error
	if e.results, e.batch, err = in.readLedger(after); err != nil {
		return nil, err
	}
	found := audit(e)
	if in.store != nil {
		found.compareImages(after, e.results)
	}
	if err := saveCalls(filepath.Join(in.Dir, "calls.jsonl"), e.calls); err != nil {
		return nil, err
	}

	st := in.Sim.State()
	create := st.Actions[tiwtest.ActionCreate]
	r := &report{
		Name: s.name, Seed: s.seed, Workers: s.workers, Rate: s.rate, Faults: s.kinds, KillEvery: s.killEvery.String(),
		finding: found,
		Calls:   create.Received.Requests, Rejected: create.Rejected, Foreign: create.Foreign,
		Sliding: create.Received.SlidingSecond.Requests, Calendar: create.Received.CalendarSecond.Requests,
		Tightest:      tightest(e.calls, s.rate, s.begun),
		DescribesEach: float64(st.Actions[tiwtest.ActionDescribe].Received.Requests) / float64(s.rooms),
		Struck:        st.Faults, Callbacks: st.Callbacks,
		Strikes: e.strikes, Recovery: recoveries(e.strikes, e.calls),
		Bad: failures(e), Deaths: in.fleet.deaths(), Seconds: in.ended.Sub(s.begun).Seconds(), Load: testbed.LoadAverage(),
		calls: e.calls, results: e.results,
	}
	if in.front != nil {
		r.Grace = s.grace.String()
	}
	if in.negative {
		r.Broken = append(r.Broken, "a counter of the batch was below 0")
	}
	return r, nil
}

// setFaults changes some faults of the simulator.
func (in *installation) setFaults(change func(*tiwtest.Faults)) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	change(&in.faults)
	return in.Sim.SetFaults(in.faults)
}

// says runs a command of tiwsnap until it prints a text, for at most patience.
func (in *installation) says(ctx context.Context, patience time.Duration, text string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		cmd := exec.CommandContext(ctx, in.Binary, args...)
		cmd.Env = in.Environ
		out, _ := cmd.CombinedOutput() // a command that reports a loss may exit with an error
		if strings.Contains(string(out), text) {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("tiwsnap %s did not print %q within %s, but:\n%s", strings.Join(args, " "), text, patience, out)
		}
	}
}

// settle waits until no task runs and no request or callback has come for some time. By then a worker that was
// suspended has done its work.
func settle(ctx context.Context, sim *tiwtest.Server) {
	const quiet = 3 * time.Second
	var last tiwtest.State
	since := time.Now()
	for time.Since(since) < quiet && pause(ctx, 100*time.Millisecond) {
		st := sim.State()
		if st.Tasks.Running > 0 || st.Requests != last.Requests || st.Callbacks != last.Callbacks {
			since = time.Now()
		}
		last = st
	}
}

// readLedger reads the results of the batch with tiwsnap status.
func (in *installation) readLedger(ctx context.Context) (all []results.Result, b ledger.Batch, err error) {
	out, err := in.Command(ctx, "status", batchName, "-o", "json")
	if err == nil {
		err = json.Unmarshal(out, &b)
	}
	if err != nil {
		return nil, b, err
	}
	if out, err = in.Command(ctx, "status", batchName, "-o", "jsonl"); err != nil {
		return nil, b, err
	}
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var r results.Result
		err := d.Decode(&r)
		if errors.Is(err, io.EOF) {
			return all, b, nil
		}
		if err != nil {
			return nil, b, fmt.Errorf("result list: %w", err)
		}
		all = append(all, r)
	}
}

// saveCalls writes the log of the simulator, for debugging.
func saveCalls(name string, calls []tiwtest.Request) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, c := range calls {
		if err := e.Encode(c); err != nil {
			return err
		}
	}
	return os.WriteFile(name, b.Bytes(), 0o600)
}

// serve serves HTTP on a free loopback port until closed is called.
func serve(h http.Handler) (base string, closed func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(l)
	return "http://" + l.Addr().String(), func() { srv.Close() }, nil
}

package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tiwsnap/internal/plural"
	"tiwsnap/tiw/tiwtest"
)

const simulatorHelp = `Run a simulator of Tencent's CreateSnapshotTask and DescribeSnapshotTask. It checks
signatures and bodies, enforces the rate limit, runs tasks, serves images, sends
callbacks and injects faults.

It is NOT Tencent and renders no whiteboards. It makes assumptions where Tencent has no
documentation: how the rate limit's seconds are counted, the order of checks, the form
of callbacks, and several error codes. It has no TLS, no other actions, no limits by
account or address, no CAM, no COS and no rate limit by region. A task is known only in
the region that created it. All state is lost when the process ends.

It requires no login, so keep it on a loopback address:
  GET  /state          counters: requests, peak seconds, codes, tasks, faults
  GET  /state/tasks    all tasks, as JSON lines
  POST /admin/faults   replace the faults, as JSON; GET returns them
  GET  /livez          ok

Callers sign with TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY (both "simulator"
by default) and TENCENTCLOUD_TOKEN. TIWSNAP_SIMULATOR_CALLBACK_KEY signs the callbacks.
Rates are probabilities from 0 to 1.`

func newSimulator(e env) *cobra.Command {
	var addr string
	var opt tiwtest.Options
	var apps []uint
	countRejected := true
	cmd := &cobra.Command{
		Use:   "simulator",
		Short: "Run a simulator of Tencent's snapshot API",
		Long:  simulatorHelp,
		Example: `  tiwsnap simulator
  tiwsnap simulator --window sliding --latency 200ms --fault-internal-error-created 0.01
  tiwsnap simulator --fault-shapes noImages=0.1,fewerImages=0.05 --fault-unknown-task FailedOperation
  tiwsnap simulator --fault-images 503=0.1,cut=0.1,hang=0.01 --fault-images-first 1000
  curl -d '{"arrears": {"for": "30s"}}' http://127.0.0.1:9090/admin/faults`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&addr, "addr", "127.0.0.1:9090", "`HOST:PORT` to listen on")
	f.StringVar(&opt.PublicURL, "public-url", "", "base `URL` of the images; default: the Host header of the request")
	f.Uint64Var(&opt.Seed, "seed", 0, "seed of all random draws; 0: a random seed")

	f.IntVar(&opt.Limit, "limit", 20, "requests per second for each action and secret id; negative: no limit")
	f.StringVar((*string)(&opt.Window), "window",
		string(tiwtest.Calendar), "how seconds are counted: calendar or sliding")
	f.BoolVar(&countRejected, "count-rejected", true, "rejected requests count against the limit, too")
	f.BoolVar(
		&opt.StrictService,
		"strict-service",
		false,
		"reject signatures with the first label of the host as the service; accept only tiw",
	)
	f.StringSliceVar(&opt.Regions, "region", nil, "accepted `region`s; default: any")
	f.UintSliceVar(&apps, "sdk-app-id", nil, "`SdkAppId`s of the account; default: any")
	f.Lookup("sdk-app-id").DefValue = "" // or the help shows "(default [])"

	f.DurationVar(
		&opt.Delay,
		"delay",
		0,
		"median network delay before a request arrives; requests may overtake one another",
	)
	f.Float64Var(
		&opt.DelaySigma,
		"delay-sigma",
		0.35,
		"sigma of the lognormal delay; 0: constant",
	)
	f.DurationVar(&opt.Latency, "latency", 80*time.Millisecond, "median time to a response")
	f.Float64Var(
		&opt.LatencySigma,
		"latency-sigma",
		0.35,
		"sigma of the lognormal latency; 0: constant",
	)
	f.DurationVar(
		&opt.RejectLatency,
		"reject-latency",
		10*time.Millisecond,
		"time to the response of a request that is rejected before the backend",
	)
	f.DurationVar(&opt.TaskDuration, "task-duration", 5*time.Second, "median duration of a task")
	f.Float64Var(&opt.TaskSigma, "task-sigma", 0.5, "sigma of the lognormal task duration")
	f.Float64Var(&opt.TaskFailure, "task-failure", 0, "`rate` of tasks that end as InternalErr")
	f.DurationVar(&opt.TaskRetention, "task-retention", 72*time.Hour, "how long a task is kept after its end")
	f.DurationVar(
		&opt.ImageRetention,
		"image-retention",
		72*time.Hour,
		"how long images are served after their task ends",
	)
	f.IntVar(&opt.Images, "images", 0, "images per task; 0: 1 to 4, by room")
	f.IntVar(&opt.ImageBytes, "image-bytes", 0, "`size` in bytes that images are padded to; 0: as they are")
	f.IntVar(&opt.MaxTasks, "max-tasks", 2_000_000, "maximum number of tasks kept; beyond it the oldest is evicted")

	f.StringVar(
		(*string)(&opt.Envelope),
		"callback-envelope",
		string(tiwtest.EnvelopeTIW),
		"form of callbacks: tiw, flat, result or empty",
	)
	f.DurationVar(&opt.CallbackTimeout, "callback-timeout", 5*time.Second, "timeout of one callback")
	f.IntVar(&opt.CallbackSenders, "callback-senders", 32, "concurrent callbacks")

	f.DurationVar(&opt.HoldLimit, "hold-limit",
		2*time.Minute, "how long an unanswered request is kept open")
	f.DurationVar(&opt.SlowByte, "slow-byte", 100*time.Millisecond, "time between two bytes of a slow response")
	faultFlags(f, &opt.Faults)

	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		// In Options, zero means the default.
		for _, name := range []string{"limit", "task-retention", "image-retention", "max-tasks",
			"callback-timeout", "callback-senders", "hold-limit", "slow-byte"} {
			if v := f.Lookup(name).Value.String(); v == "0" || v == "0s" {
				return fmt.Errorf("--%s 0: it must be more than 0", name)
			}
		}
		opt.RejectedFree = !countRejected
		for _, app := range apps {
			opt.SdkAppIds = append(opt.SdkAppIds, uint64(app))
		}
		if err := simulatorSecrets(e, &opt); err != nil {
			return err
		}
		if err := opt.Validate(); err != nil {
			return err
		}
		return runSimulator(cmd.Context(), e, addr, opt, *output)
	}
	return cmd
}

// pairsFlag adds a flag of NAME=VALUE pairs, separated by commas. It calls set for
// each pair.
func pairsFlag(f *pflag.FlagSet, name, usage string, set func(name, value string) error) {
	f.Func(name, usage, func(text string) error {
		for pair := range strings.SplitSeq(text, ",") {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return fmt.Errorf("%q has no =", pair)
			}
			if err := set(name, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// ratesFlag adds a flag of rates by name.
func ratesFlag[Name ~string](f *pflag.FlagSet, rates *map[Name]float64, name, usage string) {
	pairsFlag(f, name, usage, func(what, text string) error {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a rate: write %s=0.1", text, what)
		}
		if *rates == nil {
			*rates = map[Name]float64{}
		}
		(*rates)[Name(what)] = rate
		return nil
	})
}

// codesFlag adds a flag of error codes by numeric id.
func codesFlag(f *pflag.FlagSet, codes *map[uint64]string, name, usage string) {
	pairsFlag(f, name, usage, func(text, code string) error {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number: write 12345=UnauthorizedOperation", text)
		}
		if *codes == nil {
			*codes = map[uint64]string{}
		}
		(*codes)[id] = code
		return nil
	})
}

// faultFlags adds a flag for each field of Faults, named as the field in JSON.
func faultFlags(f *pflag.FlagSet, faults *tiwtest.Faults) {
	for _, rate := range []struct {
		value       *float64
		name, usage string
	}{
		{&faults.InternalError, "internal-error", "InternalError, no task created"},
		{&faults.InternalErrorCreated, "internal-error-created", "InternalError, task created"},
		{&faults.Cut, "cut", "task created, connection closed without a response"},
		{&faults.Silent, "silent", "task created, no response"},
		{&faults.HTML, "html", "502 with HTML, no task created"},
		{&faults.CutJSON, "cut-json", "task created, half of the JSON"},
		{&faults.Empty, "empty", "task created, response {}"},
		{&faults.SlowBody, "slow-body", "task created, response byte by byte"},
		{&faults.Redirect, "redirect", "302, no task created"},
		{&faults.Code, "code", "the code of --fault-code-name, no task created"},
	} {
		f.Float64Var(rate.value, "fault-"+rate.name, 0, "`rate` of requests: "+rate.usage)
	}
	duration := func(d *tiwtest.Duration, name, usage string) {
		f.DurationVar((*time.Duration)(d), "fault-"+name, 0, usage)
	}
	f.StringVar(&faults.CodeName, "fault-code-name", "", "error `code` for --fault-code")
	f.StringSliceVar(
		&faults.Actions,
		"fault-actions",
		nil,
		"`actions` that the request faults apply to; default: CreateSnapshotTask",
	)
	duration(&faults.During.After, "during-after", "the request faults begin this long after the start")
	duration(&faults.During.For, "during-for", "the request faults last this long; 0: forever")
	duration(&faults.Arrears.After, "arrears-after", "the account is in arrears this long after the start")
	duration(&faults.Arrears.For, "arrears-for", "the account is in arrears for this long")
	f.IntVar(&faults.ForeignLoad, "fault-foreign-load",
		0, "`requests` per second that another client sends on the same limit")
	ratesFlag(f, &faults.Shapes, "fault-shapes",
		fmt.Sprintf("`SHAPE=RATE,...`: rates of tasks whose result has an undocumented shape: %s", tiwtest.Shapes))
	ratesFlag(f, &faults.Images, "fault-images",
		fmt.Sprintf("`FAULT=RATE,...`: rates of image requests that fail: %s", tiwtest.ImageFaults))
	f.IntVar(&faults.ImagesFirst, "fault-images-first", 0,
		"--fault-images applies only to the first `N` requests; 0: to all")
	codesFlag(
		f,
		&faults.RoomCodes,
		"fault-room-codes",
		"`ROOMID=CODE,...`: error codes of all requests for these rooms, no task created",
	)
	codesFlag(f, &faults.AppCodes, "fault-app-codes",
		"`SDKAPPID=CODE,...`: error codes of all requests for these applications")
	f.StringVar(&faults.UnknownTask, "fault-unknown-task", "",
		"error `code` for a Describe of an unknown task, or nulls; default: InvalidParameter.TaskNotFound")
	f.Float64Var(&faults.CallbackLost, "fault-callback-lost", 0, "`rate` of callbacks that are never sent")
	f.Float64Var(&faults.CallbackDouble, "fault-callback-double", 0, "`rate` of callbacks that are sent twice")
	f.Float64Var(
		&faults.CallbackEarly,
		"fault-callback-early",
		0,
		"`rate` of tasks whose callback is sent before the response",
	)
	duration(&faults.CallbackDelay, "callback-delay", "time from the end of a task to its callback")
	f.IntVar(
		&faults.CallbackRetries,
		"fault-callback-retries",
		0,
		"maximum retries of a callback that gets no 2xx response",
	)
	duration(&faults.CallbackRetryAfter, "callback-retry-after", "time from a failed callback to its retry")
}

// simulatorSecrets reads the secrets from the environment.
func simulatorSecrets(e env, opt *tiwtest.Options) error {
	id, key := e.getenv("TENCENTCLOUD_SECRET_ID"), e.getenv("TENCENTCLOUD_SECRET_KEY")
	if (id == "") != (key == "") {
		return fail(
			exitConfig,
			"one of TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY is set and the other is not: set both or "+
				"neither",
		)
	}
	if id == "" {
		id, key = tiwtest.DefaultSecret, tiwtest.DefaultSecret
	}
	opt.Credentials = map[string]tiwtest.Secret{id: tiwtest.Secret(key)}
	if token := e.getenv("TENCENTCLOUD_TOKEN"); token != "" {
		opt.Tokens = map[string]tiwtest.Secret{id: tiwtest.Secret(token)}
	}
	opt.CallbackKey = tiwtest.Secret(e.getenv("TIWSNAP_SIMULATOR_CALLBACK_KEY"))
	return nil
}

func runSimulator(ctx context.Context, e env, addr string, opt tiwtest.Options, output string) error {
	srv := tiwtest.New(opt)
	defer srv.Close()
	if err := srv.Listen(addr); err != nil {
		return fail(exitUnavailable, "simulator: %w (--addr chooses another address)", err)
	}
	// Only the URL goes to stdout, for programs: with port 0 they do not know it.
	if output == "json" {
		if err := printJSON(e.stdout, map[string]string{"url": srv.URL}, false); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(e.stdout, srv.URL)
	}
	st := srv.State()
	limit := fmt.Sprintf("%s per %s second, for each action", plural.Of(st.Limit, "request"), st.Window)
	if st.Limit < 0 {
		limit = "none"
	}
	credentials := "secret id and key " + tiwtest.DefaultSecret
	if e.getenv("TENCENTCLOUD_SECRET_ID") != "" {
		credentials = "those of TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY"
	}
	fmt.Fprintf(e.stderr, `This is a simulator, NOT Tencent: it renders no whiteboards, and its state is lost when it ends.
  address      %[1]s (TIWSNAP_TIW_ENDPOINT of the workers)
  credentials  %[2]s
  rate limit   %[3]s
  counters     %[1]s/state
  set faults   curl -d '{"internalErrorCreated": 0.05}' %[1]s/admin/faults
  seed         %[4]d
`, srv.URL, credentials, limit, st.Seed)
	<-ctx.Done()

	st = srv.State()
	create := st.Actions[tiwtest.ActionCreate]
	fmt.Fprintf(e.stderr, "%s; %s: %d, rejected %d, peak calendar second %d, peak sliding second %d; tasks %d\n",
		plural.Of(int(st.Requests), "request"), tiwtest.ActionCreate, create.Received.Requests, create.Rejected,
		create.Received.CalendarSecond.Requests, create.Received.SlidingSecond.Requests, st.Tasks.Created)
	return nil
}

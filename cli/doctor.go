package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/results"
	"tiwsnap/schedule"
	"tiwsnap/tiw"
)

const (
	minRedis   = "6.2"           // the oldest Redis that is supported
	maxSkew    = 5 * time.Second // between this clock and that of the API
	fullFail   = 0.95            // share of maxmemory in use
	probeAppID = 1400000000      // the probe asks for a task that does not exist, in any application
	probeTask  = "00000000-0000-0000-0000-000000000000"
	permitTime = 10 * time.Second // that the doctor waits for a permit
)

func newDoctor(e env) *cobra.Command {
	var skipTIW, skipRedis bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check Redis, the API and the credentials, and suggest fixes",
		Long: `Check whether a worker can run here: Redis, Tencent's API and the credentials. Each
line begins with ok, warn or FAIL.

The credentials are checked with one DescribeSnapshotTask for a task that does not
exist. It is harmless and counts against the rate limit that all workers share.

Exit code 0: no check failed. 78: the credentials are missing or refused.
69: another check failed.`,
		Example: `  tiwsnap doctor
  tiwsnap doctor --skip-tiw
  tiwsnap doctor -o json | jq '.[] | select(.status != "ok")'`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	cmd.Flags().BoolVar(&skipTIW, "skip-tiw", false, "check Redis only; needs no credentials")
	cmd.Flags().BoolVar(&skipRedis, "skip-redis", false,
		"check the endpoint only, not the credentials: a request needs a permit from Redis")
	config.Flags(cmd.Flags(), "redis.url", "namespace", "tiw.endpoint", "tiw.region", "tiw.timeout",
		"rate.limit", "rate.margin", "confirm.share")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		all, err := loadConfigs(cmd, e)
		if err != nil {
			return err
		}
		d := doctor{report: io.Discard, findings: []finding{}}
		if *output == "table" {
			d.report = e.stdout
		}
		for _, c := range all {
			if len(all) > 1 {
				d.of = c.Namespace.String() + " "
			}
			var client redis.UniversalClient
			if !skipRedis {
				var closeRedis func()
				if client, closeRedis, err = d.redis(cmd.Context(), c); err == nil {
					defer closeRedis()
				}
			}
			if !skipTIW {
				d.tiw(cmd.Context(), c, client)
			}
			d.images(cmd.Context(), c.Images)
		}
		if *output == "json" {
			if err := printJSON(e.stdout, d.findings, true); err != nil {
				return err
			}
		}
		if code := d.exitCode(); code != exitOK {
			return &exitError{code, nil}
		}
		return nil
	}
	return cmd
}

const (
	statusOK   = "ok"
	statusWarn = "warn"
	statusFail = "FAIL"
)

// finding is the outcome of one check.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`

	code int // of the exit, for a FAIL
}

// doctor collects findings and prints each at once, since the next check may
// take some seconds.
type doctor struct {
	report   io.Writer
	findings []finding
	of       string // the namespace that is looked at, before the name of a check; empty where there is one
}

func (d *doctor) add(f finding) {
	f.Check = d.of + f.Check
	d.findings = append(d.findings, f)
	fmt.Fprintf(d.report, "%-4s  %s: %s", f.Status, f.Check, f.Detail)
	if f.Fix != "" {
		fmt.Fprintf(d.report, "; fix: %s", f.Fix)
	}
	fmt.Fprintln(d.report)
}

func (d *doctor) ok(check, format string, args ...any) {
	d.add(finding{check, statusOK, fmt.Sprintf(format, args...), "", exitOK})
}

func (d *doctor) warn(check, fix, format string, args ...any) {
	d.add(finding{check, statusWarn, fmt.Sprintf(format, args...), fix, exitOK})
}

func (d *doctor) fail(code int, check, fix, format string, args ...any) {
	d.add(finding{check, statusFail, fmt.Sprintf(format, args...), fix, code})
}

// exitCode is exitConfig before exitUnavailable: a wrong key has to be changed
// here, while a service may come back by itself.
func (d *doctor) exitCode() int {
	code := exitOK
	for _, f := range d.findings {
		code = max(code, f.code)
	}
	return code
}

// redis checks Redis. It returns a client where Redis answers, and otherwise what
// it has reported.
func (d *doctor) redis(ctx context.Context, c config.Config) (redis.UniversalClient, func(), error) {
	url := c.Redis.URL.Reveal()
	client, closeRedis, err := dialRedis(ctx, c)
	if err != nil {
		d.fail(exitUnavailable, "redis", rdb.Fix(err), "%v", err)
		return nil, nil, err
	}
	if url == rdb.Embedded {
		d.warn("redis", "set TIWSNAP_REDIS_URL or --redis-url to the URL of a Redis server",
			"embedded in each process: nothing is shared or durable")
		return client, closeRedis, nil
	}
	begin := time.Now() // the first ping had to connect
	if err := rdb.Ping(ctx, client, url); err != nil {
		closeRedis()
		d.fail(exitUnavailable, "redis", rdb.Fix(err), "%v", err)
		return nil, nil, err
	}
	took := time.Since(begin)
	d.sending(ctx, c, client)
	if err := probeRedis(ctx, c, client); err != nil {
		d.fail(exitUnavailable, "redis", rdb.Fix(err), "%v", err)
	} else {
		d.ok("redis", "%s answers in %s", rdb.Redact(url), round(took))
	}
	d.loss(ctx, c, client)
	d.redisClock(ctx, client)
	d.limits(ctx, c, client)

	servers, err := rdb.Servers(ctx, client)
	if err != nil {
		d.warn("redis info",
			"allow this user the INFO command (ACL SETUSER … +info), or check these in the provider's console",
			"version, eviction, persistence and memory are unknown: %v", err)
	}
	for _, s := range servers {
		d.redisServer(s)
	}
	d.schedules(ctx, c, client)
	d.worker(c, client)
	d.foreign(c, client)
	return client, closeRedis, nil
}

// sending says why the workers send nothing, if they do not: it comes first.
func (d *doctor) sending(ctx context.Context, c config.Config, client redis.UniversalClient) {
	stops, err := gate.NewBreaker(client, c.Namespace).Stops(ctx)
	if err != nil {
		return // what is wrong with this Redis the other checks tell
	}
	for _, s := range stops {
		check := "sending"
		if s.Cause == gate.Application {
			check = fmt.Sprintf("application %d", s.App)
		}
		d.fail(exitUnavailable, check, plain(s.Fix),
			"%s since %s: %s; it waits for %s", s.What, clock(s.Since), plain(s.Why), s.WaitsFor)
	}
}

// loss says whether Redis has lost data within a day, as far as anybody noticed.
func (d *doctor) loss(ctx context.Context, c config.Config, client redis.UniversalClient) {
	loss, err := ledger.New(client, ledger.Options{Namespace: c.Namespace}).LastLoss(ctx)
	if err == nil && loss != nil {
		d.fail(exitUnavailable, "redis data", ledger.LossFix, "%s (found %s)", loss, clock(loss.At))
	}
}

// worker says whether any worker runs. None is no fault: it may be started next.
func (d *doctor) worker(c config.Config, client redis.UniversalClient) {
	run, err := results.NewReader(client, c.Namespace).WorkerRuns()
	switch none := gate.NoWorkerRuns(); {
	case err != nil: // what is wrong with this Redis the other checks tell
	case run:
		d.ok("worker", "at least one is running")
	default:
		d.warn("worker", none.Fix, "%s: %s", none.What, none.Why)
	}
}

// foreign names the asynq servers of other applications on the queues of this installation: they take its tasks, and
// hold them up or archive them.
func (d *doctor) foreign(c config.Config, client redis.UniversalClient) {
	servers, err := asynqx.Foreign(client, c.Namespace.Queues()...)
	if err != nil {
		return // what is wrong with this Redis the other checks tell
	}
	for _, s := range servers {
		d.fail(exitUnavailable, "queues", "give that application queues of its own",
			"process %d on %s takes tasks from %s but is not a tiwsnap worker",
			s.PID, plain(s.Host), strings.Join(s.Queues, ", "))
	}
}

// limits says that the workers have different rate limits, if so.
func (d *doctor) limits(ctx context.Context, c config.Config, client redis.UniversalClient) {
	s, err := createLimit(ctx, client, c)
	if err != nil {
		return // what is wrong with this Redis the other checks tell
	}
	if differ := limitsDiffer(s); differ != "" {
		d.warn("rate limit", limitsFix, "%s", differ)
	}
}

// schedules says which schedules do not tick as they should.
func (d *doctor) schedules(ctx context.Context, c config.Config, client redis.UniversalClient) {
	all, err := newSchedules(c)
	if err != nil {
		return // the settings were read, so that there is none
	}
	list, err := schedule.NewStore(client, c.Namespace).Status(ctx, all)
	if err != nil {
		return // what is wrong with this Redis the other checks tell
	}
	for _, s := range list {
		check := "schedule " + s.Name
		switch {
		case !s.Overdue.IsZero():
			d.warn(check, "run a worker with this configuration file", "no worker has started the tick of %s",
				clock(s.Overdue))
		case s.Trying != nil && s.Trying.Waits:
			d.warn(
				check,
				"free memory in Redis: the tick is retried at "+clock(s.Trying.RetryAt),
				"the tick of %s waits: %s",
				clock(s.Trying.Tick),
				plain(s.Trying.Error),
			)
		case s.Trying != nil:
			d.warn(
				check,
				"correct the source: it is read again at "+clock(s.Trying.RetryAt),
				"the tick of %s has failed %d times: %s",
				clock(s.Trying.Tick),
				s.Trying.Failures,
				plain(s.Trying.Error),
			)
		case s.Last != nil && s.Last.Result == schedule.Failed:
			d.warn(
				check,
				"correct the source, then run tiwsnap schedule run "+s.Name,
				"the tick of %s failed: %s",
				clock(s.Last.Tick),
				plain(s.Last.Error),
			)
		case s.Last != nil && s.Last.BadRows > 0:
			d.warn(
				check,
				"correct the class list",
				"its last batch left out %s: %s",
				plural(s.Last.BadRows, "bad row"),
				plain(strings.Join(s.Last.Reasons, "; ")),
			)
		default:
			d.ok(check, "next tick at %s", clock(s.Next))
		}
	}
}

func (d *doctor) redisClock(ctx context.Context, client redis.UniversalClient) {
	const check = "redis clock"
	skew, err := rdb.Skew(ctx, client)
	switch {
	case err != nil:
		d.warn(check, "allow this user the TIME command: the rate limit runs on the clock of Redis",
			"cannot be read: %v", err)
	case skew.Abs() > rdb.MaxSkew:
		d.warn(check, "run an NTP client on both machines", "differs by %s from the clock here", skew)
	default:
		d.ok(check, "differs by %s from the clock here", skew.Abs())
	}
}

// redisServer judges what one server says of itself.
func (d *doctor) redisServer(s rdb.Server) {
	const console = "check it in the console of the Redis provider"
	name := strings.TrimSpace("redis " + s.Addr)

	switch {
	case s.Version == "":
		d.warn(name+" version", console, "unknown: INFO does not report it")
	case !atLeast(s.Version, minRedis):
		d.fail(exitUnavailable, name+" version", "upgrade Redis", "%s is too old: %s or later is needed",
			s.Version, minRedis)
	default:
		d.ok(name+" version", "%s", s.Version)
	}

	switch {
	case s.Policy == "":
		d.warn(name+" eviction", console, "maxmemory-policy is unknown: INFO does not report it; it must be noeviction")
	case s.CheckPolicy() != nil:
		d.fail(
			exitUnavailable,
			name+" eviction",
			rdb.EvictionFix,
			"maxmemory-policy is %s: a full Redis would delete snapshots, so no worker starts and nothing is enqueued",
			s.Policy,
		)
	default:
		d.ok(name+" eviction", "%s", s.Policy)
	}

	switch {
	case s.AppendOnly == "":
		d.warn(name+" persistence", console, "unknown: INFO does not report it")
	case s.AppendOnly == "no":
		d.warn(name+" persistence", "CONFIG SET appendonly yes, and the same in redis.conf",
			"AOF is off: accepted snapshots are lost if Redis crashes")
	case s.AOFBroken:
		d.fail(
			exitUnavailable,
			name+" persistence",
			"check the disk and the log of Redis",
			"the last write to the AOF failed",
		)
	default:
		d.ok(name+" persistence", "AOF is on")
	}

	m := s.Memory
	switch {
	case m == nil:
		d.warn(name+" memory", console, "unknown: INFO does not report it")
	case m.Max == 0:
		d.ok(name+" memory", "%s used, no maxmemory", megabytes(m.Used))
	case float64(m.Used) >= fullFail*float64(m.Max):
		d.fail(
			exitUnavailable,
			name+" memory",
			"raise maxmemory, or cancel batches",
			"%s of %s used: Redis is about to refuse writes",
			megabytes(m.Used),
			megabytes(m.Max),
		)
	case float64(m.Used) >= enqueue.AdmitUpTo*float64(m.Max):
		d.warn(
			name+" memory",
			"raise maxmemory",
			"%s of %s used: Redis is too full to enqueue more",
			megabytes(m.Used),
			megabytes(m.Max),
		)
	default:
		d.ok(name+" memory", "%s of %s used", megabytes(m.Used), megabytes(m.Max))
	}
}

// tiw checks the way to Tencent before what is said over it. Without Redis, which
// has the rate limit, nothing is said.
func (d *doctor) tiw(ctx context.Context, c config.Config, rdb redis.UniversalClient) {
	d.region(c)
	if !d.endpoint(ctx, c.TIW.Endpoint, c.TIW.Timeout) {
		return
	}
	const check = "credentials"
	if c.TencentCloud.SecretID.Empty() {
		d.fail(
			exitConfig,
			check,
			"set TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY, or their _FILE; --skip-tiw skips this check",
			"not set",
		)
		return
	}
	client, err := newTIW(c, c.TencentCloud.Credential(slog.New(slog.DiscardHandler)))
	if err != nil {
		d.fail(exitConfig, check, "see tiwsnap config check", "%v", err)
		return
	}
	defer client.Close()
	if rdb == nil {
		d.warn(check, "repair Redis first", "not checked: a request needs a permit from Redis")
		return
	}
	if err := gate.NewBreaker(rdb, c.Namespace).CheckEndpoint(ctx, c.TIW.Endpoint); err != nil {
		var other *gate.EndpointError
		if errors.As(err, &other) {
			d.fail(exitConfig, "namespace", other.Fix(), "%v; no request was sent", err)
			return
		}
		d.warn(check, "see the findings about Redis", "not checked: %v", err)
		return
	}
	err = describe(ctx, c, client, rdb)
	var answer *tiw.Error
	if errors.As(err, &answer) && answer.Class == tiw.Clock {
		err = describe(ctx, c, client, rdb) // signed with Tencent's time now
	}
	var stopped *gate.Stopped
	switch {
	case errors.As(err, &stopped):
		d.warn(check, plain(stopped.Fix), "not checked: %s", plain(err.Error()))
		return
	case err != nil && !errors.As(err, &answer):
		d.warn(check, "check the rate limit: tiwsnap limit", "not checked: no permit for a request: %v", err)
		return
	}
	if !errors.As(err, &answer) {
		d.ok(check, "accepted")
		return
	}
	why := tiw.Explain(answer.Code)
	detail := fmt.Sprintf("%s, %s: %s", answer.Code, why.Meaning, answer.Message)
	switch {
	case why.OneApp, why.Class == tiw.Permanent: // which is said only to a good signature
		d.ok(check, "accepted (the probe was answered %s)", answer.Code)
	case why.Class == tiw.Account && strings.HasPrefix(answer.Code, "ResourceUnavailable"): // a good key, a closed service
		d.fail(exitUnavailable, check, why.Fix, "%s", detail)
	case why.Class == tiw.Account:
		d.fail(exitConfig, check, why.Fix+otherSite(c.TIW.Endpoint), "%s", detail)
	case strings.HasPrefix(answer.Code, "ClientError."):
		d.fail(exitUnavailable, check, why.Fix, "not checked: %s", detail)
	default:
		d.warn(check, why.Fix, "not checked: %s", detail)
	}
}

// region says what Tencent's documents have against the region. They may have
// changed, so that it fails nothing.
func (d *doctor) region(c config.Config) {
	if detail, fix := c.RegionWarning(); detail != "" {
		d.warn("region", fix, "%s", detail)
	}
}

// otherSite says where the key may be known that is refused at one of Tencent's
// two sites. It is empty for any other endpoint.
func otherSite(endpoint string) string {
	other := map[string]string{config.ChinaEndpoint: config.IntlEndpoint,
		config.IntlEndpoint: config.ChinaEndpoint}[endpoint]
	if other == "" {
		return ""
	}
	return fmt.Sprintf("; or try TIWSNAP_TIW_ENDPOINT=%s, the endpoint of Tencent's other site", other)
}

// describe asks about a task that does not exist.
func describe(ctx context.Context, c config.Config, client *tiw.Client, rdb redis.UniversalClient) error {
	g, err := gate.New(gate.Options{
		Redis: rdb, Namespace: c.Namespace, RateLimit: c.Rate.Limit, DescribeShare: c.Confirm.Share,
		Margin: c.Rate.Margin, CallTimeout: c.TIW.Timeout, Follows: true,
	})
	if err != nil {
		return err
	}
	defer g.Close(ctx)
	wait, cancel := context.WithTimeout(ctx, permitTime)
	defer cancel()
	permit, err := g.Describe(wait, ratelimit.Interactive)
	if err != nil {
		return err
	}
	defer permit.Release()
	probe := tiw.NewDescribeSnapshotTaskRequest()
	task, app := probeTask, uint64(probeAppID)
	probe.TaskID, probe.SdkAppId = &task, &app
	_, err = client.DescribeSnapshotTask(permit.Context(ctx), probe)
	permit.Done(ctx, "", err)
	return err
}

// endpoint asks for any answer over HTTP at all.
func (d *doctor) endpoint(ctx context.Context, url string, timeout time.Duration) bool {
	const check = "endpoint"
	const fix = "check TIWSNAP_TIW_ENDPOINT, DNS, firewall, proxy and the machine's certificates"
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		d.fail(exitConfig, check, fix, "%v", err)
		return false
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	begin := time.Now()
	resp, err := transport.RoundTrip(req) // no redirects
	if err != nil {
		d.fail(exitUnavailable, check, fix, "%s does not answer: %v", url, err)
		return false
	}
	resp.Body.Close()
	took := time.Since(begin)
	d.ok(check, "%s answers in %s", url, round(took))
	if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		if skew := theirs.Sub(begin.Add(took)).Round(time.Second); skew.Abs() > maxSkew+took {
			d.warn("endpoint clock", "run an NTP client on this machine", "differs by %s from the clock here", skew)
		}
	}
	return true
}

// atLeast reports whether the first two numbers of a version are as high as
// those of want.
func atLeast(version, want string) bool {
	var v, w [2]int
	fmt.Sscanf(version, "%d.%d", &v[0], &v[1])
	fmt.Sscanf(want, "%d.%d", &w[0], &w[1])
	return slices.Compare(v[:], w[:]) >= 0
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// round keeps what is worth reading of a time to an answer.
func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

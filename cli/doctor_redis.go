package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/config"
	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/plural"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/schedule"
)

const (
	minRedis = "6.2" // oldest supported version
	fullFail = 0.95  // share of maxmemory in use at which the check fails
)

// redis checks Redis. It returns a client, or the error that it has reported.
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
	begin := time.Now() // not the time of dialRedis, which includes the connection
	if err := rdb.Ping(ctx, client, url); err != nil {
		closeRedis()
		d.fail(exitUnavailable, "redis", rdb.Fix(err), "%v", err)
		return nil, nil, err
	}
	took := time.Since(begin)
	d.stops(ctx, c, client)
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
	d.foreignServers(c, client)
	return client, closeRedis, nil
}

// stops reports why sending is stopped. This check comes first.
func (d *doctor) stops(ctx context.Context, c config.Config, client redis.UniversalClient) {
	stops, err := gate.NewBreaker(client, c.Namespace).Stops(ctx)
	if err != nil {
		return // the other checks report errors of Redis
	}
	for _, s := range stops {
		check := "sending"
		if s.Cause == gate.Application {
			check = fmt.Sprintf("application %d", s.App)
		}
		d.fail(exitUnavailable, check, plain(s.Fix),
			"%s since %s: %s; it waits for %s", s.What, formatTime(s.Since), plain(s.Why), s.WaitsFor)
	}
}

// loss reports a loss of data that was found in the last day.
func (d *doctor) loss(ctx context.Context, c config.Config, client redis.UniversalClient) {
	loss, err := ledger.New(client, ledger.Options{Namespace: c.Namespace}).LastLoss(ctx)
	if err == nil && loss != nil {
		d.fail(exitUnavailable, "redis data", ledger.LossFix, "%s (found %s)", loss, formatTime(loss.At))
	}
}

// worker reports whether a worker is running. No worker is only a warning, because one
// may be started next.
func (d *doctor) worker(c config.Config, client redis.UniversalClient) {
	run, err := results.NewReader(client, c.Namespace).WorkerRuns()
	switch none := gate.NoWorkerRuns(); {
	case err != nil: // the other checks report errors of Redis
	case run:
		d.ok("worker", "at least one is running")
	default:
		d.warn("worker", none.Fix, "%s: %s", none.What, none.Why)
	}
}

// foreignServers reports asynq servers of other applications on the queues of this
// namespace. They take its tasks and delay or archive them.
func (d *doctor) foreignServers(c config.Config, client redis.UniversalClient) {
	servers, err := asynqx.Foreign(client, c.Namespace.Queues()...)
	if err != nil {
		return // the other checks report errors of Redis
	}
	for _, s := range servers {
		d.fail(exitUnavailable, "queues", "give that application queues of its own",
			"process %d on %s takes tasks from %s but is not a tiwsnap worker",
			s.PID, plain(s.Host), strings.Join(s.Queues, ", "))
	}
}

// limits warns if workers have different rate limits.
func (d *doctor) limits(ctx context.Context, c config.Config, client redis.UniversalClient) {
	s, err := createLimit(ctx, client, c)
	if err != nil {
		return // the other checks report errors of Redis
	}
	if differ := limitsDiffer(s); differ != "" {
		d.warn("rate limit", limitsFix, "%s", differ)
	}
}

// schedules reports the state of the schedules, and warns of missed and failed ticks.
func (d *doctor) schedules(ctx context.Context, c config.Config, client redis.UniversalClient) {
	all, err := newSchedules(c)
	if err != nil {
		return // impossible: loadConfigs has parsed the schedules
	}
	list, err := schedule.NewStore(client, c.Namespace).Status(ctx, all)
	if err != nil {
		return // the other checks report errors of Redis
	}
	for _, s := range list {
		check := "schedule " + s.Name
		switch {
		case !s.Overdue.IsZero():
			d.warn(check, "run a worker with this configuration file", "no worker has started the tick of %s",
				formatTime(s.Overdue))
		case s.Trying != nil && s.Trying.Waits:
			d.warn(
				check,
				"free memory in Redis: the tick is retried at "+formatTime(s.Trying.RetryAt),
				"the tick of %s waits: %s",
				formatTime(s.Trying.Tick),
				plain(s.Trying.Error),
			)
		case s.Trying != nil:
			d.warn(
				check,
				"correct the source: it is read again at "+formatTime(s.Trying.RetryAt),
				"the tick of %s has failed %s: %s",
				formatTime(s.Trying.Tick),
				plural.Of(s.Trying.Failures, "time"),
				plain(s.Trying.Error),
			)
		case s.Last != nil && s.Last.Result == schedule.Failed:
			d.warn(
				check,
				"correct the source, then run tiwsnap schedule run "+s.Name,
				"the tick of %s failed: %s",
				formatTime(s.Last.Tick),
				plain(s.Last.Error),
			)
		case s.Last != nil && s.Last.BadRows > 0:
			d.warn(
				check,
				"correct the class list",
				"its last batch left out %s: %s",
				plural.Of(s.Last.BadRows, "bad row"),
				plain(strings.Join(s.Last.Reasons, "; ")),
			)
		default:
			d.ok(check, "next tick at %s", formatTime(s.Next))
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

// redisServer checks version, eviction, persistence and memory of one server.
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

// atLeast reports whether a version is want or later, by its first two numbers.
func atLeast(version, want string) bool {
	var v, w [2]int
	fmt.Sscanf(version, "%d.%d", &v[0], &v[1])
	fmt.Sscanf(want, "%d.%d", &w[0], &w[1])
	return slices.Compare(v[:], w[:]) >= 0
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

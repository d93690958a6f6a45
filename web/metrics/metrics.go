// Package metrics serves the Prometheus metrics of a process at /metrics. Its collector adds those of all processes
// together, which it reads from Redis at a scrape.
package metrics

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
	"tiwsnap/web"
)

const (
	// scrapeTime bounds the reads of a scrape, and scrapeFor is how long they are reused.
	scrapeTime = 3 * time.Second
	scrapeFor  = 2 * time.Second
	// scrapeBatches is how many of the newest batches are counted.
	scrapeBatches = 1000
	// scrapeOpen is how many of the oldest open batches are searched for the one that waits longest.
	scrapeOpen = 100
)

// NewRegistry returns a registry with the metrics of this process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Route serves a registry in the text format of Prometheus.
func Route(r *prometheus.Registry) web.Route {
	o := promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}
	return web.Handle("GET /metrics", web.RoleView, promhttp.HandlerFor(r, o).ServeHTTP)
}

// desc describes a metric that is read from Redis at a scrape.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tiwsnap_"+name, help, labels, nil)
}

var (
	descBuild       = desc("build_info", "Version of this process; always 1.", "version", "goversion")
	descUp          = desc("redis_up", "1 if Redis answered this scrape; if 0, all metrics from Redis are missing.")
	descMemory      = desc("redis_memory_bytes", "Memory in use that counts against the maxmemory of Redis.", "server")
	descMemoryMax   = desc("redis_memory_limit_bytes", "maxmemory of Redis; missing if it is unlimited.", "server")
	descSnapshots   = desc("snapshots", "Snapshots of the 1000 newest batches, by state.", "state")
	descTransitions = desc("snapshot_transitions_total", "State transitions of snapshots, by the new state.", "state")
	descNoImage     = desc("snapshots_no_image_total", "Snapshots that succeeded without an image.")
	descMissing     = desc("missing_images_total", "Images that a result counted but gave no URL for.")
	descToCopy      = desc("images_to_copy", "Images that are still to be copied.")
	descLost        = desc("images_lost_total", "Images that Tencent deleted before they were copied.")
	descDuplicates  = desc("possible_duplicates_total", "Requests that may have created a second task of a snapshot.")
	descExtra       = desc("extra_tasks_total",
		"Second tasks of a snapshot that are known, created after Redis lost data.")
	descBacklog = desc("backlog_rooms", "Rooms of open batches that are not on a queue yet.")
	descOldest  = desc("oldest_waiting_seconds",
		"Age of the oldest batch that has queued rooms and is not paused, or 0.")
	descQueue   = desc("queue_tasks", "Tasks on an asynq queue, by state.", "queue", "state")
	descPaused  = desc("queue_paused", "1 if an asynq queue is paused, for example in asynqmon, else 0.", "queue")
	descBreaker = desc("breaker_open",
		"1 while sending is stopped, by cause and Tencent's error code.", "cause", "code")
	descSuspended = desc("suspended_apps", "Applications that are suspended because Tencent refuses them.")
	descDataLost  = desc("redis_data_lost", "1 for a day after a loss of data in Redis was found, else 0.")
	descLimit     = desc("limit_requests", "Rate limit in requests per second.", "action")
	descEffective = desc("limit_effective_requests",
		"Current limit: lower while other clients use the account.", "action")
	descUsed = desc("limit_used_requests", "Requests of all processes in the last second.", "action")
	descPeak = desc("limit_peak_second_requests",
		"Requests of all processes in the peak second (last 2 min).", "action")
	descMargin  = desc("limit_margin_seconds", "Safety margin added to the one-second window.", "action")
	descWaiting = desc("limit_waiting",
		"Requests of this process that wait for a permit, by priority.", "action", "priority")

	descs = []*prometheus.Desc{
		descBuild, descUp, descMemory, descMemoryMax, descSnapshots, descTransitions, descNoImage, descMissing,
		descToCopy, descLost, descDuplicates, descExtra, descBacklog, descOldest, descQueue, descPaused,
		descBreaker, descSuspended, descDataLost, descLimit, descEffective, descUsed, descPeak, descMargin, descWaiting,
	}
)

// Options are the settings of a collector. Redis and Ledger are required.
type Options struct {
	Redis     redis.UniversalClient
	Namespace keys.Namespace // default: keys.Default
	Ledger    *ledger.Ledger
	Limiters  map[string]*ratelimit.Limiter // of this process, by API action
	Version   string                        // of this build
}

// NewCollector returns the metrics of a namespace, for all processes together. It reads them from Redis at a scrape,
// at most every two seconds.
func NewCollector(o Options) prometheus.Collector {
	return &collector{
		o: o, backlog: backlog.New(o.Redis, o.Namespace), gate: gate.NewBreaker(o.Redis, o.Namespace),
		queues: asynq.NewInspectorFromRedisClient(o.Redis),
	}
}

type collector struct {
	o       Options
	backlog *backlog.Backlog
	gate    *gate.Breaker
	queues  *asynq.Inspector
	mu      sync.Mutex
	at      time.Time
	last    []prometheus.Metric
}

// Describe is for prometheus.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect is for prometheus.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > scrapeFor {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
		r := &reading{c: c}
		err := r.all(ctx)
		cancel()
		up := 1.0
		if err != nil {
			r.metrics, up = nil, 0
		}
		r.gauge(descUp, up)
		r.gauge(descBuild, 1, c.o.Version, runtime.Version())
		c.at, c.last = time.Now(), r.metrics
	}
	for _, m := range c.last {
		ch <- m
	}
}

// reading is one read of Redis.
type reading struct {
	c       *collector
	metrics []prometheus.Metric
}

func (r *reading) gauge(d *prometheus.Desc, v float64, labels ...string) {
	r.metrics = append(r.metrics, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...))
}

func (r *reading) counter(d *prometheus.Desc, v float64, labels ...string) {
	r.metrics = append(r.metrics, prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...))
}

var states = []ledger.State{
	ledger.Queued, ledger.Sending, ledger.Unknown, ledger.Accepted, ledger.Succeeded, ledger.Failed, ledger.Canceled,
}

func (r *reading) all(ctx context.Context) error {
	c := r.c
	servers, err := rdb.Servers(ctx, c.o.Redis, "memory")
	var refusal redis.Error
	if err != nil && !errors.As(err, &refusal) {
		return err
	}
	for _, s := range servers {
		if s.Memory != nil {
			r.gauge(descMemory, float64(s.Memory.Used), s.Addr)
			if s.Memory.Max > 0 {
				r.gauge(descMemoryMax, float64(s.Memory.Max), s.Addr)
			}
		}
	}
	if err := r.batches(ctx); err != nil {
		return err
	}
	waiting, _, err := c.backlog.Waiting(ctx)
	if err != nil {
		return err
	}
	r.gauge(descBacklog, float64(waiting))
	if err := r.totals(ctx); err != nil {
		return err
	}
	stops, err := c.gate.Stops(ctx)
	if err != nil {
		return err
	}
	suspended, paused := 0, map[string]float64{}
	for _, s := range stops {
		if s.Cause == gate.Application {
			suspended++
			continue
		}
		if s.Cause == gate.PausedQueue {
			paused[s.Queue] = 1
			continue
		}
		code := ""
		if s.Code != "" {
			code = tiw.Label(s.Code)
		}
		r.gauge(descBreaker, 1, string(s.Cause), code)
	}
	r.gauge(descSuspended, float64(suspended))
	loss, err := c.o.Ledger.LastLoss(ctx)
	if err != nil {
		return err
	}
	lost := 0.0
	if loss != nil {
		lost = 1
	}
	r.gauge(descDataLost, lost)
	for _, queue := range r.c.o.Namespace.Queues() {
		r.gauge(descPaused, paused[queue], queue)
		info, err := r.c.queues.GetQueueInfo(queue)
		if err != nil {
			continue // the queue does not exist yet, or has the id of a deleted task
		}
		for state, n := range map[string]int{
			"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled, "retry": info.Retry,
			"archived": info.Archived, "completed": info.Completed,
		} {
			r.gauge(descQueue, float64(n), queue, state)
		}
	}
	return r.limits(ctx)
}

func (r *reading) batches(ctx context.Context) error {
	all, err := r.c.o.Ledger.Batches(ctx, scrapeBatches)
	if err != nil {
		return err
	}
	oldestOpen, err := r.c.o.Ledger.OldestOpen(ctx, scrapeOpen)
	if err != nil {
		return err
	}
	var oldest time.Time
	for _, b := range oldestOpen {
		if b.Queued > 0 && !b.Paused && oldest.IsZero() {
			oldest = b.CreatedAt
		}
	}
	n := map[ledger.State]int{}
	for _, b := range all {
		for state, count := range map[ledger.State]int{
			ledger.Queued: b.Queued, ledger.Sending: b.Sending, ledger.Unknown: b.Unknown, ledger.Accepted: b.Accepted,
			ledger.Succeeded: b.Succeeded, ledger.Failed: b.Failed, ledger.Canceled: b.Canceled,
		} {
			n[state] += count
		}
	}
	for _, state := range states {
		r.gauge(descSnapshots, float64(n[state]), string(state))
	}
	age := 0.0
	if !oldest.IsZero() {
		age = max(0, time.Since(oldest).Seconds())
	}
	r.gauge(descOldest, age)
	return nil
}

func (r *reading) totals(ctx context.Context) error {
	totals, err := r.c.o.Redis.HGetAll(ctx, r.c.o.Namespace.Totals()).Result()
	if err != nil {
		return err
	}
	number := func(name string) float64 {
		n, _ := strconv.ParseFloat(totals[name], 64) // a missing counter is 0
		return n
	}
	for _, state := range states {
		r.counter(descTransitions, number(string(state)), string(state))
	}
	r.counter(descNoImage, number("no_image"))
	r.counter(descMissing, number("missing_images"))
	r.gauge(descToCopy, max(0, number("images_pending")))
	r.counter(descLost, number("images_lost"))
	r.counter(descDuplicates, number("possible_duplicates"))
	r.counter(descExtra, number("extra_tasks"))
	return nil
}

func (r *reading) limits(ctx context.Context) error {
	for _, action := range slices.Sorted(maps.Keys(r.c.o.Limiters)) {
		s, err := r.c.o.Limiters[action].State(ctx)
		if err != nil {
			return err
		}
		r.gauge(descLimit, float64(s.Limit), action)
		r.gauge(descEffective, float64(s.Effective), action)
		r.gauge(descUsed, float64(s.Used), action)
		r.gauge(descPeak, float64(s.Peak), action)
		r.gauge(descMargin, s.Margin.Seconds(), action)
		for i, priority := range []string{"bulk", "interactive"} {
			r.gauge(descWaiting, float64(s.Waiting[i]), action, priority)
		}
	}
	return nil
}

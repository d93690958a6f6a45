package worker

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"tiwsnap/gate"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw"
)

// The API actions, as in the labels of metrics and the keys of limiters.
const (
	actionCreate   = gate.ActionCreate
	actionDescribe = gate.ActionDescribe
)

// metrics are the Prometheus metrics of one worker.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	permits  *prometheus.HistogramVec
	orphans  prometheus.Counter
	losses   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) metrics {
	f := promauto.With(r)
	return metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tiwsnap_api_requests_total",
			Help: "Requests to Tencent's API, by action and error code.",
		}, []string{"action", "code"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tiwsnap_api_request_duration_seconds",
			Help:    "Duration of a request to Tencent's API, with its connection.",
			Buckets: []float64{.025, .05, .1, .2, .4, .8, 1.6, 3.2, 6.4, 12.8},
		}, []string{"action"}),
		permits: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tiwsnap_permit_wait_seconds",
			Help:    "Time that a request waited for a permit of the rate limit.",
			Buckets: []float64{.01, .05, .1, .5, 1, 2, 5, 10, 30, 60, 300},
		}, []string{"action", "priority"}),
		orphans: f.NewCounter(prometheus.CounterOpts{
			Name: "tiwsnap_orphans_total",
			Help: "Orphaned asynq tasks, active without a lease, that were recovered.",
		}),
		losses: f.NewCounterVec(prometheus.CounterOpts{
			Name: "tiwsnap_redis_losses_total",
			Help: "Losses of data in Redis that this process found, by kind: emptied or older.",
		}, []string{"kind"}),
	}
}

// called counts an API call that began at began and has just ended.
func (m metrics) called(action string, began time.Time, err error) {
	code := ""
	var e *tiw.Error
	if errors.As(err, &e) {
		code = e.Code
	} else if err != nil {
		code = "other"
	}
	m.requests.WithLabelValues(action, tiw.Label(code)).Inc()
	m.seconds.WithLabelValues(action).Observe(time.Since(began).Seconds())
}

// acquired observes the wait for a permit that began at began and has just ended.
func (m metrics) acquired(action string, p ratelimit.Priority, began time.Time) {
	name := "bulk"
	if p == ratelimit.Interactive {
		name = "interactive"
	}
	m.permits.WithLabelValues(action, name).Observe(time.Since(began).Seconds())
}

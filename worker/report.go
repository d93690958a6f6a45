package worker

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"tiwsnap/internal/roster"
	"tiwsnap/ratelimit"
	"tiwsnap/version"
)

// traffic is what this worker sends.
type traffic struct {
	busy  atomic.Int64 // requests that are out
	total atomic.Int64 // requests since it has started
}

// reportEvery is the time between two reports: in time for the roster, and two
// seconds sooner than the history of the rate limit expects them.
const reportEvery = min(roster.Interval, ratelimit.RecordWithin-2*time.Second)

// report writes every few seconds what this worker is and does: to the roster of
// workers, and to the history of the rate limit.
func (w *Worker) report(ctx context.Context) {
	host, _ := os.Hostname() // without one its process id has to do
	self := roster.Worker{
		ID: w.name, Host: host, PID: os.Getpid(), Version: version.Read().String(), Started: time.Now().UTC(),
		Settings: w.settings(),
	}
	for first := true; first || pause(ctx, reportEvery); first = false {
		self.Busy, self.Sent = int(w.traffic.busy.Load()), w.traffic.total.Load()
		err := roster.Heartbeat(ctx, w.o.Redis, w.o.Namespace, self)
		if err == nil {
			err = w.create.Record(ctx)
		}
		if err != nil && ctx.Err() == nil {
			w.log.Debug("not told what this worker does", "err", err) // Redis being away is told elsewhere
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := w.create.Record(last); err == nil {
		roster.Remove(last, w.o.Redis, w.o.Namespace, w.name) // else it is forgotten soon
	}
}

// settings are those that all workers should have alike.
func (w *Worker) settings() map[string]string {
	return map[string]string{
		"rate.limit":         strconv.Itoa(w.o.RateLimit),
		"worker.concurrency": strconv.Itoa(w.o.Concurrency),
		"worker.attempts":    strconv.Itoa(w.o.Attempts),
		"tiw.timeout":        w.o.CallTimeout.String(),
		"confirm.after":      w.o.ConfirmAfter.String(),
		"confirm.share":      strconv.Itoa(w.o.ConfirmShare),
		"retention":          w.o.Retention.String(),
		"unknown":            string(w.o.OnUnknown),
		"callback":           strconv.FormatBool(w.o.CallbackURL != nil),
		"webhook":            strconv.FormatBool(w.o.Webhooks.Sender != nil),
		"schedules":          strconv.Itoa(len(w.o.Schedules)),
	}
}

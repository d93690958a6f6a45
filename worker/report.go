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

// traffic counts the requests of this worker.
type traffic struct {
	busy  atomic.Int64 // requests in flight
	total atomic.Int64 // requests since the start
}

// reportInterval is the time between two reports. The roster needs one per
// roster.Interval, and the history of the rate limit one per ratelimit.RecordWithin.
const reportInterval = min(roster.Interval, ratelimit.RecordWithin-2*time.Second)

// report writes the state of this worker to the roster of workers and to the history
// of the rate limit, every few seconds until ctx ends.
func (w *Worker) report(ctx context.Context) {
	host, _ := os.Hostname() // without a name the process id identifies it
	self := roster.Worker{
		ID: w.name, Host: host, PID: os.Getpid(), Version: version.Read().String(), Started: time.Now().UTC(),
		Settings: w.settings(),
	}
	for first := true; first || pause(ctx, reportInterval); first = false {
		self.Busy, self.Sent = int(w.traffic.busy.Load()), w.traffic.total.Load()
		err := roster.Heartbeat(ctx, w.o.Redis, w.o.Namespace, self)
		if err == nil {
			err = w.create.Record(ctx)
		}
		if err != nil && ctx.Err() == nil {
			w.log.Debug("report not written", "err", err) // other loops log that Redis is down
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := w.create.Record(last); err == nil {
		roster.Remove(last, w.o.Redis, w.o.Namespace, w.name) // otherwise the entry expires soon
	}
}

// settings returns the settings that should be the same on all workers.
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

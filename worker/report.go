package worker

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"tiwsnap/internal/roster"
	"tiwsnap/tiw"
	"tiwsnap/version"
)

// traffic is what this worker sends.
type traffic struct {
	busy    atomic.Int64 // requests that are out
	total   atomic.Int64 // requests since it has started
	sent    atomic.Int64 // of them, those that are not in the history yet
	refused atomic.Int64 // of these, those beyond the quota
}

// count counts one request that was sent, and how that ended.
func (t *traffic) count(err error) {
	t.total.Add(1)
	t.sent.Add(1)
	var e *tiw.Error
	if errors.As(err, &e) && e.Class == tiw.Throttled {
		t.refused.Add(1)
	}
}

// report tells every few seconds what this worker is and does: on the roster of
// the workers, and in the history of the rate limit.
func (w *Worker) report(ctx context.Context) {
	host, _ := os.Hostname() // without one its process id has to do
	self := roster.Worker{
		ID: w.name, Host: host, PID: os.Getpid(), Version: version.Read().String(), Started: time.Now().UTC(),
		Settings: w.settings(),
	}
	for first := true; first || pause(ctx, roster.Every); first = false {
		self.Busy, self.Sent = int(w.traffic.busy.Load()), w.traffic.total.Load()
		err := roster.Tell(ctx, w.o.Redis, w.o.Namespace, self)
		if err == nil {
			err = w.record(ctx)
		}
		if err != nil && ctx.Err() == nil {
			w.log.Debug("not told what this worker does", "err", err) // Redis being away is told elsewhere
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := w.record(last); err == nil {
		roster.Leave(last, w.o.Redis, w.o.Namespace, w.name) // else it is forgotten soon
	}
}

// record writes what was sent since the last time into the history.
func (w *Worker) record(ctx context.Context) error {
	sent, refused := w.traffic.sent.Swap(0), w.traffic.refused.Swap(0)
	if sent == 0 {
		return nil
	}
	err := w.create.Record(ctx, int(sent), int(refused))
	if err != nil { // the next time
		w.traffic.sent.Add(sent)
		w.traffic.refused.Add(refused)
	}
	return err
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

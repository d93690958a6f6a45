package cli

import (
	"context"
	"fmt"
	"time"

	"tiwsnap/gate"
	"tiwsnap/ledger"
)

// stallInterval is the time between two checks for a stall.
const stallInterval = 2 * time.Second

// stallReporter reports why a snapshot or batch makes no progress, once for each change.
type stallReporter struct {
	id       string
	print    func(line string)
	at       time.Time
	reported map[string]bool // the current reasons
}

// report checks every stallInterval, and at each call while there is a reason. The first
// check is stallInterval after the first call, because a worker may be starting. own are
// reasons besides those that stop all sending. While Redis is unavailable it reports
// nothing, because the caller does.
func (s *stallReporter) report(ctx context.Context, c *connection, own []string) {
	if s.at.IsZero() {
		s.at = time.Now()
	}
	if len(s.reported) == 0 && time.Since(s.at) < stallInterval {
		return
	}
	s.at = time.Now()
	stops, err := c.results.Stops(ctx)
	if err != nil {
		return
	}
	hold := map[string]bool{}
	reason := func(key, text string) {
		hold[key] = true
		if !s.reported[key] {
			s.print(fmt.Sprintf("%s: waiting: %s", s.id, plain(text)))
		}
	}
	for _, stop := range stops {
		reason(stopKey(stop), stop.String())
	}
	for _, text := range own {
		reason(text, text)
	}
	if len(s.reported) > 0 && len(hold) == 0 {
		s.print(s.id + ": running again")
	}
	s.reported = hold
}

// stopKey identifies a stop, without its phase and next trial, which change often.
func stopKey(s gate.Stop) string { return fmt.Sprint(s.Cause, s.Queue, s.App, s.Code, s.Since.Unix()) }

// pausedReason returns the reason of a paused batch.
func pausedReason(b ledger.Batch) []string {
	if !b.Paused {
		return nil
	}
	return []string{"the batch is paused. Fix: tiwsnap resume " + b.ID}
}

// heldReason returns the reason of a snapshot that is held for review.
func heldReason(s ledger.Snapshot) []string {
	if !s.Held {
		return nil
	}
	return []string{
		fmt.Sprintf("it is held for review. Fix: tiwsnap retry %s, or tiwsnap cancel %s", s.ID, s.ID),
	}
}

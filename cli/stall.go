package cli

import (
	"context"
	"fmt"
	"time"

	"tiwsnap/gate"
	"tiwsnap/ledger"
)

// stallEvery is the time between two looks for why nothing moves.
const stallEvery = 2 * time.Second

// stall says why what is waited for does not move, once for each change.
type stall struct {
	id   string
	say  func(line string)
	at   time.Time
	said map[string]bool // the reasons that hold
}

// look looks again: every stallEvery, and each time until what it said is over.
// The first time is stallEvery after the first call, as a worker may be starting. own are reasons beside those that
// concern all sending. Where Redis is away nothing is said: whoever waits says so.
func (s *stall) look(ctx context.Context, c *connection, own []string) {
	if s.at.IsZero() {
		s.at = time.Now()
	}
	if len(s.said) == 0 && time.Since(s.at) < stallEvery {
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
		if !s.said[key] {
			s.say(fmt.Sprintf("%s: waiting: %s", s.id, plain(text)))
		}
	}
	for _, stop := range stops {
		reason(stopKey(stop), stop.String())
	}
	for _, text := range own {
		reason(text, text)
	}
	if len(s.said) > 0 && len(hold) == 0 {
		s.say(s.id + ": running again")
	}
	s.said = hold
}

// stopKey tells one stop from another: not its phase or its next trial, which
// change all the time.
func stopKey(s gate.Stop) string { return fmt.Sprint(s.Cause, s.Queue, s.App, s.Code, s.Since.Unix()) }

// pausedBatch says that a batch is paused, if so.
func pausedBatch(b ledger.Batch) []string {
	if !b.Paused {
		return nil
	}
	return []string{"the batch is paused. Fix: tiwsnap resume " + b.ID}
}

// heldSnapshot says that a snapshot is held for review, if so.
func heldSnapshot(s ledger.Snapshot) []string {
	if !s.Held {
		return nil
	}
	return []string{
		fmt.Sprintf("it is held for review. Fix: tiwsnap retry %s, or tiwsnap cancel %s", s.ID, s.ID),
	}
}

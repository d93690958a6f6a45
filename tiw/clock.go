package tiw

import (
	"net/http"
	"sync"
	"time"
)

const (
	// clockSlack is what two readings of one clock may differ by: no call takes
	// longer than a minute, and Tencent refuses only what is 5 minutes off.
	// https://cloud.tencent.com/document/api/362/4208
	clockSlack = 2 * time.Minute
	// clockMax bounds what is learnt. A machine that is a day off has other
	// troubles, and nobody should be able to have requests signed for next year.
	clockMax = 24 * time.Hour
	// clockHold is how long what was learnt stays, so that servers that
	// disagree about the time cannot keep a call going round.
	clockHold = time.Minute
)

// clock tells Tencent's time. That is this machine's until a request is refused
// for its time; then it is what the answer says. The zero value is ready.
type clock struct {
	mu     sync.Mutex
	offset time.Duration // of Tencent's time from this machine's
	learnt time.Time     // when, by this machine
}

func (c *clock) now() time.Time { return time.Now().Add(c.learntOffset()) }

func (c *clock) learntOffset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// correct is for an answer, with a Date header, that refused the time that was
// signed. It reports whether now is another time than that, and a better one.
func (c *clock) correct(signed time.Time, date string) bool {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return false
	}
	offset := time.Until(theirs).Round(time.Second)
	if near(theirs.Sub(signed), 0) || offset.Abs() > clockMax {
		return false // the time was right and was not the reason, or is absurd
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if near(offset, c.offset) {
		return true // another call has learnt it since, or the clock here was set
	}
	if !c.learnt.IsZero() && time.Since(c.learnt) < clockHold {
		return false
	}
	c.offset, c.learnt = offset, time.Now()
	return true
}

func near(a, b time.Duration) bool { return (a - b).Abs() <= clockSlack }

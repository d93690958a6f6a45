package tiw

import (
	"net/http"
	"sync"
	"time"
)

const (
	// clockSlack is the tolerance for two readings of one clock. A call takes at most a
	// minute, and Tencent rejects times that are 5 minutes off.
	// https://cloud.tencent.com/document/api/362/4208
	clockSlack = 2 * time.Minute
	// clockMax bounds the correction, so that no server can make this client sign
	// requests for next year.
	clockMax = 24 * time.Hour
	// clockHold is the minimum time between two corrections. It prevents endless retries
	// between servers that disagree about the time.
	clockHold = time.Minute
)

// clock returns Tencent's time. It is this machine's time until a request is rejected
// for its time, then the time of that response. The zero value is ready to use.
type clock struct {
	mu     sync.Mutex
	offset time.Duration // Tencent's time minus this machine's
	learnt time.Time     // time of the last correction, by this machine
}

func (c *clock) now() time.Time { return time.Now().Add(c.learntOffset()) }

func (c *clock) learntOffset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// correct learns Tencent's time from the Date header of a response that rejected the
// signed time. It reports whether now returns a corrected time.
func (c *clock) correct(signed time.Time, date string) bool {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return false
	}
	offset := time.Until(theirs).Round(time.Second)
	if near(theirs.Sub(signed), 0) || offset.Abs() > clockMax {
		return false // the signed time was correct, or the response's time is absurd
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if near(offset, c.offset) {
		return true // another call has corrected it, or this machine's clock was set
	}
	if !c.learnt.IsZero() && time.Since(c.learnt) < clockHold {
		return false
	}
	c.offset, c.learnt = offset, time.Now()
	return true
}

func near(a, b time.Duration) bool { return (a - b).Abs() <= clockSlack }

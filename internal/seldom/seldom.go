// Package seldom limits how often a log message is repeated when outside events
// trigger it.
package seldom

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Message is a message that comes once a second at most.
type Message struct {
	limit *rate.Limiter
	count *atomic.Int64
}

// New returns a message.
func New() Message {
	return Message{rate.NewLimiter(rate.Every(time.Second), 1), new(atomic.Int64)}
}

// Now counts one, and returns how many it has been since the last message if
// it is time for one, otherwise 0.
func (m Message) Now() int64 {
	m.count.Add(1)
	if !m.limit.Allow() {
		return 0
	}
	return m.count.Swap(0)
}

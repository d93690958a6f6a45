// Package seldom limits a log message to one a second, with the number of messages that it stands for.
//
// It is for messages that outside events trigger, such as requests of strangers.
package seldom

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Message is a log message that appears at most once a second.
type Message struct {
	limit *rate.Limiter
	count *atomic.Int64
}

// New returns a message.
func New() Message {
	return Message{rate.NewLimiter(rate.Every(time.Second), 1), new(atomic.Int64)}
}

// Now counts an event. If a message is due, it returns the number of events since the last message, else 0.
func (m Message) Now() int64 {
	m.count.Add(1)
	if !m.limit.Allow() {
		return 0
	}
	return m.count.Swap(0)
}

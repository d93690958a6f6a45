package worker

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"tiwsnap/internal/rdb"
)

const (
	// feedUpTo is the share of Redis' maxmemory up to which new rooms of batches
	// are started. The rest is reserved for rooms in progress.
	feedUpTo = 0.92
	// memoryInterval is the time between two checks.
	memoryInterval = 2 * time.Second
)

// memoryWatch checks whether Redis is too full to start new rooms. The zero value is
// ready to use.
type memoryWatch struct {
	checked time.Time
	isFull  bool
	warn    rate.Sometimes
}

// full reports whether Redis is too full, as of the last check. It checks at most once
// per memoryInterval.
func (m *memoryWatch) full(ctx context.Context, w *Worker) bool {
	if time.Since(m.checked) < memoryInterval {
		return m.isFull
	}
	m.checked, m.isFull, m.warn.Interval = time.Now(), false, time.Minute
	servers, err := rdb.Servers(ctx, w.o.Redis, "memory")
	if err != nil {
		// INFO is not permitted, or Redis is embedded. If Redis is down, nothing is fed anyway.
		return false
	}
	for _, s := range servers {
		if s.Memory == nil || s.Memory.Max == 0 || float64(s.Memory.Used) < feedUpTo*float64(s.Memory.Max) {
			continue
		}
		m.isFull = true
		m.warn.Do(func() {
			w.logServer(s).Error("Redis is almost full: no new rooms of batches are started",
				"used_bytes", s.Memory.Used, "maxmemory_bytes", s.Memory.Max,
				"fix", "raise maxmemory, or wait until records expire")
		})
	}
	return m.isFull
}

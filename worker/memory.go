package worker

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"tiwsnap/internal/rdb"
)

const (
	// feedUpTo is the share of Redis' maxmemory up to which rooms of batches are
	// begun: the rest is for what is begun to end.
	feedUpTo = 0.92
	// memoryEvery is the time between two looks.
	memoryEvery = 2 * time.Second
)

// memoryWatch knows whether Redis is too full to begin anything. The zero value is
// ready.
type memoryWatch struct {
	at   time.Time
	is   bool
	says rate.Sometimes
}

func (m *memoryWatch) full(ctx context.Context, w *Worker) bool {
	if time.Since(m.at) < memoryEvery {
		return m.is
	}
	m.at, m.is, m.says.Interval = time.Now(), false, time.Minute
	servers, err := rdb.Servers(ctx, w.o.Redis, "memory")
	if err != nil {
		return false // it is forbidden to ask, or embedded, or away: then nothing is fed anyway
	}
	for _, s := range servers {
		if s.Memory == nil || s.Memory.Max == 0 || float64(s.Memory.Used) < feedUpTo*float64(s.Memory.Max) {
			continue
		}
		m.is = true
		m.says.Do(func() {
			w.log.Error("Redis is almost full: rooms of batches wait until there is room", "server", s.Addr,
				"used_bytes", s.Memory.Used, "maxmemory_bytes", s.Memory.Max,
				"fix", "raise maxmemory, or wait until records have expired")
		})
	}
	return m.is
}

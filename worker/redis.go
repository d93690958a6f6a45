package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/rdb"
)

// redisInterval is the time between two checks of the settings of Redis.
const redisInterval = time.Minute

// CheckRedis returns an error if Redis may evict tasks. It logs a warning for other
// risks: no append-only file, clocks that differ, or settings that cannot be read.
// Call it once before Run. Errors: *rdb.EvictionError, or a connection error.
func (w *Worker) CheckRedis(ctx context.Context) error {
	servers, err := rdb.Servers(ctx, w.o.Redis)
	var refusal redis.Error
	switch {
	case errors.As(err, &refusal):
		w.log.Warn("the settings of Redis cannot be read: its maxmemory-policy must be noeviction, or tasks may be lost",
			"err", err)
	case err != nil:
		return fmt.Errorf("read the settings of Redis: %w", err)
	}
	var faults []error
	for _, s := range servers {
		if s.Version == "" {
			continue // an embedded Redis keeps its data in memory only
		}
		faults = append(faults, s.CheckPolicy())
		if s.Policy == "" {
			w.logServer(s).Warn("the maxmemory-policy of Redis is unknown: it must be noeviction, " +
				"or tasks may be lost when Redis is full")
		}
		if s.AppendOnly == "no" {
			w.logServer(s).Warn("Redis has no append-only file: accepted snapshots are lost if it crashes",
				"fix", "CONFIG SET appendonly yes, and the same in redis.conf")
		}
	}
	w.compareClocks(ctx)
	return errors.Join(faults...)
}

// watchRedis logs every minute if Redis may evict tasks or if its clock differs from
// the local one, until ctx ends.
func (w *Worker) watchRedis(ctx context.Context) {
	for pause(ctx, redisInterval) {
		w.recheckRedis(ctx)
	}
}

// recheckRedis does one check of watchRedis. It ignores connection errors, which
// other loops log.
func (w *Worker) recheckRedis(ctx context.Context) {
	servers, err := rdb.Servers(ctx, w.o.Redis, "memory")
	if err != nil {
		return
	}
	for _, s := range servers {
		if err := s.CheckPolicy(); err != nil {
			w.log.Error("ALARM: Redis evicts tasks when it is full", "err", err)
		}
	}
	w.compareClocks(ctx)
}

// logServer returns the log with the address of a server, if it is known.
func (w *Worker) logServer(s rdb.Server) *slog.Logger {
	if s.Addr == "" {
		return w.log
	}
	return w.log.With("server", s.Addr)
}

// compareClocks warns if the clock of Redis differs from the local one by more than
// rdb.MaxSkew.
func (w *Worker) compareClocks(ctx context.Context) {
	skew, err := rdb.Skew(ctx, w.o.Redis)
	if err == nil && skew.Abs() > rdb.MaxSkew {
		w.log.Warn("the clock of Redis and the local clock differ: tasks of live workers may be treated as lost", "by",
			skew, "fix", "run an NTP client on both machines")
	}
}

package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/rdb"
)

// watchEvery is the time between two looks at the settings of Redis.
const watchEvery = time.Minute

// CheckRedis refuses a Redis that would throw tasks away, and warns in the log
// of what else puts the work at risk: no append-only file, clocks that differ,
// a server that does not tell. It is for the start, before Run. Errors:
// *rdb.EvictionError, or that Redis is away.
func (w *Worker) CheckRedis(ctx context.Context) error {
	servers, err := rdb.Servers(ctx, w.o.Redis)
	var refusal redis.Error
	switch {
	case errors.As(err, &refusal):
		w.log.Warn("the settings of Redis are unknown: its maxmemory-policy must be noeviction, or tasks are lost",
			"err", err)
	case err != nil:
		return fmt.Errorf("ask Redis for its settings: %w", err)
	}
	var faults []error
	for _, s := range servers {
		if s.Version == "" {
			continue // an embedded one, of which nothing lasts anyway
		}
		faults = append(faults, s.CheckPolicy())
		if s.Policy == "" {
			w.log.Warn("the maxmemory-policy of Redis is unknown: it must be noeviction, or tasks are lost when it is full",
				"server", s.Addr)
		}
		if s.AppendOnly == "no" {
			w.log.Warn("Redis has no append-only file: accepted snapshots are lost if it crashes", "server", s.Addr,
				"fix", "CONFIG SET appendonly yes, and the same in redis.conf")
		}
	}
	w.compareClocks(ctx)
	return errors.Join(faults...)
}

// watchRedis says in the log, again every minute while it lasts, that Redis
// has become one that throws tasks away or that the clocks have parted.
func (w *Worker) watchRedis(ctx context.Context) {
	for pause(ctx, watchEvery) {
		w.lookAtRedis(ctx)
	}
}

// lookAtRedis is one look of watchRedis. Redis being away is the others' to
// say.
func (w *Worker) lookAtRedis(ctx context.Context) {
	servers, err := rdb.Servers(ctx, w.o.Redis, "memory")
	if err != nil {
		return
	}
	for _, s := range servers {
		if err := s.CheckPolicy(); err != nil {
			w.log.Error("ALARM: Redis throws tasks away as soon as it is full", "err", err)
		}
	}
	w.compareClocks(ctx)
}

func (w *Worker) compareClocks(ctx context.Context) {
	skew, err := rdb.Skew(ctx, w.o.Redis)
	if err == nil && skew.Abs() > rdb.MaxSkew {
		w.log.Warn("the clock of Redis and the clock here differ: tasks of live workers may be taken for lost", "by",
			skew, "fix", "run an NTP client on both machines")
	}
}

package enqueue

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/rdb"
)

const (
	// AdmitUpTo is the share of Redis' maxmemory up to which new work is
	// taken. A full Redis refuses the workers' writes too, and then nothing
	// would ever end and make room.
	AdmitUpTo = 0.80
	// recordBytes is what a room will need when it is no longer a few bytes of
	// its batch but a record that is kept for the retention: measured 1.2 to
	// 1.7 kB, by the number of its images.
	recordBytes = 1536
	// verdictFor is how long the admission of one room stands for the next.
	verdictFor = time.Second
)

// FullError means that Redis has no memory left for new work. Nothing was
// enqueued. What was accepted before goes on, and the same call succeeds once
// there is room again. All figures are bytes.
type FullError struct {
	Used     int64 // in use now
	Reserved int64 // for the records of the rooms that wait, those refused included
	Max      int64 // maxmemory; 0 if it is not known
}

func (e *FullError) Error() string {
	if e.Max == 0 {
		return "Redis is full; " + fullFix
	}
	return fmt.Sprintf("Redis is full: %s in use and %s to come for the records of rooms that wait, of %s; new work is taken up to %.0f %%; %s",
		megabytes(e.Used), megabytes(e.Reserved), megabytes(e.Max), AdmitUpTo*100, fullFix)
}

const fullFix = "try again when records have expired, or raise maxmemory"

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// admission says whether Redis may take new work.
type admission struct {
	rdb     redis.UniversalClient
	backlog *backlog.Backlog
	last    atomic.Pointer[verdict]
}

type verdict struct {
	at  time.Time
	err error
}

// room admits one room. The answer may be a second old.
func (a *admission) room(ctx context.Context) error {
	if v := a.last.Load(); v != nil && time.Since(v.at) < verdictFor {
		return v.err
	}
	err := a.rooms(ctx, 1)
	var full *FullError
	var evicts *rdb.EvictionError
	if err == nil || errors.As(err, &full) || errors.As(err, &evicts) {
		a.last.Store(&verdict{time.Now(), err})
	}
	return err
}

// rooms admits so many rooms of a batch. Errors: *FullError,
// *rdb.EvictionError, or Redis'. A Redis that does not tell its memory, or has
// no limit, takes everything.
func (a *admission) rooms(ctx context.Context, n int) error {
	servers, err := rdb.Servers(ctx, a.rdb, "memory")
	var refusal redis.Error
	if errors.As(err, &refusal) {
		return nil // forbidden, or embedded
	}
	if err != nil {
		return fmt.Errorf("ask Redis for its memory: %w", err)
	}
	limited := false
	for _, s := range servers {
		if err := s.CheckPolicy(); err != nil {
			return err
		}
		limited = limited || s.Memory != nil && s.Memory.Max > 0
	}
	if !limited {
		return nil
	}
	waiting, paused, err := a.backlog.Waiting(ctx)
	if err != nil {
		return err
	}
	reserved := int64(waiting+paused+n) * recordBytes
	for _, s := range servers {
		m := s.Memory
		if m != nil && m.Max > 0 && float64(m.Used+reserved) > AdmitUpTo*float64(m.Max) {
			return &FullError{m.Used, reserved, m.Max}
		}
	}
	return nil
}

// explain makes a *FullError of an error by which Redis itself has refused a
// write for lack of memory.
func (a *admission) explain(ctx context.Context, err error) error {
	var full *FullError
	if !rdb.OutOfMemory(err) || errors.As(err, &full) {
		return err
	}
	if now := a.rooms(ctx, 1); errors.As(now, &full) {
		return full
	}
	return &FullError{}
}

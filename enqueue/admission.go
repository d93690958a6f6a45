package enqueue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/rdb"
	"tiwsnap/ledger"
)

const (
	// AdmitUpTo is the share of Redis' maxmemory up to which new work is accepted. A
	// full Redis refuses the writes of workers, too, so no work would end and free
	// memory.
	AdmitUpTo = 0.80
	// copies is how often Redis stores the parameters of a single room: in the task on
	// the queue, in the record, and in the packed record.
	copies = 3
	// verdictFor is how long the verdict on one room is valid for others.
	verdictFor = time.Second
)

// FullError means that Redis has no memory for new work. Nothing was enqueued. Accepted
// work goes on, and the same call succeeds once memory is free. All figures are bytes.
type FullError struct {
	Used     int64 // used_memory
	Reserved int64 // for records of queued rooms, the refused ones included
	Max      int64 // maxmemory; 0 if unknown
}

func (e *FullError) Error() string {
	if e.Max == 0 {
		return "Redis is full; " + fullFix
	}
	return fmt.Sprintf("Redis is full: %s used and %s reserved for records of queued rooms, of %s; new work is "+
		"accepted up to %.0f %%; %s",
		megabytes(e.Used), megabytes(e.Reserved), megabytes(e.Max), AdmitUpTo*100, fullFix)
}

const fullFix = "retry when records have expired, or raise maxmemory"

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// EvictionError means that a server of Redis evicts keys when it is full, and accepted
// snapshots with them. Nothing was enqueued.
type EvictionError = rdb.EvictionError

// admission decides whether Redis has memory for new work.
type admission struct {
	rdb     redis.UniversalClient
	backlog *backlog.Backlog
	ledger  *ledger.Ledger
	last    atomic.Pointer[verdict]
}

// verdict is a cached decision. It is valid for verdictFor, and until left is used up.
type verdict struct {
	at   time.Time
	err  error
	left atomic.Int64 // bytes
	each int          // bytes of a record
}

// room admits one room whose parameters have that many bytes. The verdict may be a
// second old. Errors: those of rooms.
func (a *admission) room(ctx context.Context, parameters int) error {
	if v := a.last.Load(); v != nil && time.Since(v.at) < verdictFor {
		if v.err != nil || v.left.Add(-int64(v.each+copies*parameters)) >= 0 {
			return v.err
		}
	}
	v := &verdict{at: time.Now()}
	var left int64
	left, v.each, v.err = a.headroom(ctx, 1, copies*parameters)
	v.left.Store(left)
	var full *FullError
	var evicts *EvictionError
	if v.err == nil || errors.As(v.err, &full) || errors.As(v.err, &evicts) {
		a.last.Store(v)
	}
	return v.err
}

// rooms admits n rooms of a batch and further bytes of their list. A Redis without a
// limit, or one that does not report its memory, admits everything. Errors:
// *FullError, *EvictionError, or Redis'.
func (a *admission) rooms(ctx context.Context, n, bytes int) error {
	_, _, err := a.headroom(ctx, n, bytes)
	return err
}

// headroom returns how many bytes are left after n more rooms and that many bytes of
// parameters, and the average size of a record.
func (a *admission) headroom(ctx context.Context, n, bytes int) (left int64, record int, err error) {
	servers, err := rdb.Servers(ctx, a.rdb, "memory")
	var refusal redis.Error
	if errors.As(err, &refusal) {
		return math.MaxInt64, 0, nil // INFO is not permitted, or Redis is embedded
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory usage of Redis: %w", err)
	}
	limited := false
	for _, s := range servers {
		if err := s.CheckPolicy(); err != nil {
			return 0, 0, err
		}
		limited = limited || s.Memory != nil && s.Memory.Max > 0
	}
	if !limited {
		return math.MaxInt64, 0, nil
	}
	waiting, paused, err := a.backlog.Waiting(ctx)
	if err != nil {
		return 0, 0, err
	}
	weight, err := a.ledger.Weight(ctx)
	if err != nil {
		return 0, 0, err
	}
	reserved := int64(waiting+paused+weight.Begun+n)*int64(weight.Record) + int64(bytes)
	left = math.MaxInt64
	for _, s := range servers {
		m := s.Memory
		if m == nil || m.Max == 0 {
			continue
		}
		left = min(left, int64(AdmitUpTo*float64(m.Max))-m.Used-reserved)
		if left < 0 {
			return left, weight.Record, &FullError{m.Used, reserved, m.Max}
		}
	}
	return left, weight.Record, nil
}

// explain turns an out-of-memory error of Redis into a *FullError. Other errors are
// returned unchanged.
func (a *admission) explain(ctx context.Context, err error) error {
	var full *FullError
	if !rdb.OutOfMemory(err) || errors.As(err, &full) {
		return err
	}
	if now := a.rooms(ctx, 1, 0); errors.As(now, &full) {
		return full
	}
	return &FullError{}
}

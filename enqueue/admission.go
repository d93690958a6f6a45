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
	// AdmitUpTo is the share of Redis' maxmemory up to which new work is
	// taken. A full Redis refuses the workers' writes too, and then nothing
	// would ever end and make room.
	AdmitUpTo = 0.80
	// copies is in how many places the parameters of a single room lie at once: the
	// task on its queue, the record, and the packed record.
	copies = 3
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
	return fmt.Sprintf("Redis is full: %s used and %s reserved for records of queued rooms, of %s; new work is "+
		"accepted up to %.0f %%; %s",
		megabytes(e.Used), megabytes(e.Reserved), megabytes(e.Max), AdmitUpTo*100, fullFix)
}

const fullFix = "retry when records have expired, or raise maxmemory"

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// EvictionError means that a server of Redis throws keys away when it is full, and snapshots that were accepted with
// them. Nothing was enqueued.
type EvictionError = rdb.EvictionError

// admission says whether Redis may take new work.
type admission struct {
	rdb     redis.UniversalClient
	backlog *backlog.Backlog
	ledger  *ledger.Ledger
	last    atomic.Pointer[verdict]
}

// verdict stands for a second, or for as many bytes as there was room for.
type verdict struct {
	at   time.Time
	err  error
	left atomic.Int64
	each int // bytes of a record
}

// room admits one room with parameters of so many bytes. The answer may be a
// second old.
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

// rooms admits so many rooms of a batch, and more bytes of their list. Errors:
// *FullError, *EvictionError, or Redis'. A Redis that does not tell its memory,
// or has no limit, takes everything.
func (a *admission) rooms(ctx context.Context, n, bytes int) error {
	_, _, err := a.headroom(ctx, n, bytes)
	return err
}

// headroom returns how many bytes may be taken beside n more rooms and their
// parameters, and what a record takes.
func (a *admission) headroom(ctx context.Context, n, bytes int) (left int64, record int, err error) {
	servers, err := rdb.Servers(ctx, a.rdb, "memory")
	var refusal redis.Error
	if errors.As(err, &refusal) {
		return math.MaxInt64, 0, nil // forbidden, or embedded
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

// explain makes a *FullError of an error by which Redis itself has refused a
// write for lack of memory.
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

// Package lease limits a job to a few of many processes, such as taking tasks from a queue. Redis stores who holds a
// lease and until when; a holder renews its lease, and another process gets it when it expires. This saves round trips.
// Correctness never depends on it: more holders than wanted only cost some work.
package lease

import (
	"context"
	_ "embed"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
)

var (
	//go:embed lease.lua
	leaseSource string
	leaseScript = redis.NewScript(leaseSource)
)

// Lease is the client side of one process for the leases with one name. It is safe for concurrent use.
type Lease struct {
	Redis     redis.UniversalClient
	Namespace keys.Namespace
	Name      string        // of the job, as part of the Redis keys
	Owner     string        // unique name of this process
	Duration  time.Duration // until a lease expires; it is renewed after half of it

	mu      sync.Mutex
	renewAt time.Time // zero: this process holds no lease
}

// Acquire acquires or renews one of n leases and reports whether this process holds one. If not, retryIn, at most 10 s,
// is when to try again. Errors are those of Redis.
func (l *Lease) Acquire(ctx context.Context, n int) (held bool, retryIn time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	began := time.Now()
	if began.Before(l.renewAt) {
		return true, 0, nil
	}
	ms, err := leaseScript.Run(ctx, l.Redis, []string{l.Namespace.Lease(l.Name), l.Namespace.LeaseTurn(l.Name)},
		l.Owner, n, l.Duration.Milliseconds()).Int64()
	if err != nil {
		return false, 0, fmt.Errorf("acquire the lease %s: %w", l.Name, err)
	}
	if ms < 0 {
		l.renewAt = began.Add(l.Duration / 2)
		return true, 0, nil
	}
	return false, time.Duration(ms) * time.Millisecond, nil
}

// Release releases the lease, if this process holds one. Errors are those of Redis.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewAt = time.Time{}
	if err := l.Redis.ZRem(ctx, l.Namespace.Lease(l.Name), l.Owner).Err(); err != nil {
		return fmt.Errorf("release the lease %s: %w", l.Name, err)
	}
	return nil
}

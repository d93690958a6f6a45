// Package lease lets a few of many processes do what few can do for all. That
// saves work and round trips; nothing depends on it.
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

// Lease is one process' side of a share in something. It is safe for concurrent use.
type Lease struct {
	Redis     redis.UniversalClient
	Namespace keys.Namespace
	What      string        // is shared
	Owner     string        // name of the process
	For       time.Duration // how long a lease lasts; it is renewed after half of that

	mu    sync.Mutex
	fresh time.Time // until when it need not be renewed
}

// Take reports whether this process is one of n who hold a lease, and if not, how
// long it is until its turn to ask again: 10 s at most. Errors: Redis'.
func (l *Lease) Take(ctx context.Context, n int) (held bool, turn time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	began := time.Now()
	if began.Before(l.fresh) {
		return true, 0, nil
	}
	ms, err := leaseScript.Run(ctx, l.Redis, []string{l.Namespace.Lease(l.What), l.Namespace.LeaseTurn(l.What)},
		l.Owner, n, l.For.Milliseconds()).Int64()
	if err != nil {
		return false, 0, fmt.Errorf("take a lease on %s: %w", l.What, err)
	}
	if ms < 0 {
		l.fresh = began.Add(l.For / 2)
		return true, 0, nil
	}
	return false, time.Duration(ms) * time.Millisecond, nil
}

// Leave gives the lease back, if there is one. Errors: Redis'.
func (l *Lease) Leave(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fresh = time.Time{}
	if err := l.Redis.ZRem(ctx, l.Namespace.Lease(l.What), l.Owner).Err(); err != nil {
		return fmt.Errorf("give back the lease on %s: %w", l.What, err)
	}
	return nil
}

// Package backlog stores the rooms of batches in compressed chunks that never change,
// and how far each open batch has been fed to the queue. The feeder takes rooms from
// all open batches in turn, so a small batch never waits behind a large one. It also
// searches the rooms that wait.
package backlog

import (
	"context"

	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"

	_ "embed"
)

var (
	//go:embed pause.lua
	pauseSource string
	pauseScript = redis.NewScript(pauseSource)
)

// ErrNotFound means that there is no such batch, or that it has expired.
var ErrNotFound = errors.New("no such batch")

// Backlog reads and feeds the batches of one namespace. It is safe for concurrent use.
type Backlog struct {
	rdb   redis.UniversalClient
	ns    keys.Namespace
	cache chunkCache

	mu   sync.Mutex // held during Take
	next []string   // the batches that come next, as of the last Take
}

// New returns the backlog of a namespace in rdb.
func New(rdb redis.UniversalClient, ns keys.Namespace) *Backlog {
	return &Backlog{rdb: rdb, ns: ns, cache: chunkCache{max: maxCache}}
}

// Pause stops feeding a batch. Rooms that were fed are still sent. Errors:
// ErrNotFound, or Redis'.
func (b *Backlog) Pause(ctx context.Context, batch string) error {
	return b.setPaused(ctx, batch, true)
}

// Resume feeds a paused batch again. Errors: ErrNotFound, or Redis'.
func (b *Backlog) Resume(ctx context.Context, batch string) error {
	return b.setPaused(ctx, batch, false)
}

func (b *Backlog) setPaused(ctx context.Context, batch string, paused bool) error {
	found, err := pauseScript.Run(ctx, b.rdb,
		[]string{b.ns.Batch(batch), b.ns.Ring(), b.ns.Refeed(batch), b.ns.Totals()}, batch, paused).Bool()
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("batch %s: %w", batch, err)
	}
	return nil
}

// Waiting returns the number of rooms that wait to be fed: in running batches, and in
// paused ones. Its cost does not depend on the number of batches.
func (b *Backlog) Waiting(ctx context.Context) (inTurn, paused int, err error) {
	counts, err := b.rdb.HMGet(ctx, b.ns.Totals(), "waiting", "waiting_paused").Result()
	if err != nil {
		return 0, 0, fmt.Errorf("count the waiting rooms: %w", err)
	}
	n := func(i int) int {
		text, _ := counts[i].(string)
		n, _ := strconv.Atoi(text) // a missing counter is 0; only our scripts write them
		return max(n, 0)
	}
	return n(0), n(1), nil
}

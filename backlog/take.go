package backlog

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed take.lua
	takeSource string
	takeScript = redis.NewScript(takeSource)
	//go:embed leave.lua
	leaveSource string
	leaveScript = redis.NewScript(leaveSource)
)

// staleAfter is how long a snapshot may be in flight, taken and not begun, before it
// is taken again. The queue behind the feeder holds a few seconds of work, so after
// that its task is lost.
const staleAfter = time.Minute

// After lateAfter in flight a snapshot does not count towards the depth: its worker is
// lost or hangs, and the others are not to wait until asynq gives it to them. In total
// at most lateBound depths are in flight.
const (
	lateAfter = 10 * time.Second
	lateBound = 5
)

const (
	takeBatches = 32 // batches named in one call of the script
	takeCalls   = 16 // calls of the script in one Take, at most
)

// feederLease is how long a feeder keeps its role without calling Take. After its loss
// the queue must last that long.
const feederLease = 700 * time.Millisecond

// Take takes snapshots from the open batches, one from each in turn, until depth of
// them are in flight: taken within the last ten seconds and not begun by a worker. It
// returns snapshots that have been in flight for over a minute again; enqueueing them
// twice is harmless because the id of the asynq task is the snapshot id.
//
// Only one owner at a time gets any. The others get none until it has not called for
// 700 ms. This saves work; correctness does not depend on it. While sending is stopped,
// Take returns only the rooms that the gate wants as trials.
//
// wait is the time until this owner is to call again: 0 if it is the feeder, else up to
// ten seconds, the longer the more owners call. It is negative if no batch has rooms
// left: then the caller waits for an element of the ring, for a minute at most.
func (b *Backlog) Take(ctx context.Context, owner string, depth int) (ids []string, wait time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range takeCalls {
		k := []string{b.ns.Ring(), b.ns.InFlight(), b.ns.Feeder(), b.ns.Breaker(), b.ns.FeederStandby(), b.ns.Totals()}
		args := []any{
			owner, depth, feederLease.Milliseconds(), staleAfter.Milliseconds(), lateAfter.Milliseconds(),
			lateBound * depth, takeBatches,
		}
		for _, batch := range b.next {
			k = append(k, b.ns.Batch(batch), b.ns.Refeed(batch), b.ns.Rows(batch))
			args = append(args, batch)
		}
		reply, err := takeScript.Run(ctx, b.rdb, k, args...).Slice()
		if err != nil {
			return ids, 0, fmt.Errorf("take from the backlog: %w", err)
		}
		b.next = texts(reply[2])
		ids = append(ids, texts(reply[3])...)
		wait = time.Duration(reply[0].(int64)) * time.Millisecond
		if reply[1].(int64) == 0 {
			break
		}
	}
	return ids, wait, nil
}

func texts(list any) []string {
	var all []string
	for _, v := range list.([]any) {
		all = append(all, v.(string))
	}
	return all
}

// Leave gives up the role of the feeder, so that another owner gets it at once.
func (b *Backlog) Leave(ctx context.Context, owner string) error {
	if err := leaveScript.Run(ctx, b.rdb, []string{b.ns.Feeder()}, owner).Err(); err != nil {
		return fmt.Errorf("stop feeding: %w", err)
	}
	return nil
}

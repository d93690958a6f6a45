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

// staleAfter is how long a snapshot may be in transit, taken and not begun,
// before it is handed out again. The queue behind the feeder is a few seconds
// long, so that this much means that the task was lost.
const staleAfter = time.Minute

// What has been in transit for longer than lateAfter does not count as that any
// more: its worker has died or hangs, and the other ones are not to wait until
// asynq gives it to them. At most lateBound depths are in transit in all.
const (
	lateAfter = 10 * time.Second
	lateBound = 5
)

// One call of the script takes from so many batches, and one Take makes so many
// calls at most.
const (
	takeBatches = 32
	takeCalls   = 16
)

// feederLease is how long a feeder stays the feeder without taking. When it
// dies the queue has to last for that much longer.
const feederLease = 700 * time.Millisecond

// Take takes snapshots from the open batches, one from each in turn, until
// depth of them are in transit: taken within the last ten seconds, and not
// begun by any worker yet. Snapshots that have been in transit for over a minute are among those
// returned, again: enqueueing them twice is harmless because the TaskID is the
// snapshot id.
//
// Only one owner at a time is given any; the others get none until it has
// stopped for 700 ms. That saves work, nothing depends on it. While sending is
// stopped nobody is given any, but for those that are wanted to see whether it
// works again (see b.ns.Breaker()).
//
// wait is until it is this owner's turn to ask again: 0 while it is that one,
// negative as long as b.ns.Ring() is empty, but a minute at most. The more owners
// ask, the later it is each one's turn: after ten seconds at the latest.
func (b *Backlog) Take(ctx context.Context, owner string, depth int) (ids []string, wait time.Duration, err error) {
	// What was next at the last call is next now, but for what has changed since.
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

// Leave says that the owner takes no more, so that another one can at once.
func (b *Backlog) Leave(ctx context.Context, owner string) error {
	if err := leaveScript.Run(ctx, b.rdb, []string{b.ns.Feeder()}, owner).Err(); err != nil {
		return fmt.Errorf("stop feeding: %w", err)
	}
	return nil
}

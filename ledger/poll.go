package ledger

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed poll.lua
	pollSource string
	pollScript = redis.NewScript(pollSource)
	//go:embed postpone.lua
	postponeSource string
	postponeScript = redis.NewScript(prelude + postponeSource)
)

const (
	// pollLease is how long a snapshot is leased to its poller.
	pollLease = 30 * time.Second
	// pollHedge is how long after a poll without an answer another owner may repeat
	// it, if quota is free. Most answers come within a tenth of that.
	pollHedge = 2 * time.Second
	// pollHold is how long an owner stays a poller without calling Poll.
	pollHold = time.Second
)

// Polls lists the snapshots to poll with DescribeSnapshotTask.
type Polls struct {
	Due     []Snapshot    // whose time has come, or whose callback
	Early   []Snapshot    // that may be polled where quota is free
	Now     time.Time     // by the clock of Redis
	Next    time.Duration // until there is more, as far as is known now; negative: nothing waits, or others poll it
	Standby time.Duration // until this owner is to call again, if others poll: at most 10 s; 0 if it polls
}

// Poll leases at most n snapshots to an owner, which is to poll them. They have their
// current records, see Records. The lease ends after 30 seconds, or if quota is free
// and no answer has come, after 2 seconds.
//
// Only as many owners as pollers get any. The others get none until one of those has
// not called for a second. This saves work; correctness does not depend on it.
func (l *Ledger) Poll(ctx context.Context, owner string, pollers, n int) (Polls, error) {
	reply, err := pollScript.Run(ctx, l.rdb, []string{l.ns.Confirm(), l.ns.Early(), l.ns.PollerStandby(), l.ns.Pollers()},
		n, pollLease.Milliseconds(), pollHedge.Milliseconds(), owner, pollers, pollHold.Milliseconds()).Slice()
	if err != nil {
		return Polls{}, fmt.Errorf("read %s: %w", l.ns.Confirm(), err)
	}
	ms := func(v any) time.Duration { return time.Duration(v.(int64)) * time.Millisecond }
	p := Polls{Now: time.UnixMilli(reply[0].(int64)).UTC(), Next: ms(reply[1]), Standby: ms(reply[2])}
	due, ids := reply[3].(int64), make([]string, len(reply)-4)
	if len(ids) == 0 {
		return p, nil
	}
	for i, id := range reply[4:] {
		ids[i] = id.(string)
	}
	all, err := l.Records(ctx, ids)
	if err != nil {
		return Polls{}, err
	}
	p.Due, p.Early = all[:due], all[due:]
	return p, nil
}

// Answer is the kind of a poll's answer that has no result.
type Answer string

// The kinds of answers. Refused and Odd are counted while they come in a row.
const (
	NoAnswer Answer = ""        // none, or nothing about the task; a count goes on
	Running  Answer = "running" // the task is in progress
	Refused  Answer = "refused" // Tencent does not know the task
	Odd      Answer = "odd"     // an answer that cannot be interpreted
)

// Postponement postpones the next poll of a snapshot.
type Postponement struct {
	ID     string
	Wait   time.Duration // until it is due
	Early  time.Duration // until it may be polled if quota is free; 0: not before it is due
	Answer Answer        // of the last poll
}

// PostponeAll postpones the next polls of snapshots in one round trip. It returns one
// error for each.
func (l *Ledger) PostponeAll(ctx context.Context, all []Postponement) []error {
	replies := l.runAll(ctx, postponeScript, len(all), func(i int) (string, []any) {
		p := all[i]
		return p.ID, []any{p.Wait.Milliseconds(), p.Early.Milliseconds(), string(p.Answer)}
	})
	errs := make([]error, len(all))
	for i, p := range all {
		if err := replies[i].Err(); err != nil {
			errs[i] = fmt.Errorf("postpone the poll of snapshot %s: %w", p.ID, err)
		}
	}
	return errs
}

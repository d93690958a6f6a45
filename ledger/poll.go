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
	// pollLease is how long a worker has to poll what Poll gave it.
	pollLease = 30 * time.Second
	// pollHedge is after how long without an answer somebody else may poll it,
	// where quota is free: most answers come within a tenth of that.
	pollHedge = 2 * time.Second
	// pollHold is how long an owner who polls may go without a look.
	pollHold = time.Second
)

// Polls is what is to be polled: to be asked about with DescribeSnapshotTask.
type Polls struct {
	Due     []Snapshot    // whose time has come, or whose callback
	Early   []Snapshot    // that may be polled where quota is free
	Now     time.Time     // by the clock of Redis
	Next    time.Duration // until there is more, as far as is known now; negative: nothing waits, or others poll it
	Standby time.Duration // until this owner is to call again, if others poll: at most 10 s; 0 if it polls
}

// Poll hands out at most n snapshots to poll to an owner. They come with their records as
// they are now, see Records. Nobody else gets them for 30 seconds, or after 2 seconds where
// quota is free and no answer has come.
//
// So many owners as pollers are given any; the others get none until one of these
// has not looked for a second. That saves work, nothing depends on it.
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

// Answer is the kind of an answer about a task from which no result follows.
type Answer string

// The kinds of answers. Those that are Refused or Odd are counted as long as
// they come in a row.
const (
	NoAnswer Answer = ""        // or none that says anything about the task: it ends no row
	Running  Answer = "running" // the task is in order
	Refused  Answer = "refused" // Tencent does not know the task
	Odd      Answer = "odd"     // nothing follows from it
)

// Postponement puts off the next poll of a snapshot.
type Postponement struct {
	ID     string
	Wait   time.Duration // until it is due
	Early  time.Duration // until it may be polled where quota is free; 0: not before it is due
	Answer Answer        // that has come
}

// Postpone puts off the next poll of a snapshot.
func (l *Ledger) Postpone(ctx context.Context, p Postponement) error {
	return l.PostponeAll(ctx, []Postponement{p})[0]
}

// PostponeAll is Postpone for many snapshots, in one round trip. The errors are
// those of each.
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

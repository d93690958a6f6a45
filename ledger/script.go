package ledger

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed prelude.lua
	prelude string
	//go:embed due.lua
	dueSource string
	dueScript = redis.NewScript(dueSource)
)

// run runs a script that contains the prelude.
func (l *Ledger) run(
	ctx context.Context, script *redis.Script, id, batch string, moreKeys []string, args ...any,
) *redis.Cmd {
	k, a := l.input(id, batch, moreKeys, args)
	return script.Run(ctx, l.rdb, k, a...)
}

// input returns the KEYS and ARGV of a script that contains the prelude.
func (l *Ledger) input(id, batch string, moreKeys []string, args []any) (k []string, a []any) {
	k = append([]string{
		l.ns.Snapshot(id), l.ns.Batch(batch), l.ns.Rows(batch), l.ns.Failed(batch), l.ns.Refeed(batch),
		l.ns.InFlight(), l.ns.Open(), l.ns.Confirm(), l.ns.Outbox(), l.ns.Totals(),
		l.ns.Ring(), l.ns.Held(batch), l.ns.Notifications(),
		l.ns.Packed(batch), l.ns.Unpacked(), l.ns.Index(today()), l.ns.Indexes(), l.ns.Running(),
	}, moreKeys...)
	a = append([]any{
		id, batch, l.o.Retention.Milliseconds(), l.o.ConfirmAfter.Milliseconds(),
	}, args...)
	return k, a
}

// runAll runs a script for n snapshots in one round trip. Its KEYS[19] and KEYS[20]
// are Early and Expiring, and those of copies.lua follow.
func (l *Ledger) runAll(
	ctx context.Context, script *redis.Script, n int, input func(i int) (id string, args []any),
) []*redis.Cmd {
	run := func(c redis.Scripter, i int) *redis.Cmd {
		id, args := input(i)
		k, a := l.input(id, batchOf(id), append([]string{l.ns.Early(), l.ns.Expiring()}, l.copyKeys(id)...), args)
		return script.Run(ctx, c, k, a...)
	}
	pipe := l.rdb.Pipeline()
	replies := make([]*redis.Cmd, n)
	for i := range replies {
		replies[i] = run(pipe, i)
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	for i, reply := range replies {
		if redis.HasErrorPrefix(reply.Err(), "NOSCRIPT") {
			replies[i] = run(l.rdb, i)
		}
	}
	return replies
}

// due returns at most n members of a sorted set whose time is at least age ago, and
// leases them to the caller.
func (l *Ledger) due(ctx context.Context, key string, age time.Duration, n int, lease time.Duration) ([]string, error) {
	members, err := dueScript.Run(ctx, l.rdb, []string{key}, age.Milliseconds(), n, lease.Milliseconds()).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return members, nil
}

// replyError returns the error of a script's reply, with the formatted context.
func replyError(reply string, err error, format string, args ...any) error {
	if err == nil && reply == "late" {
		err = ErrLate
	}
	if err == nil && reply == "lost" {
		err = ErrLost
	}
	if err != nil {
		return fmt.Errorf(format+": %w", append(args, err)...)
	}
	return nil
}

func unixMilli(s string) time.Time {
	if s == "" { // most fields of most records; an error would cost an allocation
		return time.Time{}
	}
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func atoi(s string) int {
	if s == "" {
		return 0
	}
	n, _ := strconv.Atoi(s) // a missing counter is 0; only our scripts write them
	return n
}

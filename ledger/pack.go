package ledger

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed pack.lua
	packSource string
	packScript = redis.NewScript(prelude + packSource)
	//go:embed unpack.lua
	unpackSource string
	unpackScript = redis.NewScript(prelude + unpackSource)
)

const (
	// packAge is the delay from the end of a snapshot to the packing of its record:
	// most callbacks have come by then.
	packAge = 3 * time.Second
	// packLease is how long a record is leased to the worker that packs it.
	packLease = 10 * time.Second
)

// Pack packs at most n records of snapshots that have ended at least three seconds
// ago, and returns how many it has processed.
func (l *Ledger) Pack(ctx context.Context, n int) (int, error) {
	ids, err := l.due(ctx, l.ns.Unpacked(), packAge, n, packLease)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	pipe := l.rdb.Pipeline()
	records := make([]*redis.MapStringStringCmd, len(ids))
	for i, id := range ids {
		records[i] = pipe.HGetAll(ctx, l.ns.Snapshot(id))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("read ended snapshots: %w", err)
	}
	replies := l.runAll(ctx, packScript, len(ids), func(i int) (string, []any) {
		f := records[i].Val()
		var packed []byte
		if State(f["state"]).Ended() {
			packed = pack(f)
		}
		return ids[i], []any{packed, len(f), f["ended_at"], f["attempt"], f["callbacks"], f["retried_at"]}
	})
	for i, reply := range replies {
		if err := reply.Err(); err != nil {
			return 0, fmt.Errorf("pack snapshot %s: %w", ids[i], err)
		}
	}
	return len(ids), nil
}

// packed returns the packed records of the ids for which wanted is true, in one round
// trip; "" where there is none.
func (l *Ledger) packed(ctx context.Context, ids []string, wanted func(i int) bool) ([]string, error) {
	of := make(map[string][]int) // by batch: indexes in ids
	for i, id := range ids {
		if wanted(i) {
			of[batchOf(id)] = append(of[batchOf(id)], i)
		}
	}
	all := make([]string, len(ids))
	if len(of) == 0 {
		return all, nil
	}
	pipe := l.rdb.Pipeline()
	replies := make(map[string]*redis.SliceCmd)
	for batch, in := range of {
		fields := make([]string, len(in))
		for n, i := range in {
			fields[n] = strings.TrimPrefix(ids[i], batch+".")
		}
		replies[batch] = pipe.HMGet(ctx, l.ns.Packed(batch), fields...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read packed snapshots: %w", err)
	}
	for batch, reply := range replies {
		for n, v := range reply.Val() {
			all[of[batch][n]], _ = v.(string)
		}
	}
	return all, nil
}

// unpackTries is how often a script runs that finds its record packed. Each further
// try means that another process has packed it again.
const unpackTries = 5

// unpacking runs a script. If it returns "packed", unpacking unpacks the record and
// runs it again.
func (l *Ledger) unpacking(ctx context.Context, id string, run func() *redis.Cmd) *redis.Cmd {
	for range unpackTries {
		reply := run()
		if reply.Err() != nil || reply.Val() != "packed" {
			return reply
		}
		if err := l.unpackRecord(ctx, id); err != nil {
			reply.SetErr(err)
			return reply
		}
	}
	reply := redis.NewCmd(ctx)
	reply.SetErr(fmt.Errorf("another process packed the record again, %d times", unpackTries))
	return reply
}

func (l *Ledger) unpackRecord(ctx context.Context, id string) error {
	packed, err := l.packed(ctx, []string{id}, func(int) bool { return true })
	if err != nil || packed[0] == "" {
		return err // expired, or unpacked already
	}
	f, err := unpack(packed[0])
	if err != nil {
		return fmt.Errorf("record of snapshot %s: %w", id, err)
	}
	args := []any{packed[0]}
	for name, value := range f {
		args = append(args, name, value)
	}
	return l.run(ctx, unpackScript, id, batchOf(id), nil, args...).Err()
}

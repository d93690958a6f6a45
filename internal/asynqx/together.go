package asynqx

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// What every asynq server does every few seconds, whether there is work or not, takes it five round trips: three for a
// heartbeat, and two to forward the tasks whose time has come. Here each of the two takes one.

// The sorted sets in which asynq lists its servers and what they run. Its script that writes a server's state has one
// key for each, which begins so.
const allServers, allWorkers = "asynq:servers", "asynq:workers"

// listing is one entry of these sets on its way.
type listing struct {
	key     string
	members []redis.Z
}

// ZAdd keeps the two entries of a heartbeat until its script comes, in the same goroutine.
func (t *taking) ZAdd(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	switch key {
	case allServers:
		t.listed = nil
		fallthrough
	case allWorkers:
		t.listed = append(t.listed, listing{key, members})
		return redis.NewIntResult(0, nil)
	}
	return t.UniversalClient.ZAdd(ctx, key, members...)
}

// together runs a script of asynq with what belongs to it, or returns nil.
func (t *taking) together(ctx context.Context, sha string, keys []string, args []any) *redis.Cmd {
	if len(keys) != 2 {
		return nil
	}
	prefix, pipe := Prefix(t.Queue), t.UniversalClient.Pipeline()
	run := func() *redis.Cmd { return pipe.EvalSha(ctx, sha, keys, args...) }
	switch {
	case strings.HasPrefix(keys[0], allServers+":") && t.listed != nil:
		var listed []*redis.IntCmd
		for _, l := range t.listed {
			listed = append(listed, pipe.ZAdd(ctx, l.key, l.members...))
		}
		t.listed = nil
		cmd := run()
		_, _ = pipe.Exec(ctx) // the commands have their errors
		for _, l := range listed {
			if l.Err() != nil {
				cmd.SetErr(l.Err())
			}
		}
		return cmd
	case keys[1] == prefix+"pending" && keys[0] == prefix+"scheduled":
		cmd := run()
		keys = []string{prefix + "retry", keys[1]}
		t.forwarded = run()
		_, _ = pipe.Exec(ctx)
		return cmd
	case keys[1] == prefix+"pending" && keys[0] == prefix+"retry" && t.forwarded != nil:
		cmd := t.forwarded
		t.forwarded = nil
		return cmd
	}
	return nil
}

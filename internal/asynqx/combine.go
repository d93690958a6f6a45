package asynqx

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// An idle asynq server makes five round trips every few seconds: three for a heartbeat, and two to forward due tasks
// (scheduled, retry). This file combines each group into one pipeline. It also skips most unchanged heartbeats,
// and one server forwards the tasks of several queues.

const (
	// beatEvery is the interval of unchanged heartbeats, and beatTTL how long a heartbeat lists its server. asynq itself
	// uses 5 s and 10 s.
	beatEvery, beatTTL = 18 * time.Second, 30 * time.Second
)

// asynq's sorted sets of servers and of their running tasks. The two keys of its script that writes the state of a
// server begin with these names.
const allServers, allWorkers = "asynq:servers", "asynq:workers"

// listing is a ZADD to one of these sets that is delayed until the script of the heartbeat.
type listing struct {
	key     string
	members []redis.Z
}

// ZAdd keeps the two ZADDs of a heartbeat until its script follows in the same goroutine.
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

// combine runs a script of a heartbeat or of forwarding in a pipeline with its group. For any other script it returns
// nil.
func (t *taking) combine(ctx context.Context, sha string, keys []string, args []any) *redis.Cmd {
	if len(keys) != 2 {
		return nil
	}
	prefix, pipe := Prefix(t.Queue), t.UniversalClient.Pipeline()
	switch {
	case strings.HasPrefix(keys[0], allServers+":") && t.listed != nil:
		entries := t.listed
		t.listed = nil
		if slices.EqualFunc(args[1:], t.beat, reflect.DeepEqual) && time.Since(t.beatAt) < beatEvery {
			return redis.NewCmdResult("OK", nil)
		}
		var added []*redis.IntCmd
		until := float64(time.Now().Add(beatTTL).Unix())
		for _, l := range entries {
			for i := range l.members {
				l.members[i].Score = until
			}
			added = append(added, pipe.ZAdd(ctx, l.key, l.members...))
		}
		state := slices.Clone(args)
		state[0] = int(beatTTL.Seconds())
		cmd := pipe.EvalSha(ctx, sha, keys, state...)
		_, _ = pipe.Exec(ctx) // each command has its own error
		for _, l := range added {
			if l.Err() != nil {
				cmd.SetErr(l.Err())
			}
		}
		t.beat, t.beatAt = nil, time.Now()
		if cmd.Err() == nil {
			t.beat = state[1:]
		}
		return cmd
	case keys[1] == prefix+"pending" && keys[0] == prefix+"scheduled":
		forward := func(queue, from string) *redis.Cmd {
			args := slices.Clone(args) // time in s, prefix of tasks, time in ns, prefix of groups
			args[1], args[3] = TaskPrefix(queue), Prefix(queue)+"g:"
			return pipe.EvalSha(ctx, sha, []string{Prefix(queue) + from, Pending(queue)}, args...)
		}
		cmd := forward(t.Queue, "scheduled")
		t.forwarded = forward(t.Queue, "retry")
		for _, queue := range t.Forwards {
			forward(queue, "scheduled")
			forward(queue, "retry")
		}
		_, _ = pipe.Exec(ctx)
		return cmd
	case keys[1] == prefix+"pending" && keys[0] == prefix+"retry" && t.forwarded != nil:
		cmd := t.forwarded
		t.forwarded = nil
		return cmd
	}
	return nil
}

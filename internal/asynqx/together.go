package asynqx

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// What every asynq server does every few seconds, whether there is work or not, takes it five round trips: three for a
// heartbeat, and two to forward the tasks whose time has come. Here each of the two takes one, a heartbeat that tells
// nothing new is left out most times, and one server forwards for several queues.

const (
	// sameFor is how long a heartbeat is left out that is like the one before, and beatFor how long a server is listed
	// after a heartbeat. asynq itself writes every 5 s and lists for 10.
	sameFor, beatFor = 18 * time.Second, 30 * time.Second
)

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
	switch {
	case strings.HasPrefix(keys[0], allServers+":") && t.listed != nil:
		entries := t.listed
		t.listed = nil
		if slices.EqualFunc(args[1:], t.beat, reflect.DeepEqual) && time.Since(t.beatAt) < sameFor {
			return redis.NewCmdResult("OK", nil)
		}
		var listed []*redis.IntCmd
		until := float64(time.Now().Add(beatFor).Unix())
		for _, l := range entries {
			for i := range l.members {
				l.members[i].Score = until
			}
			listed = append(listed, pipe.ZAdd(ctx, l.key, l.members...))
		}
		state := slices.Clone(args)
		state[0] = int(beatFor.Seconds())
		cmd := pipe.EvalSha(ctx, sha, keys, state...)
		_, _ = pipe.Exec(ctx) // the commands have their errors
		for _, l := range listed {
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
		run := func(queue, from string) *redis.Cmd {
			args := slices.Clone(args) // the time, the prefix of tasks, the time in ns, the prefix of groups
			args[1], args[3] = TaskPrefix(queue), Prefix(queue)+"g:"
			return pipe.EvalSha(ctx, sha, []string{Prefix(queue) + from, Pending(queue)}, args...)
		}
		cmd := run(t.Queue, "scheduled")
		t.forwarded = run(t.Queue, "retry")
		for _, queue := range t.Forwards {
			run(queue, "scheduled")
			run(queue, "retry")
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

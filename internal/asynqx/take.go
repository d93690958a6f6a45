package asynqx

import (
	"context"
	_ "embed"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"tiwsnap/internal/rdb"
)

const (
	// LeaseFor is asynq's LeaseDuration.
	LeaseFor = 30 * time.Second
	// freshFor is how long a server may wait for a task before asynq has to ask again: asynq computes the lease of a
	// task before it asks, and takes it for lost when it has run out.
	freshFor = 8 * time.Second
	// beatenMost bounds how long a server waits that has found its queue empty again and again when it was woken:
	// others are faster, and the more there are the longer.
	beatenLeast, beatenMost = 50 * time.Millisecond, 3 * time.Second
	// refusedFor is how long a server takes nothing after Redis has refused to give it a task: asynq would ask again
	// at once.
	refusedFor = 500 * time.Millisecond
	// foreignFor is how long a task of somebody else's is out of the way.
	foreignFor = time.Minute
)

// Taker is how one asynq server takes the tasks of one queue.
type Taker struct {
	Queue string
	// Wanted waits until there is a use for another task, or its context ends. Default: there always is.
	Wanted func(context.Context)
	// Types are the types of task that are taken. Tasks of others stay on the queue, for whoever has put them there.
	Types []string
	// Forwards are other queues of which this server forwards the tasks whose time has come, together with its own.
	Forwards []string
	// Foreign is told of each task of another type that is met. Default: nobody is.
	Foreign func(kind, id string)
}

// Redis is the Redis to give to that asynq server; it takes tasks until ctx ends, which must be before the server is
// shut down. Running tasks are canceled on request by Cancels alone. asynq has no blocking pop: where it
// finds its queue empty it sleeps and looks again. Here that look lasts until there is something. So an idle worker
// takes a task in about a millisecond, whoever has put it there (any asynq client, a retry, asynq's own recovery), and
// asks every nine seconds instead of twenty times a second. The signal is the list itself and no message beside it, so
// none can be lost.
func (t Taker) Redis(ctx context.Context, c redis.UniversalClient) redis.UniversalClient {
	return &taking{UniversalClient: c, Taker: t, ctx: ctx, inspector: asynq.NewInspectorFromRedisClient(c)}
}

type taking struct {
	redis.UniversalClient
	Taker
	ctx       context.Context
	inspector *asynq.Inspector
	empty     bool       // as the queue was seen last
	beaten    int        // times in a row that it was empty on waking
	forwarded *redis.Cmd // of the retries, with the scheduled tasks before them
	listed    []listing  // of the heartbeat at hand
	beat      []any      // what the last heartbeat told
	beatAt    time.Time
}

// EvalSha knows asynq's scripts by their keys.
func (t *taking) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	prefix := Prefix(t.Queue)
	if slices.Equal(keys, []string{prefix + "pending", prefix + "paused", prefix + "active", prefix + "lease"}) {
		cmd := t.dequeue(func() *redis.Cmd {
			args := slices.Clone(args)
			args[0] = time.Now().Add(LeaseFor).Unix()
			return t.UniversalClient.EvalSha(ctx, sha, keys, args...)
		})
		if cmd != nil {
			return cmd
		}
		cmd = redis.NewCmd(ctx)
		cmd.SetErr(redis.Nil) // asynq sleeps then
		return cmd
	}
	if cmd := t.together(ctx, sha, keys, args); cmd != nil {
		return cmd
	}
	cmd := t.UniversalClient.EvalSha(ctx, sha, keys, args...)
	t.handBack(cmd, keys, args)
	return cmd
}

// Eval is what asynq runs where Redis does not know a script yet.
func (t *taking) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	cmd := t.UniversalClient.Eval(ctx, script, keys, args...)
	if len(keys) > 1 && keys[1] == Prefix(t.Queue)+"paused" && t.leave(cmd) {
		cmd = redis.NewCmd(ctx)
		cmd.SetErr(redis.Nil)
		return cmd
	}
	t.handBack(cmd, keys, args)
	return cmd
}

// dequeue runs asynq's script when there is a task, or returns nil.
func (t *taking) dequeue(run func() *redis.Cmd) *redis.Cmd {
	began := time.Now()
	if t.Wanted != nil {
		t.Wanted(t.ctx)
	}
	for woken := false; t.ctx.Err() == nil && time.Since(began) < freshFor; {
		if !t.empty {
			cmd := run()
			err := cmd.Err()
			t.empty = errors.Is(err, redis.Nil)
			if err != nil && !t.empty && !redis.HasErrorPrefix(err, "NOSCRIPT") {
				pause(t.ctx, refusedFor)
			}
			switch {
			case !t.empty && t.leave(cmd):
				continue
			case !t.empty:
				t.beaten = 0
				return cmd
			case woken:
				// Woken for nothing: others were faster, or the queue is paused.
				pause(t.ctx, rand.N(min(beatenLeast<<t.beaten, beatenMost)))
				t.beaten = min(t.beaten+1, 10)
				return cmd
			}
		}
		var err error
		if woken, err = rdb.AwaitElement(t.ctx, t.UniversalClient, Pending(t.Queue)); err != nil {
			t.empty = false
			return nil
		}
		t.empty = !woken
	}
	return nil
}

var (
	//go:embed leave.lua
	leaveSource string
	leaveScript = redis.NewScript(leaveSource)
)

// leave reports whether a task that was taken is of another type, and then puts it out of the way. It goes through
// asynq's retries, untouched: asynq itself would archive it at once where it may not be retried.
func (t *taking) leave(taken *redis.Cmd) bool {
	message, err := taken.Text()
	if err != nil {
		return false
	}
	kind, id := taskOf([]byte(message))
	if id == "" || slices.Contains(t.Types, kind) {
		return false
	}
	prefix := Prefix(t.Queue)
	keys := []string{prefix + "active", prefix + "lease", prefix + "retry", TaskPrefix(t.Queue) + id}
	ctx := context.WithoutCancel(t.ctx)
	if err := leaveScript.Run(ctx, t.UniversalClient, keys, id, time.Now().Add(foreignFor).Unix()).Err(); err != nil {
		return false // asynq gives it to the handler
	}
	if t.Foreign != nil {
		t.Foreign(kind, id)
	}
	return true
}

// taskOf reads the type and the id from asynq's message (TaskMessage in its asynq.proto: fields 1 and 3). They are
// empty where it is not one.
func taskOf(message []byte) (kind, id string) {
	for len(message) > 0 {
		number, wire, n := protowire.ConsumeTag(message)
		if n < 0 {
			return "", ""
		}
		message = message[n:]
		if wire == protowire.BytesType && (number == 1 || number == 3) {
			value, n := protowire.ConsumeString(message)
			if n < 0 {
				return "", ""
			}
			if message = message[n:]; number == 1 {
				kind = value
			} else {
				id = value
			}
			continue
		}
		if n = protowire.ConsumeFieldValue(number, wire, message); n < 0 {
			return "", ""
		}
		message = message[n:]
	}
	return kind, id
}

// handBack makes asynq run a task again at once that a server which stops has not begun. asynq itself has just put it
// among those to be retried, where it would lie until another server looks, up to a second later.
func (t *taking) handBack(script *redis.Cmd, keys []string, args []any) {
	if t.ctx.Err() == nil || script.Err() != nil || len(keys) < 4 || keys[3] != Prefix(t.Queue)+"retry" {
		return
	}
	id, _ := args[0].(string)
	if at, ok := args[2].(int64); ok && at <= time.Now().Unix() {
		_ = t.inspector.RunTask(t.Queue, id) // where it fails, asynq does it after all
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

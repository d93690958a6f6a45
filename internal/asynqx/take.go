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
	// dequeueFor bounds one dequeue that waits for a task. asynq computes the lease of the task before the call, and
	// treats the task as lost when that lease has expired.
	dequeueFor = 8 * time.Second
	// backoffMin and backoffMax bound the pause of a server that was woken but found its queue empty, because other
	// servers were faster. The pause doubles each time.
	backoffMin, backoffMax = 50 * time.Millisecond, 3 * time.Second
	// errorPause is the pause after an error of Redis on a dequeue: asynq retries at once.
	errorPause = 500 * time.Millisecond
	// foreignDelay is how long a task of a foreign type is postponed.
	foreignDelay = time.Minute
)

// Taker configures how one asynq server takes the tasks of one queue.
type Taker struct {
	Queue string
	// Wanted blocks until the server can use another task or ctx ends. Default: no wait.
	Wanted func(context.Context)
	// Types are the handled task types. Tasks of other types stay in the queue for other servers.
	Types []string
	// Forwards are other queues whose due tasks (scheduled, retry) this server forwards together with its own.
	Forwards []string
	// Foreign is called for each task of another type. Default: no call.
	Foreign func(kind, id string)
}

// Redis returns the client for that asynq server. The server takes tasks until ctx ends, which must be before its
// shutdown. Only Cancels cancels running tasks on request.
//
// asynq has no blocking pop: it polls an empty queue. Here a dequeue blocks until the queue has a task. An idle worker
// gets a task in about a millisecond, whether a client, a retry or asynq's recovery enqueued it. It makes one call
// every nine seconds instead of twenty a second. It waits for the list itself, so no signal can be lost.
func (t Taker) Redis(ctx context.Context, c redis.UniversalClient) redis.UniversalClient {
	return &taking{UniversalClient: c, Taker: t, ctx: ctx, inspector: asynq.NewInspectorFromRedisClient(c)}
}

type taking struct {
	redis.UniversalClient
	Taker
	ctx       context.Context
	inspector *asynq.Inspector
	empty     bool       // the last dequeue or wait found no task
	lost      int        // times in a row that another server took the task first
	forwarded *redis.Cmd // result for the retries, which were forwarded together with the scheduled tasks
	listed    []listing  // ZADDs of the current heartbeat
	beat      []any      // arguments of the last heartbeat
	beatAt    time.Time
}

// EvalSha recognizes asynq's scripts by their keys and replaces dequeue, heartbeat and forward.
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
		cmd.SetErr(redis.Nil) // asynq sleeps, then dequeues again
		return cmd
	}
	if cmd := t.combine(ctx, sha, keys, args); cmd != nil {
		return cmd
	}
	cmd := t.UniversalClient.EvalSha(ctx, sha, keys, args...)
	t.requeue(cmd, keys, args)
	return cmd
}

// Eval runs a script of asynq that Redis has not cached yet.
func (t *taking) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	cmd := t.UniversalClient.Eval(ctx, script, keys, args...)
	if len(keys) > 1 && keys[1] == Prefix(t.Queue)+"paused" && t.postponeForeign(cmd) {
		cmd = redis.NewCmd(ctx)
		cmd.SetErr(redis.Nil)
		return cmd
	}
	t.requeue(cmd, keys, args)
	return cmd
}

// dequeue waits for a task and runs asynq's dequeue script. It returns nil if there was none in time.
func (t *taking) dequeue(run func() *redis.Cmd) *redis.Cmd {
	began := time.Now()
	if t.Wanted != nil {
		t.Wanted(t.ctx)
	}
	for woken := false; t.ctx.Err() == nil && time.Since(began) < dequeueFor; {
		if !t.empty {
			cmd := run()
			err := cmd.Err()
			t.empty = errors.Is(err, redis.Nil)
			if err != nil && !t.empty && !redis.HasErrorPrefix(err, "NOSCRIPT") {
				pause(t.ctx, errorPause)
			}
			switch {
			case !t.empty && t.postponeForeign(cmd):
				continue
			case !t.empty:
				t.lost = 0
				return cmd
			case woken:
				// Another server was faster, or the queue is paused.
				pause(t.ctx, rand.N(min(backoffMin<<t.lost, backoffMax)))
				t.lost = min(t.lost+1, 10)
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

// postponeForeign reports whether a taken task has a foreign type, and moves such a task to asynq's retries. The script
// leaves its message unchanged, while asynq would archive a task without retries.
func (t *taking) postponeForeign(taken *redis.Cmd) bool {
	message, err := taken.Text()
	if err != nil {
		return false
	}
	kind, id := parseTask([]byte(message))
	if id == "" || slices.Contains(t.Types, kind) {
		return false
	}
	prefix := Prefix(t.Queue)
	keys := []string{prefix + "active", prefix + "lease", prefix + "retry", TaskPrefix(t.Queue) + id}
	ctx := context.WithoutCancel(t.ctx)
	if err := leaveScript.Run(ctx, t.UniversalClient, keys, id, time.Now().Add(foreignDelay).Unix()).Err(); err != nil {
		return false // asynq passes it to the handler
	}
	if t.Foreign != nil {
		t.Foreign(kind, id)
	}
	return true
}

// parseTask returns the type and the id from asynq's message (TaskMessage in its asynq.proto: fields 1 and 3). They are
// empty if the message is invalid.
func parseTask(message []byte) (kind, id string) {
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

// requeue makes a task pending again that a stopping server took but did not start. asynq's script has just moved it to
// the retries, where it would wait up to a second until a server forwards it.
func (t *taking) requeue(script *redis.Cmd, keys []string, args []any) {
	if t.ctx.Err() == nil || script.Err() != nil || len(keys) < 4 || keys[3] != Prefix(t.Queue)+"retry" {
		return
	}
	id, _ := args[0].(string)
	if at, ok := args[2].(int64); ok && at <= time.Now().Unix() {
		_ = t.inspector.RunTask(t.Queue, id) // on an error asynq forwards it later
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

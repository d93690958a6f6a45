package ledger

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/rdb"
	"tiwsnap/tasks"
)

var (
	//go:embed begin.lua
	beginSource string
	beginScript = redis.NewScript(prelude + beginSource)
)

// Verdict is the answer of Begin: whether a request may be sent.
type Verdict string

// The verdicts of Begin.
const (
	Send    Verdict = "send"    // the intent is written: send
	Wait    Verdict = "wait"    // a request is in progress, or its callback may come: call again after Wait
	Stopped Verdict = "stopped" // the pass is not valid: get another one
	Alone   Verdict = "alone"   // the intent is written but not replicated: do not send
	Done    Verdict = "done"    // accepted, ended, held or waiting for its SdkAppId: nothing to send
)

// Intent is the answer of Begin.
type Intent struct {
	Verdict  Verdict
	Attempt  int           // Send, Alone: number of this attempt, from 1; it fences the outcome
	Failures int           // Send, Alone: attempts before this one that counted against the limit
	Wait     time.Duration // Wait
}

// Begin writes the intent to send one request for the snapshot, or says why none may
// be sent. The token is an idempotency key: calling again with it, because a reply
// was lost, begins no other attempt. The pass is that of the gate's permit, and is
// checked by the script that writes the intent. A snapshot whose SdkAppId is
// suspended is added to those that wait for it.
func (l *Ledger) Begin(ctx context.Context, p tasks.SnapshotPayload, token, pass string) (Intent, error) {
	room, err := json.Marshal(p.Room)
	if err != nil {
		return Intent{}, fmt.Errorf("encode room: %w", err)
	}
	args := append([]any{
		room, token, l.o.Busy.Milliseconds(), l.o.Grace.Milliseconds(), l.o.Hold, pass, l.o.Attempts,
		l.o.Relay && p.Room.CallbackURL != "", p.Room.SdkAppId, p.List,
	}, indexArgs(p.ID, p.Room.Words()...)...)
	k, a := l.input(p.ID, p.Batch,
		[]string{l.ns.Breaker(), l.ns.Suspension(p.Room.SdkAppId), l.ns.SuspendedRooms(p.Room.SdkAppId)}, args)
	replicated := true
	var reply []any
	if l.o.Replicas == nil || pass == noPass {
		reply, err = beginScript.Run(ctx, l.rdb, k, a...).Slice()
	} else {
		reply, replicated, err = l.beginReplicated(ctx, k, a)
	}
	if err != nil {
		return Intent{}, fmt.Errorf("begin snapshot %s: %w", p.ID, err)
	}
	in := Intent{Verdict: Verdict(reply[0].(string))}
	switch in.Verdict {
	case Send:
		in.Attempt, in.Failures = int(reply[1].(int64)), int(reply[2].(int64))
		if !replicated {
			in.Verdict = Alone
		}
	case Wait:
		in.Wait = time.Duration(reply[1].(int64)) * time.Millisecond
	}
	return in, nil
}

// noPass is the pass of a caller without a permit. Nothing is sent under it.
const noPass = "-"

// replicaTimeout is how long the replicas have to confirm an intent. It is short
// because the permit expires meanwhile.
const replicaTimeout = 500 * time.Millisecond

// beginReplicated runs the script of Begin and WAIT on the same connection. WAIT
// covers the last write of a connection, so the script writes the intent again if it
// exists already.
func (l *Ledger) beginReplicated(ctx context.Context, k []string, a []any) (reply []any, replicated bool, err error) {
	node, err := rdb.Master(ctx, l.rdb, k[0])
	if err != nil {
		return nil, false, err
	}
	needed := l.o.Replicas()
	for _, run := range []func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd{
		beginScript.EvalSha, beginScript.Eval,
	} {
		pipe := node.Pipeline()
		begun := run(ctx, pipe, k, a...)
		acked := pipe.Do(ctx, "wait", needed, replicaTimeout.Milliseconds())
		_, err = pipe.Exec(ctx)
		if redis.HasErrorPrefix(begun.Err(), "NOSCRIPT") {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		reply, err = begun.Slice()
		n, _ := acked.Int()
		return reply, n >= needed, err
	}
	return nil, false, err
}

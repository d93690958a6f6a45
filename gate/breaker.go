package gate

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/keys"
	"tiwsnap/tasks"
)

var (
	//go:embed prelude.lua
	prelude string
	//go:embed enter.lua
	enterSource string
	//go:embed report.lua
	reportSource string
	//go:embed switch.lua
	switchSource string
	//go:embed due_app.lua
	dueAppSource string
	//go:embed app_trial.lua
	appTrialSource string
	//go:embed release.lua
	releaseSource string

	enterScript    = redis.NewScript(prelude + enterSource)
	reportScript   = redis.NewScript(prelude + reportSource)
	switchScript   = redis.NewScript(prelude + switchSource)
	dueAppScript   = redis.NewScript(prelude + dueAppSource)
	appTrialScript = redis.NewScript(prelude + appTrialSource)
	releaseScript  = redis.NewScript(prelude + releaseSource)
)

// Breaker is the state that all processes share. It reads that state, and stops and
// starts sending for a person. It is safe for concurrent use.
type Breaker struct {
	rdb    redis.UniversalClient
	ns     keys.Namespace
	second time.Duration
}

// NewBreaker returns the breaker of a namespace in rdb.
func NewBreaker(rdb redis.UniversalClient, ns keys.Namespace) *Breaker {
	return &Breaker{rdb, ns, time.Second}
}

func (b *Breaker) run(ctx context.Context, script *redis.Script, moreKeys []string, args ...any) *redis.Cmd {
	return b.runOn(ctx, b.rdb, script, moreKeys, args...)
}

// runOn is run on a client or a pipeline.
func (b *Breaker) runOn(
	ctx context.Context, c redis.Scripter, script *redis.Script, moreKeys []string, args ...any,
) *redis.Cmd {
	k := append([]string{b.ns.Breaker(), b.ns.Gate()}, moreKeys...)
	return script.Run(ctx, c, k, append([]any{b.second.Milliseconds()}, args...)...)
}

// Stops returns everything that stops requests, in this order: what stops all of
// them, the suspended applications by SdkAppId, replicas that do not confirm, and
// paused queues. It is empty in normal operation.
func (b *Breaker) Stops(ctx context.Context) ([]Stop, error) {
	f, err := b.rdb.HGetAll(ctx, b.ns.Breaker()).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", b.ns.Breaker(), err)
	}
	all, err := b.suspensions(ctx)
	if err != nil {
		return nil, err
	}
	if s := parseStop(f); s.Cause != "" {
		all = append([]Stop{s}, all...)
	}
	since, err := b.rdb.Get(ctx, b.ns.Unreplicated()).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read %s: %w", b.ns.Unreplicated(), err)
	}
	if err == nil {
		s := Stop{Cause: NoReplica, Phase: "open", Since: unixMilli(since)}
		s.fillTexts()
		all = append(all, s)
	}
	paused, err := asynqx.Paused(ctx, b.rdb, b.ns.Queues()...)
	for _, p := range paused {
		s := Stop{Cause: PausedQueue, Phase: "open", Since: p.Since, Queue: p.Queue}
		s.fillTexts()
		all = append(all, s)
	}
	return all, err
}

// unreplicatedFor is how long unconfirmed writes are shown: longer than the time
// until a room is retried.
const unreplicatedFor = 15 * time.Second

// NotReplicated records, for 15 seconds, that the replicas of Redis have not
// confirmed an intent.
func (b *Breaker) NotReplicated(ctx context.Context) error {
	pipe := b.rdb.Pipeline()
	pipe.SetNX(ctx, b.ns.Unreplicated(), time.Now().UnixMilli(), unreplicatedFor)
	pipe.PExpire(ctx, b.ns.Unreplicated(), unreplicatedFor)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("write %s: %w", b.ns.Unreplicated(), err)
	}
	return nil
}

// Replicated records that the replicas confirm again.
func (b *Breaker) Replicated(ctx context.Context) error {
	if err := b.rdb.Del(ctx, b.ns.Unreplicated()).Err(); err != nil {
		return fmt.Errorf("delete %s: %w", b.ns.Unreplicated(), err)
	}
	return nil
}

// suspensions returns the suspended applications by SdkAppId.
func (b *Breaker) suspensions(ctx context.Context) ([]Stop, error) {
	due, err := b.rdb.ZRangeWithScores(ctx, b.ns.Suspended(), 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", b.ns.Suspended(), err)
	}
	pipe := b.rdb.Pipeline()
	hashes, lengths := make([]*redis.MapStringStringCmd, len(due)), make([]*redis.IntCmd, len(due))
	apps := make([]uint64, len(due))
	for i, z := range due {
		if apps[i], err = strconv.ParseUint(z.Member.(string), 10, 64); err != nil {
			return nil, fmt.Errorf("%s: %w", b.ns.Suspended(), err)
		}
		hashes[i] = pipe.HGetAll(ctx, b.ns.Suspension(apps[i]))
		lengths[i] = pipe.LLen(ctx, b.ns.SuspendedRooms(apps[i]))
	}
	if _, err := pipe.Exec(ctx); len(due) > 0 && err != nil {
		return nil, fmt.Errorf("read the suspended applications: %w", err)
	}
	all := []Stop{}
	for i, z := range due {
		f := hashes[i].Val()
		if f["since"] == "" {
			continue // its rooms are being released
		}
		s := parse(f)
		s.Cause, s.App, s.Trials, s.Waiting = Application, apps[i], atoi(f["trials"]), int(lengths[i].Val())
		s.NextTrial = time.UnixMilli(int64(z.Score)).UTC()
		if s.trial != "" {
			s.Phase = "half-open"
		}
		s.fillTexts()
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Stop) int { return cmp.Compare(a.App, b.App) })
	return all, nil
}

// Stop stops all sending, in every process, until Start. by names the person; reason
// may be empty. It replaces any other cause, and returns that one.
func (b *Breaker) Stop(ctx context.Context, by, reason string) (before Cause, err error) {
	return b.switchTo(ctx, "stop", by, reason)
}

// Start closes the breaker whatever its cause, makes the trials of suspended
// applications due at once, and resumes paused queues. It returns the cause that
// the breaker had, if any.
func (b *Breaker) Start(ctx context.Context) (before Cause, err error) {
	if err := asynqx.Unpause(ctx, b.rdb, b.ns.Queues()...); err != nil {
		return "", err
	}
	return b.switchTo(ctx, "start", "", "")
}

func (b *Breaker) switchTo(ctx context.Context, do, by, reason string) (Cause, error) {
	before, err := b.run(ctx, switchScript, []string{b.ns.Suspended()}, do, by, reason).Text()
	if err != nil {
		return "", fmt.Errorf("%s all sending: %w", do, err)
	}
	return Cause(before), nil
}

// releaseMany is how many snapshots one script releases.
const releaseMany = 500

// Release releases the snapshots that wait for an application. Those of batches are
// fed again with their batch. The caller enqueues the others, whose ids it returns.
// After an error the application stays due.
func (b *Breaker) Release(ctx context.Context, app uint64) (singles []string, err error) {
	for left := int64(1); left > 0; {
		ids, err := b.rdb.LRange(ctx, b.ns.SuspendedRooms(app), 0, releaseMany-1).Result()
		if err != nil {
			return singles, fmt.Errorf("read the rooms of suspended application %d: %w", app, err)
		}
		k := []string{b.ns.Suspended(), b.ns.Suspension(app), b.ns.SuspendedRooms(app), b.ns.Open(), b.ns.Ring()}
		args := []any{app}
		for _, id := range ids {
			batch, _, _ := tasks.SplitRowID(id)
			k, args = append(k, b.ns.Snapshot(id), b.ns.Batch(batch), b.ns.Refeed(batch)), append(args, id)
		}
		reply, err := b.run(ctx, releaseScript, k, args...).Slice()
		if err != nil {
			return singles, fmt.Errorf("release the rooms of application %d: %w", app, err)
		}
		left = reply[0].(int64)
		for _, id := range reply[1:] {
			singles = append(singles, id.(string))
		}
	}
	return singles, nil
}

package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/keys"
)

// Trouble is why calls are not made: for the whole account, or for one
// SdkAppId.
type Trouble struct {
	Code      string    `json:"code"`
	Message   string    `json:"message"`
	RequestID string    `json:"request_id,omitempty"`
	App       uint64    `json:"app"` // SdkAppId of the call that failed
	Since     time.Time `json:"since"`
}

// Trip stops all sending, for everyone, until Reset. The first reason stands.
func (l *Ledger) Trip(ctx context.Context, t Trouble) error {
	pipe := l.rdb.TxPipeline()
	for name, value := range map[string]any{
		"code": t.Code, "message": t.Message, "request_id": t.RequestID, "app": t.App, "since": t.Since.UnixMilli(),
	} {
		pipe.HSetNX(ctx, keys.Breaker, name, value)
	}
	_, err := pipe.Exec(ctx)
	return err
}

// Reset lets everyone send again.
func (l *Ledger) Reset(ctx context.Context) error { return l.rdb.Del(ctx, keys.Breaker).Err() }

// Tripped returns why all sending is stopped, and whether it is.
func (l *Ledger) Tripped(ctx context.Context) (Trouble, bool, error) {
	f, err := l.rdb.HGetAll(ctx, keys.Breaker).Result()
	if err != nil || len(f) == 0 {
		return Trouble{}, false, err
	}
	return Trouble{f["code"], f["message"], f["request_id"], uint64(atoi(f["app"])), unixMilli(f["since"])}, true, nil
}

// HoldApp stops sending for one SdkAppId until ReleaseApp. The first reason
// stands.
func (l *Ledger) HoldApp(ctx context.Context, app uint64, t Trouble) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return l.rdb.HSetNX(ctx, keys.Held, strconv.FormatUint(app, 10), b).Err()
}

// HeldApps returns the SdkAppIds that are held, and why.
func (l *Ledger) HeldApps(ctx context.Context) (map[uint64]Trouble, error) {
	f, err := l.rdb.HGetAll(ctx, keys.Held).Result()
	if err != nil {
		return nil, err
	}
	held := make(map[uint64]Trouble)
	for name, value := range f {
		app, err := strconv.ParseUint(name, 10, 64)
		var t Trouble
		if err := errors.Join(err, json.Unmarshal([]byte(value), &t)); err != nil {
			return nil, fmt.Errorf("%s: %w", keys.Held, err)
		}
		held[app] = t
	}
	return held, nil
}

// releaseMany is how many parked snapshots are let go in one call.
const releaseMany = 500

// ReleaseApp lets the snapshots of an SdkAppId go on. Those of batches are fed
// again in their turn; the others are given to enqueue, or come back by Stuck
// where that fails. After an error of Redis the SdkAppId may still be held.
func (l *Ledger) ReleaseApp(ctx context.Context, app uint64, enqueue func(Snapshot) error) error {
	var singles []string
	for left := int64(1); left > 0; {
		reply, err := releaseScript.Run(ctx, l.rdb,
			[]string{keys.Parked(app), keys.Ring, keys.Open, keys.Held},
			app, releaseMany, keys.Snapshot(""), keys.Batch(""), keys.Again(""),
		).Slice()
		if err != nil {
			return fmt.Errorf("release app %d: %w", app, err)
		}
		left = reply[0].(int64)
		for _, id := range reply[1:] {
			singles = append(singles, id.(string))
		}
	}
	for ids := range slices.Chunk(singles, releaseMany) {
		all, err := l.Snapshots(ctx, ids)
		if err != nil {
			return err
		}
		for _, s := range all {
			if err := enqueue(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// unholdMany is how many snapshots that no longer wait one call may drop.
const unholdMany = 10_000

// Unhold ends the hold of an SdkAppId for which no snapshot waits any more,
// since all were canceled, and reports whether it did. The next call for it
// tells whether it is still refused.
func (l *Ledger) Unhold(ctx context.Context, app uint64) (bool, error) {
	done, err := unholdScript.Run(ctx, l.rdb, []string{keys.Parked(app), keys.Held}, app, unholdMany, keys.Snapshot("")).Bool()
	if err != nil {
		return false, fmt.Errorf("unhold app %d: %w", app, err)
	}
	return done, nil
}

// parked returns the snapshots of a batch that wait until their SdkAppId is no
// longer held. What is let go meanwhile may be left out.
func (l *Ledger) parked(ctx context.Context, batch string) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		apps, err := l.HeldApps(ctx)
		if err != nil {
			yield(Snapshot{}, err)
			return
		}
		for app := range apps {
			for first := int64(0); ; first += page {
				ids, err := l.rdb.LRange(ctx, keys.Parked(app), first, first+page-1).Result()
				if err != nil {
					yield(Snapshot{}, fmt.Errorf("read %s: %w", keys.Parked(app), err))
					return
				}
				if len(ids) == 0 {
					break
				}
				all, err := l.Snapshots(ctx, slices.DeleteFunc(ids, func(id string) bool { return batchOf(id) != batch }))
				if err != nil {
					yield(Snapshot{}, err)
					return
				}
				for _, s := range all {
					if s.State != "" && !yield(s, nil) {
						return
					}
				}
			}
		}
	}
}

// ClaimProbe reports whether the caller is the one who probes the account now:
// one at a time, once in every.
func (l *Ledger) ClaimProbe(ctx context.Context, every time.Duration) (bool, error) {
	err := l.rdb.SetArgs(ctx, keys.Probe, 1, redis.SetArgs{Mode: "NX", TTL: every}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, err
}

package ledger

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// lossShown is how long a loss of data is shown.
	lossShown = 24 * time.Hour
	// lossEvery is the interval of the checks for a loss by all processes together, and
	// lossMost the longest interval of one process.
	lossEvery, lossMost = 2 * time.Second, 5 * time.Second
)

var (
	//go:embed epoch.lua
	epochSource string
	epochScript = redis.NewScript(epochSource)
	//go:embed loss.lua
	lossSource string
	lossScript = redis.NewScript(lossSource)
)

// The kinds of losses.
const (
	Emptied = "emptied" // Redis lost everything: FLUSHALL, a restart without its data, or another Redis
	Older   = "older"   // Redis went back to an older state: a failover to a stale replica, or a backup
)

// Loss is a loss of data in Redis.
type Loss struct {
	Kind string    `json:"kind"` // Emptied or Older
	At   time.Time `json:"at"`   // when it was found
	// Missing are the batches and single snapshots that some process has seen before
	// and that do not exist any more; sorted, never nil. There may be others.
	Missing []string `json:"missing"`
}

func (l Loss) String() string {
	what := "Redis has lost its data"
	if l.Kind == Older {
		what = "Redis went back to an older state"
	}
	if len(l.Missing) == 0 {
		return what
	}
	shown := l.Missing[:min(len(l.Missing), 10)]
	more := ""
	if n := len(l.Missing) - len(shown); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("%s; missing: %s%s", what, strings.Join(shown, ", "), more)
}

// LossFix says what to do after a loss.
const LossFix = "enqueue again what is missing; " +
	"see that Redis keeps an append-only file and that replicas are not behind"

// LossWatch are the settings of WatchLosses.
type LossWatch struct {
	Dir    string       // folder that keeps Seen for the next process; empty: none
	Notify bool         // by webhook
	Log    *slog.Logger // required
	Found  func(Loss)   // called for each loss; may be nil
}

// WatchLosses checks, until ctx ends, whether Redis has lost data since the last check,
// also the last one of a previous process. It checks every two seconds, or up to every
// five while other processes check too. It logs an alarm for each loss.
func (l *Ledger) WatchLosses(ctx context.Context, o LossWatch) {
	seen, err := ReadSeen(o.Dir)
	if err != nil {
		o.Log.Warn(err.Error())
	}
	failing := false
	keep := func() {
		err := seen.Keep(o.Dir)
		if err != nil && !failing {
			o.Log.Warn(err.Error(), "fix", "set TIWSNAP_WORKER_SPOOL to a folder that this process can write to")
		}
		failing = err != nil // warn once, not at each attempt
	}
	defer keep()
	kept := time.Now()
	for {
		before := seen.beat()
		loss, err := l.CheckLoss(ctx, seen, o.Notify)
		if loss != nil {
			o.Log.Error("ALARM: "+loss.String(), "kind", loss.Kind, "missing", len(loss.Missing), "fix", LossFix)
			if o.Found != nil {
				o.Found(*loss)
			}
		}
		if err != nil && ctx.Err() == nil {
			o.Log.Debug("cannot check whether Redis has lost data", "err", err)
		}
		if loss != nil || time.Since(kept) >= seenEvery {
			keep()
			kept = time.Now()
		}
		checks := min(max(1, seen.beat()-before), 10) // of all processes since the last one of this process
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(time.Duration(checks)*lossEvery, lossMost)):
		}
	}
}

// CheckLoss compares Redis with what was seen of it before. It returns a loss if data
// is gone or older, and records it in Redis for every process to show. With notify it
// also makes a notice. Errors: Redis'.
func (l *Ledger) CheckLoss(ctx context.Context, s *Seen, notify bool) (*Loss, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply, err := epochScript.Run(ctx, l.rdb, []string{l.ns.Epoch()}, rand.Text()).Slice()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.ns.Epoch(), err)
	}
	epoch, beat := reply[0].(string), reply[1].(int64)
	loss := &Loss{Missing: []string{}}
	switch before := s.state; {
	case before.Epoch == "":
		loss = nil
	case epoch != before.Epoch:
		loss.Kind = Emptied
	case beat <= before.Beat:
		loss.Kind = Older
	default:
		loss = nil
	}
	if loss != nil {
		if loss.Missing, err = l.missing(ctx, s.state.IDs); err != nil {
			return nil, err
		}
		if err := l.recordLoss(ctx, loss, notify); err != nil {
			return nil, err // the next check finds it again
		}
	}
	s.state.Epoch, s.state.Beat = epoch, beat
	if loss != nil || time.Since(s.at) >= seenEvery {
		if s.state.IDs, err = l.newest(ctx); err != nil {
			return loss, err
		}
		s.at = time.Now()
	}
	return loss, nil
}

// newest returns the newest batches and single snapshots in progress.
func (l *Ledger) newest(ctx context.Context) ([]string, error) {
	pipe := l.rdb.Pipeline()
	batches := pipe.ZRevRange(ctx, l.ns.Batches(), 0, seenMost-1)
	open, confirm := pipe.ZRevRange(ctx, l.ns.Open(), 0, seenMost-1), pipe.ZRevRange(ctx, l.ns.Confirm(), 0, seenMost-1)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read the newest batches and snapshots: %w", err)
	}
	singles := slices.DeleteFunc(append(open.Val(), confirm.Val()...), func(id string) bool { return batchOf(id) != "" })
	return append(batches.Val(), singles[:min(len(singles), seenMost)]...), nil
}

// missing returns the ids, of batches and single snapshots, that are not in Redis.
func (l *Ledger) missing(ctx context.Context, ids []string) ([]string, error) {
	pipe := l.rdb.Pipeline()
	there := make([][]*redis.BoolCmd, len(ids))
	for i, id := range ids {
		there[i] = []*redis.BoolCmd{
			pipe.HExists(ctx, l.ns.Batch(id), "total"), pipe.HExists(ctx, l.ns.Snapshot(id), "state"),
			pipe.HExists(ctx, l.ns.Packed(""), id),
		}
	}
	if len(ids) > 0 {
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, fmt.Errorf("check for missing batches and snapshots: %w", err)
		}
	}
	gone := []string{}
	for i, id := range ids {
		if !slices.ContainsFunc(there[i], (*redis.BoolCmd).Val) {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	return slices.Compact(gone), nil
}

// recordLoss stores the loss in Redis, and sets its time.
func (l *Ledger) recordLoss(ctx context.Context, loss *Loss, notify bool) error {
	args := []any{loss.Kind, lossShown.Milliseconds(), notify}
	for _, id := range loss.Missing {
		args = append(args, id)
	}
	at, err := lossScript.Run(ctx, l.rdb, []string{l.ns.Loss(), l.ns.Missing(), l.ns.Outbox()}, args...).Int64()
	if err != nil {
		return fmt.Errorf("record that Redis has lost data: %w", err)
	}
	loss.At = time.UnixMilli(at).UTC()
	return nil
}

// LastLoss returns the last loss of data, or nil if none was found within a day.
func (l *Ledger) LastLoss(ctx context.Context) (*Loss, error) {
	pipe := l.rdb.Pipeline()
	f, missing := pipe.HGetAll(ctx, l.ns.Loss()), pipe.SMembers(ctx, l.ns.Missing())
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", l.ns.Loss(), err)
	}
	if len(f.Val()) == 0 {
		return nil, nil
	}
	slices.Sort(missing.Val())
	return &Loss{Kind: f.Val()["kind"], At: unixMilli(f.Val()["at"]), Missing: missing.Val()}, nil
}

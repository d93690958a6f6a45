package worker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/audit"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

const (
	// journalEvery is how often the log is given what is new, in one round trip. Where other workers look, too, each
	// looks half as often.
	journalEvery = 5 * time.Second
	// journalMany bounds what one look takes: new batches, changes, and open batches that may have ended.
	journalMany = 200
	// watchMost is how many open batches are watched for their end. With more of them a look takes journalMany in turn.
	watchMost = 10_000
	// markFor is how long one worker's line keeps the others from writing it, too.
	markFor = time.Hour
	// begunFor is how long it is known when a batch was begun.
	begunFor = 30 * 24 * time.Hour
)

// journal gives the log a line for each batch that is enqueued, begun and ended,
// and for each change that the audit log has, by whatever process. Every worker
// looks; the one that sets a mark in Redis writes the line. What happens while no
// worker runs is told by the next one, but for batches that are canceled then.
type journal struct {
	w       *Worker
	batches string          // score of the newest batch that was seen (ms)
	newest  map[string]bool // the batches of that score
	changes string          // id of the newest change that was seen
	looks   int64           // by all workers, before the last one of this worker
	next    time.Duration   // until the next look

	mu    sync.Mutex
	open  []string // batches that had not ended, the one that was looked at longest ago first
	known map[string]bool
}

// run looks until ctx ends.
func (j *journal) run(ctx context.Context) {
	for j.next = journalEvery; pause(ctx, j.next); {
		if err := j.look(ctx); err != nil && ctx.Err() == nil {
			j.w.log.Debug("the log lacks batches and changes for now", "err", err)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := j.look(last); err != nil {
		j.w.log.Debug("the log lacks what was new at the end", "err", err)
	}
}

// watch has a batch looked at until it has ended.
func (j *journal) watch(batch string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.known[batch] && len(j.open) < watchMost {
		j.known[batch] = true
		j.open = append(j.open, batch)
	}
}

// begin finds where the workers before have stopped. Where there were none
// nothing is old enough to tell of, but what is open is watched.
func (j *journal) begin(ctx context.Context) error {
	rdb, ns := j.w.o.Redis, j.w.o.Namespace
	at, err := rdb.Time(ctx).Result()
	if err != nil {
		return err
	}
	now := strconv.FormatInt(at.UnixMilli(), 10)
	pipe := rdb.Pipeline()
	pipe.HSetNX(ctx, ns.Journal(), "batches", now)
	pipe.HSetNX(ctx, ns.Journal(), "changes", now+"-0")
	cursors := pipe.HMGet(ctx, ns.Journal(), "batches", "changes")
	running := pipe.ZRevRange(ctx, ns.Running(), 0, watchMost-1)
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for _, id := range running.Val() {
		j.watch(id)
	}
	j.batches, _ = cursors.Val()[0].(string)
	j.changes, _ = cursors.Val()[1].(string)
	return nil
}

func (j *journal) look(ctx context.Context) error {
	if j.batches == "" {
		if err := j.begin(ctx); err != nil {
			return err
		}
	}
	j.mu.Lock()
	watched := slices.Clone(j.open[:min(len(j.open), journalMany)])
	j.mu.Unlock()
	rdb, ns := j.w.o.Redis, j.w.o.Namespace
	pipe := rdb.Pipeline()
	batches := pipe.ZRangeByScoreWithScores(ctx, ns.Batches(), &redis.ZRangeBy{
		Min: j.batches, Max: "+inf", Count: journalMany + int64(len(j.newest)),
	})
	running := make([]*redis.FloatCmd, len(watched))
	for i, id := range watched {
		running[i] = pipe.ZScore(ctx, ns.Running(), id)
	}
	changes := audit.New(rdb, ns).After(ctx, pipe, j.changes, journalMany)
	looks := pipe.HIncrBy(ctx, ns.Journal(), "looks", 1)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	if j.next = journalEvery; looks.Val() > j.looks+1 {
		j.next *= 2
	}
	j.looks = looks.Val()
	if err := j.enqueued(ctx, batches.Val()); err != nil {
		return err
	}
	var ended []string
	for i, id := range watched {
		if errors.Is(running[i].Err(), redis.Nil) {
			ended = append(ended, id)
		}
	}
	for _, id := range ended {
		if err := j.ended(ctx, id); err != nil {
			return err
		}
	}
	j.looked(watched, ended)
	return j.change(ctx, changes)
}

// looked puts the watched batches at the end of the line, without those that have
// ended.
func (j *journal) looked(watched, ended []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open = slices.Delete(j.open, 0, len(watched))
	for _, id := range watched {
		if slices.Contains(ended, id) {
			delete(j.known, id)
		} else {
			j.open = append(j.open, id)
		}
	}
}

// first reports whether this worker is the one that tells of something.
func (j *journal) first(ctx context.Context, what, value string, keep time.Duration) (bool, error) {
	return j.w.o.Redis.SetNX(ctx, j.w.o.Namespace.Logged(what), value, keep).Result()
}

// enqueued tells of new batches.
func (j *journal) enqueued(ctx context.Context, batches []redis.Z) error {
	for _, z := range batches {
		id, _ := z.Member.(string)
		score := strconv.FormatInt(int64(z.Score), 10)
		if score == j.batches && j.newest[id] {
			continue
		}
		b, err := j.w.ledger.Batch(ctx, id)
		if err == nil {
			err = j.created(ctx, b)
		}
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		if score != j.batches {
			if err := j.w.o.Redis.HSet(ctx, j.w.o.Namespace.Journal(), "batches", score).Err(); err != nil {
				return err
			}
			j.batches, j.newest = score, map[string]bool{}
		}
		j.newest[id] = true
		j.watch(id)
	}
	return nil
}

// created tells that a batch was enqueued, unless the log does.
func (j *journal) created(ctx context.Context, b ledger.Batch) error {
	mark := "enqueued:" + b.ID + ":" + strconv.FormatInt(b.CreatedAt.UnixMilli(), 10)
	first, err := j.first(ctx, mark, "1", markFor)
	if first {
		j.w.log.Info("batch enqueued", "batch", b.ID, "rooms", b.Total, "by", b.By)
	}
	return err
}

// begun tells of the batches whose first room is fed, and watches all of them: one
// whose rooms are retried ends once more.
func (j *journal) begun(ctx context.Context, ids []string) {
	batches := map[string]bool{}
	for _, id := range ids {
		if batch, n, ok := tasks.SplitRowID(id); ok {
			batches[batch] = batches[batch] || n == 1
		}
	}
	for _, batch := range slices.Sorted(maps.Keys(batches)) {
		j.watch(batch)
		if !batches[batch] {
			continue
		}
		now := strconv.FormatInt(time.Now().UnixMilli(), 10)
		first, err := j.first(ctx, "begun:"+batch, now, begunFor)
		if err == nil && first {
			var b ledger.Batch
			if b, err = j.w.ledger.Batch(ctx, batch); err == nil {
				err = j.created(ctx, b)
				j.w.log.Info("batch started",
					"batch", batch, "rooms", b.Total, "waited", time.Since(b.CreatedAt).Round(time.Millisecond))
			}
		}
		if err != nil && ctx.Err() == nil {
			j.w.log.Debug("the log lacks the begin of a batch", "batch", batch, "err", err)
		}
	}
}

// ended tells of the end of a batch.
func (j *journal) ended(ctx context.Context, id string) error {
	b, err := j.w.ledger.Batch(ctx, id)
	switch {
	case errors.Is(err, ledger.ErrNotFound) || err == nil && !b.Ended():
		return nil // dropped; or retried in this moment, and its feeder watches it
	case err != nil:
		return err
	}
	first, err := j.first(ctx, "ended:"+id+":"+strconv.FormatInt(b.EndedAt.UnixMilli(), 10), "1", markFor)
	if err != nil || !first {
		return err
	}
	log := j.w.log
	if ms, err := j.w.o.Redis.Get(ctx, j.w.o.Namespace.Logged("begun:"+id)).Int64(); err == nil {
		duration := max(b.EndedAt.Sub(time.UnixMilli(ms)), time.Millisecond)
		rate := float64(b.Done()) / duration.Seconds()
		log = log.With("duration", duration.Round(time.Millisecond), "rate", strconv.FormatFloat(rate, 'f', 1, 64)+"/s")
	}
	log.Info("batch ended", "batch", id, "rooms", b.Total, "succeeded", b.Succeeded, "no_image", b.NoImage,
		"failed", b.Failed, "canceled", b.Canceled, "age", b.EndedAt.Sub(b.CreatedAt).Round(time.Millisecond))
	return nil
}

// change tells of what the audit log has got.
func (j *journal) change(ctx context.Context, read func() ([]audit.Entry, error)) error {
	all, err := read()
	if err != nil || len(all) == 0 {
		return err
	}
	for _, e := range all {
		first, err := j.first(ctx, "change:"+e.ID, "1", markFor)
		if err != nil {
			return err
		}
		if j.changes = e.ID; first {
			log := j.w.log
			for _, optional := range [][2]string{{"from", e.From}, {"object", e.Object}, {"detail", e.Detail}} {
				if optional[1] != "" {
					log = log.With(optional[0], optional[1])
				}
			}
			log.Info("operator action", "action", e.Action, "by", e.By, "via", e.Via, "at", e.At)
		}
	}
	return j.w.o.Redis.HSet(ctx, j.w.o.Namespace.Journal(), "changes", j.changes).Err()
}

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
	// journalInterval is the time between two polls, each one round trip. Where other workers poll too, each polls half
	// as often.
	journalInterval = 5 * time.Second
	// journalBatch limits one poll: the new batches, the audit entries, and the watched batches it checks for their end.
	journalBatch = 200
	// maxWatched limits the open batches that are watched for their end. Each poll checks the next journalBatch of them.
	maxWatched = 10_000
	// markTTL is how long a mark in Redis keeps other workers from logging the same event.
	markTTL = time.Hour
	// startTTL is how long the start time of a batch is stored.
	startTTL = 30 * 24 * time.Hour
)

// journal logs each batch that is enqueued, started or ended, and each entry of
// the audit log, whichever process made it. Every worker polls; the one that sets
// a mark in Redis writes the line. Events that happen while no worker runs are
// logged by the next one, except the end of batches that are canceled meanwhile.
type journal struct {
	w       *Worker
	batches string          // score of the newest logged batch (ms)
	newest  map[string]bool // logged batches with that score
	changes string          // id of the newest logged audit entry
	polls   int64           // number of polls by all workers, as of the last poll of this one
	next    time.Duration   // until the next poll

	mu      sync.Mutex
	open    []string        // watched batches; the one checked longest ago is first
	watched map[string]bool // the same as a set
}

// run polls until ctx ends, and once more after that.
func (j *journal) run(ctx context.Context) {
	for j.next = journalInterval; pause(ctx, j.next); {
		if err := j.poll(ctx); err != nil && ctx.Err() == nil {
			j.w.log.Debug("batches and operator actions not logged yet", "err", err)
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := j.poll(last); err != nil {
		j.w.log.Debug("batches and operator actions not logged before the stop", "err", err)
	}
}

// watch makes the polls check a batch until it has ended. It ignores batches beyond
// maxWatched.
func (j *journal) watch(batch string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.watched[batch] && len(j.open) < maxWatched {
		j.watched[batch] = true
		j.open = append(j.open, batch)
	}
}

// loadCursors reads where earlier workers stopped. The first worker ever starts at
// the current time, so that it logs no old events. Open batches are watched.
func (j *journal) loadCursors(ctx context.Context) error {
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
	running := pipe.ZRevRange(ctx, ns.Running(), 0, maxWatched-1)
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

// poll reads new events and logs them.
func (j *journal) poll(ctx context.Context) error {
	if j.batches == "" {
		if err := j.loadCursors(ctx); err != nil {
			return err
		}
	}
	j.mu.Lock()
	checked := slices.Clone(j.open[:min(len(j.open), journalBatch)])
	j.mu.Unlock()
	rdb, ns := j.w.o.Redis, j.w.o.Namespace
	pipe := rdb.Pipeline()
	batches := pipe.ZRangeByScoreWithScores(ctx, ns.Batches(), &redis.ZRangeBy{
		Min: j.batches, Max: "+inf", Count: journalBatch + int64(len(j.newest)),
	})
	running := make([]*redis.FloatCmd, len(checked))
	for i, id := range checked {
		running[i] = pipe.ZScore(ctx, ns.Running(), id)
	}
	changes := audit.New(rdb, ns).After(ctx, pipe, j.changes, journalBatch)
	polls := pipe.HIncrBy(ctx, ns.Journal(), "looks", 1)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	if j.next = journalInterval; polls.Val() > j.polls+1 {
		j.next *= 2
	}
	j.polls = polls.Val()
	if err := j.logNew(ctx, batches.Val()); err != nil {
		return err
	}
	var ended []string
	for i, id := range checked {
		if errors.Is(running[i].Err(), redis.Nil) {
			ended = append(ended, id)
		}
	}
	for _, id := range ended {
		if err := j.logEnded(ctx, id); err != nil {
			return err
		}
	}
	j.rotate(checked, ended)
	return j.logActions(ctx, changes)
}

// rotate moves the checked batches to the end of the list and drops those that have
// ended.
func (j *journal) rotate(checked, ended []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open = slices.Delete(j.open, 0, len(checked))
	for _, id := range checked {
		if slices.Contains(ended, id) {
			delete(j.watched, id)
		} else {
			j.open = append(j.open, id)
		}
	}
}

// mark sets the mark of an event and reports whether no other worker had set it.
// The worker that sets the mark logs the event.
func (j *journal) mark(ctx context.Context, event, value string, ttl time.Duration) (bool, error) {
	return j.w.o.Redis.SetNX(ctx, j.w.o.Namespace.Logged(event), value, ttl).Result()
}

// logNew logs new batches and watches them.
func (j *journal) logNew(ctx context.Context, batches []redis.Z) error {
	for _, z := range batches {
		id, _ := z.Member.(string)
		score := strconv.FormatInt(int64(z.Score), 10)
		if score == j.batches && j.newest[id] {
			continue
		}
		b, err := j.w.ledger.Batch(ctx, id)
		if err == nil {
			err = j.logEnqueued(ctx, b)
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

// logEnqueued logs that a batch was enqueued, unless a worker has already done so.
func (j *journal) logEnqueued(ctx context.Context, b ledger.Batch) error {
	event := "enqueued:" + b.ID + ":" + strconv.FormatInt(b.CreatedAt.UnixMilli(), 10)
	first, err := j.mark(ctx, event, "1", markTTL)
	if first {
		j.w.log.Info("batch enqueued", "batch", b.ID, "rooms", b.Total, "by", b.By)
	}
	return err
}

// logStarted logs the batches whose first room is among ids, the rooms that were
// just queued. It watches all batches of ids: one whose rooms are retried ends again.
func (j *journal) logStarted(ctx context.Context, ids []string) {
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
		first, err := j.mark(ctx, "begun:"+batch, now, startTTL)
		if err == nil && first {
			var b ledger.Batch
			if b, err = j.w.ledger.Batch(ctx, batch); err == nil {
				err = j.logEnqueued(ctx, b)
				j.w.log.Info("batch started",
					"batch", batch, "rooms", b.Total, "waited", time.Since(b.CreatedAt).Round(time.Millisecond))
			}
		}
		if err != nil && ctx.Err() == nil {
			j.w.log.Debug("batch start not logged", "batch", batch, "err", err)
		}
	}
}

// logEnded logs that a batch has ended.
func (j *journal) logEnded(ctx context.Context, id string) error {
	b, err := j.w.ledger.Batch(ctx, id)
	switch {
	case errors.Is(err, ledger.ErrNotFound) || err == nil && !b.Ended():
		return nil // the record is gone, or a retry reopened the batch and logStarted watches it
	case err != nil:
		return err
	}
	first, err := j.mark(ctx, "ended:"+id+":"+strconv.FormatInt(b.EndedAt.UnixMilli(), 10), "1", markTTL)
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

// logActions logs new entries of the audit log.
func (j *journal) logActions(ctx context.Context, read func() ([]audit.Entry, error)) error {
	all, err := read()
	if err != nil || len(all) == 0 {
		return err
	}
	for _, e := range all {
		first, err := j.mark(ctx, "change:"+e.ID, "1", markTTL)
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

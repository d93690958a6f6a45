package ledger_test

import (
	"context"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
)

// The actions of Tencent.

func (w *world) finish() {
	running := slices.DeleteFunc(slices.Clone(w.made), func(t *task) bool { return t.state != "" })
	t := running[pick(w, "task", running)]
	t.state = rapid.SampledFrom([]ledger.State{ledger.Succeeded, ledger.Succeeded, ledger.Failed}).Draw(w.t, "result")
}

// callback calls the callback URL of the attempt that has created a task, with or without the TaskID. It may call more
// than once.
func (w *world) callback() {
	t := w.made[pick(w, "task", w.made)]
	id, l := "", w.lives[t.snapshot]
	if !w.chance("without TaskID") {
		id = t.id
		l.known, l.calledBack = append(l.known, id), append(l.calledBack, t.attempt)
		if l.state != ledger.Accepted && !slices.Contains(l.answered, id) {
			l.reported = id
		}
	}
	w.t.Logf("callback for %s, attempt %d: %q", t.snapshot, t.attempt, id)
	w.must(w.ledger.Callback(w.ctx, t.snapshot, t.attempt, id, []byte("{}")))
	w.check()
}

// forgeCallback sends a forged callback. It names a task that does not exist, or one of another snapshot. If callbacks
// name two tasks for one attempt, the ledger keeps the later one.
func (w *world) forgeCallback() {
	if !w.chance("forged") {
		w.t.Skip()
	}
	id := w.ids()[pick(w, "snapshot", w.ids())]
	l := w.lives[id]
	if l.attempts == 0 {
		w.t.Skip()
	}
	attempt := rapid.IntRange(1, l.attempts).Draw(w.t, "attempt")
	if slices.Contains(l.calledBack, attempt) {
		w.t.Skip()
	}
	forged := []string{"no-such-task"}
	for other, l := range w.lives {
		if other != id {
			forged = append(forged, l.answered...)
		}
	}
	slices.Sort(forged)
	task := rapid.SampledFrom(forged).Draw(w.t, "forged task")
	w.t.Logf("callback for %s, attempt %d: forged, %s", id, attempt, task)
	w.must(w.ledger.Callback(w.ctx, id, attempt, task, []byte("{}")))
	w.check()
}

// The actions of a person.

func (w *world) cancel() {
	id := w.ids()[pick(w, "snapshot", w.ids())]
	l := w.lives[id]
	l.canceled = l.canceled || l.state != ledger.Accepted && !l.state.Ended()
	state, err := w.ledger.Cancel(w.ctx, id, w.payload(id).Room)
	w.must(err)
	w.t.Logf("cancel %s: %s", id, state)
	w.check()
}

func (w *world) retry() {
	w.retryOne(w.ids()[pick(w, "snapshot", w.ids())])
}

func (w *world) retryOne(id string) {
	ok, err := w.ledger.Retry(w.ctx, id, w.payload(id).Room)
	w.must(err)
	w.t.Logf("retry %s: %t", id, ok)
	if ok {
		w.lives[id].taskID, w.lives[id].canceled = "", false
		if w.payload(id).Batch == "" {
			w.enqueue(id)
		}
	}
	w.check()
}

func (w *world) cancelBatch() {
	if !w.chance("cancel") {
		w.t.Skip()
	}
	for _, id := range w.ids() {
		if l := w.lives[id]; w.payload(id).Batch == "b" && !l.state.Ended() && l.state != ledger.Accepted {
			l.canceled = true
		}
	}
	w.paused = false // canceling ends the pause
	n, err := w.ledger.CancelBatch(w.ctx, "b")
	w.must(err)
	w.t.Logf("cancel the batch: %d at once", n)
	w.check()
}

func (w *world) pause() {
	if w.chance("pause") {
		w.must(w.backlog.Pause(w.ctx, "b"))
		b, err := w.ledger.Batch(w.ctx, "b")
		w.must(err)
		w.paused = !b.Ended()
	} else {
		w.must(w.backlog.Resume(w.ctx, "b"))
		w.paused = false
	}
}

func (w *world) stop() {
	do := w.breaker.Start
	if w.chance("stop") {
		do = func(ctx context.Context) (gate.Cause, error) { return w.breaker.Stop(ctx, "me", "") }
	}
	_, err := do(w.ctx)
	w.must(err)
}

func (w *world) suspend() {
	app := rapid.Uint64Range(1, 2).Draw(w.t, "app")
	if w.chance("suspend") {
		suspend(w.ctx, w.rdb, app)
		return
	}
	w.release(app)
	w.check()
}

// release releases the snapshots that wait for an application, or dies before it has enqueued all.
func (w *world) release(app uint64) {
	unsuspend(w.ctx, w.rdb, app)
	singles, err := w.breaker.Release(w.ctx, app)
	w.must(err)
	for _, id := range singles {
		if w.chance("dies before it has enqueued all") {
			return
		}
		w.enqueue(id)
	}
}

// passTime advances the clock by a random duration.
func (w *world) passTime() {
	w.advance(rapid.SampledFrom([]time.Duration{time.Second, modelBusy, time.Minute, 2 * time.Minute, modelSweep}).
		Draw(w.t, "time"))
}

var ageScript = redis.NewScript(`
for i, key in ipairs(KEYS) do
  if redis.call('TYPE', key).ok == 'zset' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      redis.call('ZINCRBY', key, -ARGV[1], member)
    end
  else
    for _, field in ipairs({'sent_at', 'unknown_at'}) do
      if redis.call('HEXISTS', key, field) == 1 then
        redis.call('HINCRBY', key, field, -ARGV[1])
      end
    end
  end
end
return 1`)

// pack packs the ended records.
func (w *world) pack() {
	w.must(ageScript.Run(w.ctx, w.rdb, []string{keys.Default.Unpacked()}, time.Minute.Milliseconds()).Err())
	_, err := w.ledger.Pack(w.ctx, 10)
	w.must(err)
}

// advance advances the clock: it makes all times in the ledger older.
func (w *world) advance(d time.Duration) {
	old := []string{keys.Default.InFlight(), keys.Default.Open(), keys.Default.Confirm(), keys.Default.Outbox()}
	for _, id := range w.ids() {
		old = append(old, keys.Default.Snapshot(id))
	}
	w.must(ageScript.Run(w.ctx, w.rdb, old, d.Milliseconds()).Err())
	w.now += d
}

package ledger_test

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// The invariants. They are checked after each call.

// allowed are the state transitions of one call. "" means no record.
var allowed = map[ledger.State][]ledger.State{
	"":               {ledger.Queued, ledger.Sending, ledger.Canceled},
	ledger.Queued:    {ledger.Sending, ledger.Accepted, ledger.Canceled},
	ledger.Sending:   {ledger.Queued, ledger.Unknown, ledger.Accepted, ledger.Failed, ledger.Canceled},
	ledger.Unknown:   {ledger.Sending, ledger.Accepted, ledger.Failed, ledger.Canceled},
	ledger.Accepted:  {ledger.Succeeded, ledger.Failed},
	ledger.Failed:    {ledger.Queued},
	ledger.Canceled:  {ledger.Queued},
	ledger.Succeeded: {},
}

// places are the sets in which the ledger keeps the ids of unfinished work.
type places struct {
	open, confirm, inFlight, held, failed map[string]bool
	refeed, suspended                     map[string]bool
	expires                               map[string]bool // records, with their batch or alone; "b" is the batch
}

func (w *world) places() places {
	pipe := w.rdb.Pipeline()
	z := func(key string) *redis.StringSliceCmd { return pipe.ZRange(w.ctx, key, 0, -1) }
	open, confirm, inFlight := z(keys.Default.Open()), z(keys.Default.Confirm()), z(keys.Default.InFlight())
	held, held0, failed, failed0 := z(keys.Default.Held("b")), z(keys.Default.Held("")),
		z(keys.Default.Failed("b")), z(keys.Default.Failed(""))
	refeed := pipe.LRange(w.ctx, keys.Default.Refeed("b"), 0, -1)
	suspended1, suspended2 := pipe.LRange(w.ctx, keys.Default.SuspendedRooms(1), 0, -1),
		pipe.LRange(w.ctx, keys.Default.SuspendedRooms(2), 0, -1)
	ring := pipe.LRange(w.ctx, keys.Default.Ring(), 0, -1)
	paused := pipe.HExists(w.ctx, keys.Default.Batch("b"), "paused")
	ttl := make(map[string]*redis.DurationCmd)
	ttl["s-1"] = pipe.PTTL(w.ctx, keys.Default.Snapshot("s-1"))
	single := pipe.HExists(w.ctx, keys.Default.Packed(""), "s-1")
	unpacked, packed := z(keys.Default.Unpacked()), pipe.HKeys(w.ctx, keys.Default.Packed("b"))
	ttl["b"] = pipe.PTTL(w.ctx, keys.Default.Batch("b"))
	due1, due2 := pipe.ZScore(w.ctx, keys.Default.Suspended(), "1"), pipe.ZScore(w.ctx, keys.Default.Suspended(), "2")
	if _, err := pipe.Exec(w.ctx); !errors.Is(err, redis.Nil) {
		w.must(err)
	}
	if len(refeed.Val()) > 0 && len(ring.Val()) == 0 && !paused.Val() {
		w.t.Fatalf("%v wait to be fed again, but their batch is not in the ring", refeed.Val())
	}
	if len(suspended1.Val()) > 0 && due1.Err() != nil || len(suspended2.Val()) > 0 && due2.Err() != nil {
		w.t.Fatalf("%v wait for SdkAppId 1, %v for 2, but the application is not in the set of suspended ones",
			suspended1.Val(), suspended2.Val())
	}
	set := func(cmds ...*redis.StringSliceCmd) map[string]bool {
		m := make(map[string]bool)
		for _, c := range cmds {
			for _, id := range c.Val() {
				m[id] = true
			}
		}
		return m
	}
	expires := make(map[string]bool)
	for id, cmd := range ttl {
		expires[id] = cmd.Val() >= 0
	}
	expires["s-1"] = expires["s-1"] || single.Val()
	for _, id := range unpacked.Val() {
		expires[id] = true
	}
	for _, row := range packed.Val() {
		expires["b."+row] = true
	}
	return places{
		set(open), set(confirm), set(inFlight), set(held, held0), set(failed, failed0), set(refeed),
		set(suspended1, suspended2), expires,
	}
}

func (w *world) check() {
	all, err := w.ledger.Snapshots(w.ctx, w.ids())
	w.must(err)
	b, err := w.ledger.Batch(w.ctx, "b")
	w.must(err)
	at := w.places()
	count := ledger.Batch{}
	for _, s := range all {
		l := w.lives[s.ID]
		if s.State != l.state && !slices.Contains(allowed[l.state], s.State) {
			w.t.Fatalf("%s went from %q to %q", s.ID, l.state, s.State)
		}
		l.state = s.State
		if s.State == ledger.Canceled && !l.canceled {
			w.t.Fatalf("%s is canceled without a call of Cancel", s.ID)
		}
		if s.State == ledger.Accepted {
			l.reported, l.unknownSince, l.canceled = "", -1, false
			if slices.Contains(l.settled, s.TaskID) {
				w.t.Fatalf("%s was accepted again as task %s, which it had before its retry", s.ID, s.TaskID)
			}
		}
		if s.State == ledger.Succeeded || s.State == ledger.Failed && s.TaskID != "" {
			l.settled = append(l.settled, s.TaskID)
		}
		w.checkPlace(s, at)
		w.checkTasks(s)
		if _, row, ok := tasks.SplitRowID(s.ID); ok {
			if s.State == "" && b.CanceledUnfed(row) {
				s.State = ledger.Canceled
			}
			switch s.State {
			case "", ledger.Queued:
				count.Queued++
			case ledger.Sending:
				count.Sending++
			case ledger.Unknown:
				count.Unknown++
			case ledger.Accepted:
				count.Accepted++
			case ledger.Succeeded:
				count.Succeeded++
			case ledger.Failed:
				count.Failed++
			case ledger.Canceled:
				count.Canceled++
			}
			count.Images += len(s.Images)
			if s.State == ledger.Succeeded {
				if len(s.Images) == 0 {
					count.NoImage++
				}
				if s.Total != nil {
					count.MissingImages += max(0, *s.Total-len(s.Images))
				}
			}
			count.PossibleDuplicates += s.PossibleDuplicates
		}
	}
	got := ledger.Batch{
		Queued: b.Queued, Sending: b.Sending, Unknown: b.Unknown, Accepted: b.Accepted, Succeeded: b.Succeeded,
		Failed: b.Failed, Canceled: b.Canceled, Images: b.Images, PossibleDuplicates: b.PossibleDuplicates,
		NoImage: b.NoImage, MissingImages: b.MissingImages,
	}
	if diff := cmp.Diff(count, got); diff != "" {
		w.t.Fatalf("counts of the batch differ from its records (-records +batch):\n%s", diff)
	}
	if b.Ended() != (b.Done() == modelRows) {
		w.t.Fatalf("the batch has ended: %t, with %d of %d snapshots done", b.Ended(), b.Done(), modelRows)
	}
	if b.Ended() != at.expires["b"] {
		w.t.Fatalf("the batch has ended: %t, it expires: %t", b.Ended(), at.expires["b"])
	}
	if b.Ended() {
		w.batchEnds[b.EndedAt] = true
		w.paused = false
	}
	if b.Paused != w.paused {
		w.t.Fatalf("the batch is paused: %t, want %t", b.Paused, w.paused)
	}
}

// checkPlace checks that an unfinished snapshot is in a set of work in progress, and that an ended one is in none.
func (w *world) checkPlace(s ledger.Snapshot, at places) {
	id := s.ID
	switch {
	case s.State == "":
		if at.open[id] || at.confirm[id] {
			w.t.Fatalf("%s has no record, but is in a set of work in progress", id)
		}
	case s.State.Ended():
		if at.open[id] || at.confirm[id] || at.held[id] {
			w.t.Fatalf("%s is %s, but in a set of work in progress: open %t, confirm %t, held %t",
				id, s.State, at.open[id], at.confirm[id], at.held[id])
		}
	case s.State == ledger.Accepted:
		if !at.confirm[id] || at.open[id] || at.held[id] {
			w.t.Fatalf("%s is accepted: confirm %t, open %t, held %t", id, at.confirm[id], at.open[id], at.held[id])
		}
	default:
		if !at.open[id] && !at.refeed[id] && !at.inFlight[id] && !at.suspended[id] && !at.held[id] {
			w.t.Fatalf("%s is %s, but in no set of work in progress", id, s.State)
		}
	}
	if s.Held != at.held[id] || s.Held && s.State != ledger.Unknown {
		w.t.Fatalf("%s is %s, held: %t, in the set of held ones: %t", id, s.State, s.Held, at.held[id])
	}
	if at.expires[id] != s.State.Ended() {
		w.t.Fatalf("%s is %s, its record expires: %t", id, s.State, at.expires[id])
	}
	if at.failed[id] != (s.State == ledger.Failed) {
		w.t.Fatalf("%s is %s, among the failed: %t", id, s.State, at.failed[id])
	}
}

// checkTasks checks that no TaskID is lost, and that each task after the first counts as a possible duplicate.
func (w *world) checkTasks(s ledger.Snapshot) {
	ids := slices.Concat([]string{s.TaskID}, slices.Collect(maps.Values(s.ExtraTasks)),
		slices.Collect(maps.Values(s.ReportedTasks)))
	for _, id := range w.lives[s.ID].known {
		if !slices.Contains(ids, id) {
			w.t.Fatalf("%s (%s): the record lacks task %s, it has %q", s.ID, s.State, id, ids)
		}
	}
	for attempt, id := range s.ExtraTasks {
		if id == s.TaskID {
			w.t.Fatalf("%s: its task %s is also an extra task, of attempt %d", s.ID, id, attempt)
		}
	}
	made := 0
	for _, t := range w.made {
		if t.snapshot == s.ID && (s.State != ledger.Sending || t.attempt != s.Attempts) {
			made++
		}
	}
	if made > 1+s.PossibleDuplicates {
		w.t.Fatalf("%s (%s): %d tasks exist, but the record has %d possible duplicates", s.ID, s.State, made,
			s.PossibleDuplicates)
	}
}

// checkLeftovers checks what remains after everything has ended.
func (w *world) checkLeftovers() {
	w.advance(2 * time.Minute)
	ids, _, err := w.backlog.Take(w.ctx, "feeder", 10) // those in flight at their end
	w.must(err)
	for _, id := range ids {
		w.begin(id)
	}
	w.deliver(w.ends)
	ends, err := w.ledger.TakeNotices(w.ctx, 100)
	w.must(err)
	w.deliver(ends)
	if diff := cmp.Diff(w.batchEnds, w.delivered); diff != "" {
		w.t.Fatalf("ends of the batch (-real +delivered):\n%s", diff)
	}

	_, _, err = w.backlog.Waiting(w.ctx) // as each enqueue does
	w.must(err)

	w.pack()
	all, err := w.rdb.Keys(w.ctx, "{tiwsnap}:"+"*").Result()
	w.must(err)
	for _, key := range all {
		switch key {
		case keys.Default.Totals(), keys.Default.Batches(), keys.Default.Feeder(), keys.Default.Gate(),
			keys.Default.Indexes(), keys.Default.Packed(""), keys.Default.Expiring():
			continue
		}
		if ttl := w.rdb.PTTL(w.ctx, key).Val(); ttl < 0 {
			w.t.Fatalf("%s never expires", key)
		}
	}
}

package worker_test

import (
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/enqueue"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/ratelimit"
	"tiwsnap/results"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// twoAccounts returns two accounts on one Redis, each in its own namespace. Neither namespace is the default, and one
// name is a prefix of the other.
func twoAccounts(t *testing.T, rdb *redis.Client) (a, b world) {
	return newAccount(t, rdb, "school", "AKIDofSchool", tiwtest.Options{}),
		newAccount(t, rdb, "school-b", "AKIDofSchoolB", tiwtest.Options{})
}

// roomsFrom returns n rooms, numbered from from.
func roomsFrom(from, n int) iter.Seq2[tasks.Room, error] {
	return func(yield func(tasks.Room, error) bool) {
		for i := range n {
			if !yield(tasks.Room{SdkAppId: app, RoomId: uint64(from + i)}, nil) {
				return
			}
		}
	}
}

// enqueueFrom enqueues n rooms, numbered from from.
func (w world) enqueueFrom(id string, from, n int) {
	w.Helper()
	if _, err := w.queue.Batch(w.Context(), roomsFrom(from, n), enqueue.BatchOptions{ID: id}); err != nil {
		w.Fatal(err)
	}
}

// wantUntouched checks that no room of the namespace was sent or taken from its queue.
func (w world) wantUntouched(batch string, n int) {
	w.Helper()
	b, err := w.ledger.Batch(w.Context(), batch)
	if err != nil || b.Queued != n || b.Ended() {
		w.Errorf("batch of namespace %s = %+v, %v, want %d queued", w.ns, b, err, n)
	}
	info, err := asynq.NewInspectorFromRedisClient(w.rdb).GetQueueInfo(w.ns.QueueInteractive())
	if err != nil || info.Pending != 1 || info.Size != 1 {
		w.Errorf("queue of namespace %s = %+v, %v, want one pending task", w.ns, info, err)
	}
	if calls := w.sim.State().Requests; calls != 0 {
		w.Errorf("%d requests of namespace %s, want none", calls, w.ns)
	}
}

// wantOnly checks that the account has sent exactly its own rooms, once each, with its own API key.
func (w world) wantOnly(from, n int) {
	w.Helper()
	w.wantOneTaskEach(n)
	for room := range w.tasksByRoom() {
		if room < uint64(from) || room >= uint64(from+n) {
			w.Errorf("namespace %s sent room %d of the other one", w.ns, room)
		}
	}
	for code, calls := range w.sim.State().Codes {
		if code != "OK" {
			w.Errorf("namespace %s: %d requests with code %s, want OK", w.ns, calls, code)
		}
	}
	w.wantWithinLimit()
}

// Two accounts on one Redis do not take each other's rooms, although the ids are the same. The order in which their
// workers start does not matter.
func TestNamespacesShareNothing(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	for _, name := range []string{"A works first", "B works first"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Client(t)
			first, second := twoAccounts(t, rdb)
			if name == "B works first" {
				first, second = second, first
			}
			const of1, of2 = 1, 1001 // the first room of each
			second.enqueueFrom("class", of2, 40)
			if _, err := second.queue.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: of2 + 40},
				enqueue.RoomOptions{}); err != nil {
				t.Fatal(err)
			}
			first.enqueueFrom("class", of1, 40)
			first.work()
			if b := first.waitForEnd("class"); b.Succeeded != 40 {
				t.Errorf("batch = %+v", b)
			}
			second.wantUntouched("class", 40)
			first.wantOnly(of1, 40)

			second.work()
			if b := second.waitForEnd("class"); b.Succeeded != 40 {
				t.Errorf("batch = %+v", b)
			}
			second.eventually("the single room is sent", func() bool { return len(second.tasksByRoom()) == 41 })
			second.wantOnly(of2, 41)
			first.wantOnly(of1, 40)
			checkKeys(t, rdb)
		})
	}
}

// checkKeys checks that every key belongs to one of the two namespaces, or is one of asynq for a whole Redis.
func checkKeys(t *testing.T, rdb *redis.Client) {
	t.Helper()
	n := 0
	for scan := rdb.Scan(t.Context(), 0, "*", 1000).Iterator(); scan.Next(t.Context()); n++ {
		key := scan.Val()
		known := strings.HasPrefix(key, "asynq:servers") || strings.HasPrefix(key, "asynq:workers") ||
			key == "asynq:queues" || key == "asynq:schedulers"
		for _, ns := range []string{"school", "school-b"} {
			known = known || strings.HasPrefix(key, "{"+ns+"}:")
			for _, queue := range keys.Namespace(ns).Queues() {
				known = known || strings.HasPrefix(key, "asynq:{"+queue+"}:")
			}
		}
		if !known {
			t.Errorf("key %s belongs to no namespace", key)
		}
	}
	if n < 10 {
		t.Errorf("%d keys in Redis, want at least 10", n)
	}
}

// An operator action on one account has no effect on the other.
func TestOperatorActionsInOneNamespace(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	rdb := redistest.Client(t)
	a, b := twoAccounts(t, rdb)
	ctx := t.Context()

	b.work()
	runs := func(w world) bool {
		run, err := results.NewReader(rdb, w.ns).WorkerRuns()
		return err == nil && run
	}
	b.eventually("the worker of B is known", func() bool { return runs(b) })
	if runs(a) {
		t.Error("WorkerRuns() of A is true, but only B has a worker")
	}

	// Stop, pause and cancel in A. B has batches with the same ids.
	for _, w := range []world{a, b} {
		if err := backlog.New(rdb, w.ns).Pause(ctx, "none"); err == nil {
			t.Error("Pause() of an unknown batch succeeded")
		}
	}
	if _, err := gate.NewBreaker(rdb, a.ns).Stop(ctx, "ada", "exam"); err != nil {
		t.Fatal(err)
	}
	a.enqueueFrom("paused", 1, 10)
	a.enqueueFrom("canceled", 11, 10)
	if err := backlog.New(rdb, a.ns).Pause(ctx, "paused"); err != nil {
		t.Fatal(err)
	}
	if n, err := a.ledger.CancelBatch(ctx, "canceled"); n != 10 || err != nil {
		t.Fatalf("CancelBatch() = %d, %v, want 10", n, err)
	}
	a.work()
	a.waitForStop(gate.Person)
	if s := b.firstStop(); s.Cause != "" {
		t.Errorf("B is stopped: %s", s)
	}
	b.setFaults(tiwtest.Faults{Code: 1, CodeName: "InvalidParameter.Whiteboard"})
	b.enqueueFrom("broken", 2001, 3)
	if got := b.waitForEnd("broken"); got.Failed != 3 {
		t.Errorf("batch = %+v", got)
	}
	b.setFaults(tiwtest.Faults{})
	b.enqueueFrom("paused", 1001, 10)
	b.enqueueFrom("canceled", 1011, 10)
	for _, id := range []string{"paused", "canceled"} {
		if got := b.waitForEnd(id); got.Succeeded != 10 {
			t.Errorf("batch = %+v", got)
		}
	}
	if calls := a.sim.State().Requests; calls != 0 {
		t.Errorf("%d requests of A while it is stopped, want none", calls)
	}

	// A does not see the failures of B, or its limit.
	for w, want := range map[*world]int{&a: 0, &b: 3} {
		n := 0
		for _, err := range w.ledger.Failures(ctx, "broken") {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != want {
			t.Errorf("namespace %s has %d failures, want %d", w.ns, n, want)
		}
	}
	limit := func(w world) ratelimit.Options {
		return ratelimit.Options{Redis: rdb, Key: w.ns.Limit(gate.ActionCreate)}
	}
	if err := ratelimit.Set(ctx, rdb, limit(b).Key, 7); err != nil {
		t.Fatal(err)
	}
	for w, want := range map[*world]int{&a: 20, &b: 7} {
		if s, err := ratelimit.Read(ctx, limit(*w)); err != nil || s.Limit != want {
			t.Errorf("limit of %s = %+v, %v, want %d", w.ns, s, err, want)
		}
	}

	// A resumes.
	if _, err := gate.NewBreaker(rdb, a.ns).Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := backlog.New(rdb, a.ns).Resume(ctx, "paused"); err != nil {
		t.Fatal(err)
	}
	if got := a.waitForEnd("paused"); got.Succeeded != 10 {
		t.Errorf("batch = %+v", got)
	}
	a.wantOnly(1, 10)
}

// asynq has one cancel channel for a whole Redis, and its messages contain only the task id. Even so, neither account
// loses a room.
func TestAsynqCancelAcrossNamespaces(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	rdb := redistest.Client(t)
	a, b := twoAccounts(t, rdb)
	for _, w := range []*world{&a, &b} {
		w.limit = 10 // most wait for a permit
		w.enqueueFrom("class", 1, 40)
		w.work()
	}
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	canceled := 0
	a.eventually("ten rooms were sent, and others are active", func() bool {
		active, err := inspector.ListActiveTasks(a.ns.QueueBulk())
		return err == nil && len(active) > 0 && len(a.tasksByRoom()) >= 10
	})
	for n := 1; n <= 40; n++ {
		if err := inspector.CancelProcessing(fmt.Sprintf("class.%d", n)); err != nil {
			t.Fatal(err)
		}
		canceled++
	}
	for _, w := range []world{a, b} {
		if got := w.waitForBatch("class", "ended", ledger.Batch.Ended); got.Succeeded != 40 || got.PossibleDuplicates != 0 {
			t.Errorf("batch after %d canceled tasks = %+v", canceled, got)
		}
		w.wantOnly(1, 40)
	}
}

package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// fixture is a ledger with one batch of the given number of rooms.
type fixture struct {
	*testing.T
	*ledger.Ledger
	rdb *redis.Client
}

func setup(t *testing.T, total int) fixture { return setupOn(t, redistest.Client(t), total) }

func setupOn(t *testing.T, rdb *redis.Client, total int) fixture {
	f := fixture{t,
		ledger.New(rdb, ledger.Options{Busy: 10 * time.Second, Retention: time.Hour, ConfirmAfter: time.Nanosecond}), rdb}
	f.load(total)
	rdb.HSet(t.Context(), keys.Default.Batch("b"), "created_at", 1)
	rdb.ZAdd(t.Context(), keys.Default.Batches(), redis.Z{Score: 1, Member: "b"})
	rdb.Del(t.Context(), keys.Default.Ring()) // the batch is not fed
	return f
}

// load enqueues the batch.
func (f fixture) load(total int) {
	f.Helper()
	load := backlog.New(f.rdb, keys.Default).Load(tasks.Room{})
	for n := range total {
		room := row(n + 1).Room
		if err := load.Add(f.Context(), &room); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := load.Seal(f.Context(), "b", ""); err != nil {
		f.Fatal(err)
	}
}

func row(n int) tasks.SnapshotPayload {
	return tasks.SnapshotPayload{ID: tasks.RowID("b", n), Batch: "b", Room: tasks.Room{SdkAppId: 1, RoomId: uint64(n)}}
}

func (f fixture) begin(p tasks.SnapshotPayload, token string) ledger.Intent {
	f.Helper()
	in, err := f.Begin(f.Context(), p, token, "")
	if err != nil {
		f.Fatal(err)
	}
	return in
}

func (f fixture) outcome(p tasks.SnapshotPayload, attempt int, o ledger.Outcome) {
	f.Helper()
	if err := f.Outcome(f.Context(), p.ID, attempt, o); err != nil {
		f.Fatal(err)
	}
}

func (f fixture) record(p tasks.SnapshotPayload) ledger.Snapshot {
	f.Helper()
	s, err := f.Snapshot(f.Context(), p.ID)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

func (f fixture) batch() ledger.Batch {
	f.Helper()
	b, err := f.Batch(f.Context(), "b")
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// backdate moves the request of a snapshot into the past, as if its worker had died long ago.
func (f fixture) backdate(p tasks.SnapshotPayload) {
	f.Helper()
	if err := f.rdb.HSet(f.Context(), keys.Default.Snapshot(p.ID), "sent_at", 1).Err(); err != nil {
		f.Fatal(err)
	}
}

func accepted(task string) ledger.Outcome {
	return ledger.Outcome{State: ledger.Accepted, TaskID: task, RequestID: "r-" + task}
}

var unknown = ledger.Outcome{State: ledger.Unknown, Costs: true, Code: "InternalError", Message: "m"}

var throttled = ledger.Outcome{State: ledger.Queued, Code: "RequestLimitExceeded"}

// callback records a callback.
func (f fixture) callback(p tasks.SnapshotPayload, attempt int, task string) {
	f.Helper()
	if err := f.Callback(f.Context(), p.ID, attempt, task, []byte(`{"a":1}`)); err != nil {
		f.Fatal(err)
	}
}

// due returns the snapshots that are due for a poll.
func (f fixture) due() []ledger.Snapshot {
	f.Helper()
	p, err := f.Poll(f.Context(), "me", 1, 10)
	if err != nil {
		f.Fatal(err)
	}
	return p.Due
}

// inSet reports whether a snapshot is in one of the sets of work in progress.
func (f fixture) inSet(set string, p tasks.SnapshotPayload) bool {
	f.Helper()
	err := f.rdb.ZScore(f.Context(), set, p.ID).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		f.Fatal(err)
	}
	return err == nil
}

// claimTask claims a reported task, as a worker does after Tencent has confirmed it.
func (f fixture) claimTask(p tasks.SnapshotPayload, attempt int, task string) error {
	return f.ClaimTask(f.Context(), p.ID, attempt, task)
}

func (f fixture) settle(p tasks.SnapshotPayload, task string, state ledger.State) {
	f.Helper()
	if err := f.Settle(f.Context(), p.ID, task, ledger.Result{State: state}); err != nil {
		f.Fatal(err)
	}
}

// discard discards the tasks that callbacks have named.
func (f fixture) discard(s ledger.Snapshot) {
	f.Helper()
	for attempt, id := range s.ReportedTasks {
		if err := f.DiscardReportedTask(f.Context(), s.ID, attempt, id); err != nil {
			f.Fatal(err)
		}
	}
}

// feed takes the next n snapshots from the backlog, as a worker does.
func (f fixture) feed(n int) []string {
	f.Helper()
	depth := n + int(f.rdb.ZCard(f.Context(), keys.Default.InFlight()).Val())
	ids, _, err := backlog.New(f.rdb, keys.Default).Take(f.Context(), "feeder", depth)
	if err != nil {
		f.Fatal(err)
	}
	return ids
}

// open is setup with a batch that is not fed yet.
func open(t *testing.T, total int) fixture {
	f := setup(t, total)
	f.rdb.HSet(t.Context(), keys.Default.Batch("b"), "fed", 0)
	f.rdb.LPush(t.Context(), keys.Default.Ring(), "b")
	return f
}

func (f fixture) cancel(p tasks.SnapshotPayload) ledger.State {
	f.Helper()
	state, err := f.Cancel(f.Context(), p.ID, p.Room)
	if err != nil {
		f.Fatal(err)
	}
	return state
}

func (f fixture) cancelBatch() int {
	f.Helper()
	n, err := f.CancelBatch(f.Context(), "b")
	if err != nil {
		f.Fatal(err)
	}
	return n
}

func (f fixture) retry(p tasks.SnapshotPayload) bool {
	f.Helper()
	ok, err := f.Retry(f.Context(), p.ID, p.Room)
	if err != nil {
		f.Fatal(err)
	}
	return ok
}

// wantVerdict begins a snapshot and checks the verdict.
func (f fixture) wantVerdict(p tasks.SnapshotPayload, token string, want ledger.Verdict) {
	f.Helper()
	if in := f.begin(p, token); in.Verdict != want {
		f.Errorf("Begin(%s) = %q, want %q", p.ID, in.Verdict, want)
	}
}

// wantCounts checks how many snapshots of the batch are in each state.
func (f fixture) wantCounts(want ledger.Batch) {
	f.Helper()
	b := f.batch()
	got := ledger.Batch{Total: b.Total, Queued: b.Queued, Sending: b.Sending, Unknown: b.Unknown,
		Accepted: b.Accepted, Succeeded: b.Succeeded, Failed: b.Failed, Canceled: b.Canceled}
	if diff := cmp.Diff(want, got); diff != "" {
		f.Errorf("counts of the batch (-want +got):\n%s", diff)
	}
}

// holdUnknown returns a ledger that holds unknown outcomes for review.
func holdUnknown(f fixture) *ledger.Ledger {
	return ledger.New(f.rdb, ledger.Options{Hold: true, Retention: time.Hour})
}

// fail makes a snapshot fail at its first attempt.
func (f fixture) fail(p tasks.SnapshotPayload, code string) {
	f.Helper()
	f.outcome(p, f.begin(p, "fail").Attempt, ledger.Outcome{
		State: ledger.Failed, Costs: true, Code: code, Message: "m", RequestID: "r",
	})
}

func single(n int) tasks.SnapshotPayload {
	return tasks.SnapshotPayload{ID: fmt.Sprint("s-", n), Room: tasks.Room{SdkAppId: 1, RoomId: uint64(n)}}
}

// stop stops all sending, as a person does. start resumes it.
func (f fixture) stop() {
	f.Helper()
	if _, err := gate.NewBreaker(f.rdb, keys.Default).Stop(f.Context(), "me", "a test"); err != nil {
		f.Fatal(err)
	}
}

func (f fixture) start() {
	f.Helper()
	if _, err := gate.NewBreaker(f.rdb, keys.Default).Start(f.Context()); err != nil {
		f.Fatal(err)
	}
}

// suspend suspends application 1, as the gate does.
func (f fixture) suspend() {
	f.Helper()
	suspend(f.Context(), f.rdb, 1)
}

func suspend(ctx context.Context, rdb *redis.Client, app uint64) {
	rdb.HSet(ctx, keys.Default.Suspension(app), "since", time.Now().UnixMilli(), "code", "UnauthorizedOperation.SdkAppId")
	rdb.ZAdd(ctx, keys.Default.Suspended(), redis.Z{Score: float64(time.Now().UnixMilli()), Member: app})
}

// unsuspend ends a suspension without releasing the waiting snapshots.
func unsuspend(ctx context.Context, rdb *redis.Client, app uint64) {
	rdb.Del(ctx, keys.Default.Suspension(app))
}

// release ends the suspension of application 1 and returns the snapshots to enqueue.
func (f fixture) release() (ids []string) {
	f.Helper()
	unsuspend(f.Context(), f.rdb, 1)
	ids, err := gate.NewBreaker(f.rdb, keys.Default).Release(f.Context(), 1)
	if err != nil {
		f.Fatal(err)
	}
	return ids
}

// accept begins the rows 1 to n and accepts each with its own task.
func (f fixture) accept(n int) {
	f.Helper()
	for i := 1; i <= n; i++ {
		f.begin(row(i), "a")
		f.outcome(row(i), 1, accepted("t"+row(i).ID))
	}
}

// waitMilli waits for the next millisecond of the clock of Redis.
func (f fixture) waitMilli() {
	for start := f.now(); f.now() == start; {
	}
}

func (f fixture) now() int64 {
	f.Helper()
	now, err := f.rdb.Time(f.Context()).Result()
	if err != nil {
		f.Fatal(err)
	}
	return now.UnixMilli()
}

package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/gate"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func single(n int) tasks.SnapshotPayload {
	return tasks.SnapshotPayload{ID: fmt.Sprint("s-", n), Room: tasks.Room{SdkAppId: 1, RoomId: uint64(n)}}
}

// stop stops all sending, as a person does. start starts it again.
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

// goOn ends the suspension. The waiting snapshots are still to be released.
func goOn(ctx context.Context, rdb *redis.Client, app uint64) {
	rdb.Del(ctx, keys.Default.Suspension(app))
}

// release ends the suspension of application 1 and returns the snapshots to enqueue.
func (f fixture) release() (ids []string) {
	f.Helper()
	goOn(f.Context(), f.rdb, 1)
	ids, err := gate.NewBreaker(f.rdb, keys.Default).Release(f.Context(), 1)
	if err != nil {
		f.Fatal(err)
	}
	return ids
}

func TestSuspended(t *testing.T) {
	needs.Time(t)
	t.Run("makes the snapshots of that application wait and no others", func(t *testing.T) {
		f := setup(t, 1)
		f.suspend()
		other := single(2)
		other.Room.SdkAppId = 2
		f.verdict(row(1), "x", ledger.Done)
		f.verdict(other, "x", ledger.Send)
		if s := f.record(row(1)); s.State != ledger.Queued || s.Attempts != 0 {
			t.Errorf("%+v", s)
		}
		if f.in(keys.Default.Open(), row(1)) {
			t.Error("the sweeper would come to it again and again")
		}
	})

	t.Run("lets all go on at its release, rows of a batch in their turn", func(t *testing.T) {
		const many = 1100 // more than two steps
		f := open(t, many)
		f.feed(many)
		f.suspend()
		var want, rows []string
		for n := 1; n <= many; n++ {
			f.verdict(single(n), "x", ledger.Done)
			f.verdict(row(n), "x", ledger.Done)
			want, rows = append(want, single(n).ID), append(rows, row(n).ID)
		}
		if diff := cmp.Diff(want, f.release()); diff != "" {
			t.Error("to be put on the queue:", diff)
		}
		if diff := cmp.Diff(rows, f.feed(many)); diff != "" {
			t.Error("fed:", diff)
		}
		if n := f.rdb.Exists(t.Context(), keys.Default.Suspended(), keys.Default.SuspendedRooms(1)).Val(); n != 0 {
			t.Error("it is still suspended")
		}
		if !f.in(keys.Default.Open(), single(many)) {
			t.Error("nobody looks after a snapshot that is put on the queue")
		}
		f.verdict(single(1), "y", ledger.Send)
		f.verdict(row(1), "y", ledger.Send)
	})

	t.Run("lets what waited for its callback wait on", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.cutOff(row(1))
		f.suspend()
		f.verdict(row(1), "y", ledger.Done)
		if s := f.record(row(1)); s.State != ledger.Unknown {
			t.Errorf("%+v", s)
		}
		f.release()
		if in := f.begin(row(1), "z"); in.Verdict != ledger.Send || in.Attempt != 2 {
			t.Errorf("%+v", in)
		}
	})

	t.Run("brings back nothing that was accepted, canceled or has expired", func(t *testing.T) {
		f := open(t, 3)
		f.feed(3)
		f.suspend()
		f.begin(single(1), "x")
		for n := 1; n <= 3; n++ {
			f.verdict(row(n), "x", ledger.Done)
			f.verdict(single(n), "x", ledger.Done)
		}
		for _, p := range []tasks.SnapshotPayload{row(1), single(1)} {
			f.cancel(p)
		}
		for _, p := range []tasks.SnapshotPayload{row(2), single(2)} {
			f.rdb.Del(t.Context(), keys.Default.Snapshot(p.ID))
		}
		for _, p := range []tasks.SnapshotPayload{row(3), single(3)} {
			// As if its answer was in flight all the time.
			f.rdb.HSet(t.Context(), keys.Default.Snapshot(p.ID), "attempt", 1)
			f.outcome(p, 1, accepted("t-"+p.ID))
		}
		if ids := f.release(); len(ids) != 0 {
			t.Errorf("to be put on the queue: %v", ids)
		}
		if ids := f.feed(3); len(ids) != 0 {
			t.Errorf("fed: %v", ids)
		}
		if n := f.rdb.ZCard(t.Context(), keys.Default.Open()).Val(); n != 0 {
			t.Errorf("%d open", n)
		}
	})

	t.Run("goes on with its release where that is broken off", func(t *testing.T) {
		f := setup(t, 1)
		f.suspend()
		for n := 1; n <= 600; n++ {
			f.verdict(single(n), "x", ledger.Done)
		}
		goOn(t.Context(), f.rdb, 1)
		ctx, cancel := context.WithCancel(t.Context())
		broken := redis.NewClient(f.rdb.Options())
		defer broken.Close()
		broken.AddHook(afterScript(cancel))
		if _, err := gate.NewBreaker(broken, keys.Default).Release(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Fatalf("the release was not broken off: %v", err)
		}
		if n := f.rdb.LLen(t.Context(), keys.Default.SuspendedRooms(1)).Val(); n != 100 {
			t.Fatalf("%d still wait after the first step of 500", n)
		}
		if n := f.rdb.ZCard(t.Context(), keys.Default.Suspended()).Val(); n != 1 {
			t.Error("nobody will come to the others")
		}
		ids := f.release()
		stuck, err := f.Stuck(t.Context(), 0, 1000) // those of the first step
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stuck {
			ids = append(ids, s.ID)
		}
		slices.Sort(ids)
		if n := len(slices.Compact(ids)); n != 600 {
			t.Errorf("%d of 600 go on", n)
		}
	})

	t.Run("lets one snapshot go, to see whether calls work again", func(t *testing.T) {
		f := setup(t, 2)
		f.suspend()
		f.rdb.HSet(t.Context(), keys.Default.Suspension(1), "trial", row(1).ID)
		f.verdict(row(1), "x", ledger.Send)
		f.verdict(row(2), "x", ledger.Done)
	})

	t.Run("fails in the end what was enqueued before, and not what is retried", func(t *testing.T) {
		f := setup(t, 2)
		f.suspend()
		f.verdict(row(1), "x", ledger.Done)
		f.rdb.HDel(t.Context(), keys.Default.Suspension(1), "since")
		f.rdb.HSet(t.Context(), keys.Default.Suspension(1), "failed_at", time.Now().UnixMilli()-1000, "message", "m")
		f.verdict(row(1), "y", ledger.Done)
		f.verdict(row(2), "y", ledger.Done) // it was not fed before
		if s := f.record(row(2)); s.State != ledger.Failed ||
			s.Code != "UnauthorizedOperation.SdkAppId" || s.Message != "m" || s.Attempts != 0 {
			t.Errorf("%+v", s)
		}
		if b := f.batch(); b.Failed != 2 || !b.Ended() {
			t.Errorf("%+v", b)
		}
		f.verdict(single(3), "y", ledger.Send) // it is new
		f.retry(row(1))
		f.verdict(row(1), "z", ledger.Send)
	})
}

func TestPass(t *testing.T) {
	begin := func(f fixture, pass string) ledger.Verdict {
		t.Helper()
		in, err := f.Begin(t.Context(), row(1), "x", pass)
		if err != nil {
			t.Fatal(err)
		}
		return in.Verdict
	}
	f := setup(t, 1)
	if v := begin(f, gate.NoPass); v != ledger.Stopped {
		t.Errorf("without a permit: %s", v)
	}
	f.stop()
	valid := f.rdb.HGet(t.Context(), keys.Default.Breaker(), "pass").Val()
	for _, pass := range []string{"", "0", gate.NoPass} {
		if v := begin(f, pass); v != ledger.Stopped {
			t.Errorf("with the pass %q: %s", pass, v)
		}
	}
	if v := begin(f, valid); v != ledger.Send || valid == "" {
		t.Errorf("with the valid pass, %q: %s", valid, v)
	}
}

// afterScript is a hook that runs after each script call of a client.
type afterScript func()

func (afterScript) DialHook(next redis.DialHook) redis.DialHook { return next }

func (do afterScript) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && strings.HasPrefix(cmd.Name(), "eval") {
			do()
		}
		return err
	}
}

func (afterScript) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

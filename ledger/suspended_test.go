package ledger_test

import (
	"context"
	"errors"
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

func TestSuspended(t *testing.T) {
	needs.Time(t)
	t.Run("makes only the snapshots of the application wait", func(t *testing.T) {
		f := setup(t, 1)
		f.suspend()
		other := single(2)
		other.Room.SdkAppId = 2
		f.wantVerdict(row(1), "x", ledger.Done)
		f.wantVerdict(other, "x", ledger.Send)
		if s := f.record(row(1)); s.State != ledger.Queued || s.Attempts != 0 {
			t.Errorf("record = %+v", s)
		}
		if f.inSet(keys.Default.Open(), row(1)) {
			t.Error("the sweeper checks a waiting snapshot")
		}
	})

	t.Run("ends with a release of all snapshots, rows of a batch in turn", func(t *testing.T) {
		const many = 1100 // more than two steps
		f := open(t, many)
		f.feed(many)
		f.suspend()
		var want, rows []string
		for n := 1; n <= many; n++ {
			f.wantVerdict(single(n), "x", ledger.Done)
			f.wantVerdict(row(n), "x", ledger.Done)
			want, rows = append(want, single(n).ID), append(rows, row(n).ID)
		}
		if diff := cmp.Diff(want, f.release()); diff != "" {
			t.Errorf("Release() (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(rows, f.feed(many)); diff != "" {
			t.Errorf("fed (-want +got):\n%s", diff)
		}
		if n := f.rdb.Exists(t.Context(), keys.Default.Suspended(), keys.Default.SuspendedRooms(1)).Val(); n != 0 {
			t.Error("the application is still suspended")
		}
		if !f.inSet(keys.Default.Open(), single(many)) {
			t.Error("the sweeper does not check a released snapshot")
		}
		f.wantVerdict(single(1), "y", ledger.Send)
		f.wantVerdict(row(1), "y", ledger.Send)
	})

	t.Run("keeps an unknown outcome unknown", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.backdate(row(1))
		f.suspend()
		f.wantVerdict(row(1), "y", ledger.Done)
		if s := f.record(row(1)); s.State != ledger.Unknown {
			t.Errorf("record = %+v", s)
		}
		f.release()
		if in := f.begin(row(1), "z"); in.Verdict != ledger.Send || in.Attempt != 2 {
			t.Errorf("Begin() = %+v", in)
		}
	})

	t.Run("does not release what was accepted, canceled or has expired", func(t *testing.T) {
		f := open(t, 3)
		f.feed(3)
		f.suspend()
		f.begin(single(1), "x")
		for n := 1; n <= 3; n++ {
			f.wantVerdict(row(n), "x", ledger.Done)
			f.wantVerdict(single(n), "x", ledger.Done)
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
			t.Errorf("Release() = %v, want none", ids)
		}
		if ids := f.feed(3); len(ids) != 0 {
			t.Errorf("fed = %v", ids)
		}
		if n := f.rdb.ZCard(t.Context(), keys.Default.Open()).Val(); n != 0 {
			t.Errorf("%d snapshots in the open set, want none", n)
		}
	})

	t.Run("continues an interrupted release", func(t *testing.T) {
		f := setup(t, 1)
		f.suspend()
		for n := 1; n <= 600; n++ {
			f.wantVerdict(single(n), "x", ledger.Done)
		}
		unsuspend(t.Context(), f.rdb, 1)
		ctx, cancel := context.WithCancel(t.Context())
		interrupted := redis.NewClient(f.rdb.Options())
		defer interrupted.Close()
		interrupted.AddHook(afterScript(cancel))
		if _, err := gate.NewBreaker(interrupted, keys.Default).Release(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Fatalf("the release was not interrupted: error = %v", err)
		}
		if n := f.rdb.LLen(t.Context(), keys.Default.SuspendedRooms(1)).Val(); n != 100 {
			t.Fatalf("%d snapshots wait after the first step of 500, want 100", n)
		}
		if n := f.rdb.ZCard(t.Context(), keys.Default.Suspended()).Val(); n != 1 {
			t.Error("the others will not be released")
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
			t.Errorf("%d snapshots released, want 600", n)
		}
	})

	t.Run("allows the snapshot of the trial", func(t *testing.T) {
		f := setup(t, 2)
		f.suspend()
		f.rdb.HSet(t.Context(), keys.Default.Suspension(1), "trial", row(1).ID)
		f.wantVerdict(row(1), "x", ledger.Send)
		f.wantVerdict(row(2), "x", ledger.Done)
	})

	t.Run("fails the snapshots that were enqueued before its end, but not retried ones", func(t *testing.T) {
		f := setup(t, 2)
		f.suspend()
		f.wantVerdict(row(1), "x", ledger.Done)
		f.rdb.HDel(t.Context(), keys.Default.Suspension(1), "since")
		f.rdb.HSet(t.Context(), keys.Default.Suspension(1), "failed_at", time.Now().UnixMilli()-1000, "message", "m")
		f.wantVerdict(row(1), "y", ledger.Done)
		f.wantVerdict(row(2), "y", ledger.Done) // it was not fed before
		if s := f.record(row(2)); s.State != ledger.Failed ||
			s.Code != "UnauthorizedOperation.SdkAppId" || s.Message != "m" || s.Attempts != 0 {
			t.Errorf("record = %+v", s)
		}
		if b := f.batch(); b.Failed != 2 || !b.Ended() {
			t.Errorf("batch = %+v", b)
		}
		f.wantVerdict(single(3), "y", ledger.Send) // it is new
		f.retry(row(1))
		f.wantVerdict(row(1), "z", ledger.Send)
	})
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

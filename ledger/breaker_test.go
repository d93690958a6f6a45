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

	"tiwsnap/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func single(n int) tasks.SnapshotPayload {
	return tasks.SnapshotPayload{ID: fmt.Sprint("s-", n), Room: tasks.Room{SdkAppId: 1, RoomId: uint64(n)}}
}

func TestBreaker(t *testing.T) {
	f := setup(t, 1)
	first := ledger.Trouble{
		Code: "ResourceUnavailable.ServiceExpired", Message: "m", RequestID: "r", App: 1400000000, Since: time.UnixMilli(1700000000123).UTC(),
	}

	t.Run("the first reason stands", func(t *testing.T) {
		for _, trouble := range []ledger.Trouble{first, {Code: "AuthFailure", Since: time.Now()}} {
			if err := f.Trip(t.Context(), trouble); err != nil {
				t.Fatal(err)
			}
		}
		got, tripped, err := f.Tripped(t.Context())
		if err != nil || !tripped {
			t.Fatalf("tripped: %t, %v", tripped, err)
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("is forgotten after the reset", func(t *testing.T) {
		if err := f.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, tripped, err := f.Tripped(t.Context()); tripped || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
	})

	t.Run("one probes at a time, and again after a while", func(t *testing.T) {
		claim := func() bool {
			mine, err := f.ClaimProbe(t.Context(), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return mine
		}
		if !claim() || claim() {
			t.Error("not exactly one has the probe")
		}
		if ttl := f.rdb.TTL(t.Context(), keys.Probe).Val(); ttl <= 50*time.Second || ttl > time.Minute {
			t.Errorf("the next one may probe in %s", ttl)
		}
	})
}

// hold holds SdkAppId 1.
func (f fixture) hold() {
	f.Helper()
	if err := f.HoldApp(f.Context(), 1, ledger.Trouble{Code: "UnauthorizedOperation.SdkAppId"}); err != nil {
		f.Fatal(err)
	}
}

// release lets SdkAppId 1 go on and returns what is to be put on the queue.
func (f fixture) release() (ids []string) {
	f.Helper()
	err := f.ReleaseApp(f.Context(), 1, func(s ledger.Snapshot) error {
		ids = append(ids, s.ID)
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	return ids
}

func TestHoldApp(t *testing.T) {
	t.Run("parks the snapshots of that app and no others", func(t *testing.T) {
		f := setup(t, 1)
		trouble := ledger.Trouble{Code: "UnauthorizedOperation.SdkAppId", Message: "m", Since: time.UnixMilli(1700000000123).UTC()}
		for _, reason := range []ledger.Trouble{trouble, {Code: "second"}} {
			if err := f.HoldApp(t.Context(), 1, reason); err != nil {
				t.Fatal(err)
			}
		}
		held, err := f.HeldApps(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[uint64]ledger.Trouble{1: trouble}, held); diff != "" {
			t.Error(diff)
		}
		other := single(2)
		other.Room.SdkAppId = 2
		f.verdict(row(1), "x", ledger.Done)
		f.verdict(other, "x", ledger.Send)
		if s := f.record(row(1)); s.State != ledger.Queued || s.Attempts != 0 {
			t.Errorf("%+v", s)
		}
		if f.in(keys.Open, row(1)) {
			t.Error("the sweeper would come to it again and again")
		}
	})

	t.Run("lets all go on at its release, rows of a batch in their turn", func(t *testing.T) {
		const many = 1100 // more than two steps
		f := open(t, many)
		f.feed(many)
		f.hold()
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
		if held, err := f.HeldApps(t.Context()); err != nil || len(held) != 0 {
			t.Errorf("still held: %v, %v", held, err)
		}
		if !f.in(keys.Open, single(many)) {
			t.Error("nobody looks after a snapshot that is put on the queue")
		}
		f.verdict(single(1), "y", ledger.Send)
		f.verdict(row(1), "y", ledger.Send)
	})

	t.Run("lets what waited for its callback wait on", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.cutOff(row(1))
		f.hold()
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
		f.hold()
		f.begin(single(1), "x")
		for n := 1; n <= 3; n++ {
			f.verdict(row(n), "x", ledger.Done)
			f.verdict(single(n), "x", ledger.Done)
		}
		for _, p := range []tasks.SnapshotPayload{row(1), single(1)} {
			f.cancel(p)
		}
		for _, p := range []tasks.SnapshotPayload{row(2), single(2)} {
			f.rdb.Del(t.Context(), keys.Snapshot(p.ID))
		}
		for _, p := range []tasks.SnapshotPayload{row(3), single(3)} {
			f.rdb.HSet(t.Context(), keys.Snapshot(p.ID), "attempt", 1) // as if its answer was on its way all the time
			f.outcome(p, 1, accepted("t-"+p.ID))
		}
		if ids := f.release(); len(ids) != 0 {
			t.Errorf("to be put on the queue: %v", ids)
		}
		if ids := f.feed(3); len(ids) != 0 {
			t.Errorf("fed: %v", ids)
		}
		if n := f.rdb.ZCard(t.Context(), keys.Open).Val(); n != 0 {
			t.Errorf("%d open", n)
		}
	})

	t.Run("goes on holding where the release is broken off, until the next one", func(t *testing.T) {
		f := setup(t, 1)
		f.hold()
		for n := 1; n <= 600; n++ {
			f.verdict(single(n), "x", ledger.Done)
		}
		ctx, cancel := context.WithCancel(t.Context())
		broken := redis.NewClient(f.rdb.Options())
		defer broken.Close()
		broken.AddHook(afterScript(cancel))
		err := ledger.New(broken, ledger.Options{}).ReleaseApp(ctx, 1, func(ledger.Snapshot) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("the release was not broken off: %v", err)
		}
		if n := f.rdb.LLen(t.Context(), keys.Parked(1)).Val(); n != 100 {
			t.Fatalf("%d are still parked after the first step of 500", n)
		}
		if held, err := f.HeldApps(t.Context()); err != nil || len(held) != 1 {
			t.Errorf("held: %v, %v", held, err)
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
}

// afterScript is called each time that Redis has run a script for a client.
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

func TestUnhold(t *testing.T) {
	f := setup(t, 2)
	unhold := func(want bool) {
		t.Helper()
		done, err := f.Unhold(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		held, err := f.HeldApps(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, still := held[1]; done != want || still == want {
			t.Errorf("unheld: %t, still held: %t", done, still)
		}
	}
	f.hold()
	f.verdict(row(1), "x", ledger.Done)
	f.verdict(row(2), "x", ledger.Done)
	unhold(false)
	f.cancel(row(1))
	unhold(false)
	f.cancel(row(2))
	unhold(true)
	if n := f.rdb.Exists(t.Context(), keys.Parked(1)).Val(); n != 0 {
		t.Error("canceled snapshots are still parked")
	}
}

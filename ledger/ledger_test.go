package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
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
	rdb.Del(t.Context(), keys.Default.Ring()) // it is not fed
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

// cutOff backdates the request of a snapshot, as if its worker had died long ago.
func (f fixture) cutOff(p tasks.SnapshotPayload) {
	f.Helper()
	if err := f.rdb.HSet(f.Context(), keys.Default.Snapshot(p.ID), "sent_at", 1).Err(); err != nil {
		f.Fatal(err)
	}
}

func accepted(task string) ledger.Outcome {
	return ledger.Outcome{State: ledger.Accepted, TaskID: task, RequestID: "r-" + task}
}

var unknown = ledger.Outcome{State: ledger.Unknown, Costs: true, Code: "InternalError", Message: "m"}

func TestLife(t *testing.T) {
	f := setup(t, 2)
	p := row(1)
	f.rdb.ZAdd(t.Context(), keys.Default.InFlight(), redis.Z{Score: 1, Member: p.ID})

	if in := f.begin(p, "x"); in.Verdict != ledger.Send || in.Attempt != 1 || in.Failures != 0 {
		t.Fatalf("first begin: %+v", in)
	}
	if n := f.rdb.ZCard(t.Context(), keys.Default.InFlight()).Val(); n != 0 {
		t.Error("a begun snapshot is still in transit")
	}
	if b := f.batch(); b.Sending != 1 || b.Queued != 1 {
		t.Errorf("while sending: %+v", b)
	}
	f.outcome(p, 1, accepted("t1"))
	if b := f.batch(); b.Sending != 0 || b.Accepted != 1 {
		t.Errorf("after acceptance: %+v", b)
	}

	due := f.due()
	if len(due) != 1 || due[0].TaskID != "t1" {
		t.Fatalf("due: %+v", due)
	}
	if again := f.due(); len(again) != 0 {
		t.Errorf("handed out twice: %v", again)
	}
	if ms := f.rdb.ZScore(t.Context(), keys.Default.Confirm(),
		due[0].ID).Val(); time.Until(time.UnixMilli(int64(ms))) < 25*time.Second {
		t.Errorf("it is handed out again at %s", time.UnixMilli(int64(ms)))
	}
	images := []string{"http://h/1.png", "http://h/2.png"}
	if err := f.Settle(t.Context(), due[0].ID, "t1", ledger.Result{State: ledger.Succeeded, Images: images}); err != nil {
		t.Fatal(err)
	}

	s := f.record(p)
	if s.State != ledger.Succeeded || s.TaskID != "t1" || s.RequestID != "r-t1" || s.Attempts != 1 ||
		s.EndedAt.IsZero() || s.Room.RoomId != 1 || !cmp.Equal(s.Images, images) {
		t.Errorf("record at the end: %+v", s)
	}
	if b := f.batch(); b.Succeeded != 1 || b.Images != 2 || b.Ended() {
		t.Errorf("batch with one of two done: %+v", b)
	}
	if in := f.begin(p, "y"); in.Verdict != ledger.Done {
		t.Errorf("begin after the end: %+v", in)
	}

	f.begin(row(2), "x")
	f.outcome(row(2), 1, ledger.Outcome{State: ledger.Failed, Code: "InvalidParameter"})
	if b := f.batch(); b.Failed != 1 || !b.Ended() || b.Queued != 0 {
		t.Errorf("batch at its end: %+v", b)
	}
	if n := f.rdb.ZCard(t.Context(), keys.Default.Open()).Val() +
		f.rdb.ZCard(t.Context(), keys.Default.Confirm()).Val(); n != 0 {
		t.Errorf("%d entries left in the sets of work in progress", n)
	}
}

func TestBegin(t *testing.T) {
	t.Run("twice with one token is once", func(t *testing.T) {
		f := setup(t, 1)
		first, second := f.begin(row(1), "x"), f.begin(row(1), "x")
		if first != second {
			t.Errorf("%+v, then %+v", first, second)
		}
		if b := f.batch(); b.Sending != 1 {
			t.Errorf("counted twice: %+v", b)
		}
	})

	t.Run("waits for a request that is on its way", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		if in := f.begin(row(1), "y"); in.Verdict != ledger.Wait || in.Wait <= 0 || in.Wait > 10*time.Second {
			t.Errorf("%+v", in)
		}
	})

	t.Run("sends again after a worker was cut off, and counts a possible duplicate if that is accepted",
		func(t *testing.T) {
			f := setup(t, 1)
			f.begin(row(1), "x")
			f.cutOff(row(1))
			in := f.begin(row(1), "y")
			if in.Verdict != ledger.Send || in.Attempt != 2 {
				t.Fatalf("%+v", in)
			}
			f.outcome(row(1), 2, accepted("t2"))
			if s := f.record(row(1)); s.PossibleDuplicates != 1 {
				t.Errorf("record: %+v", s)
			}
			if b := f.batch(); b.PossibleDuplicates != 1 || b.Accepted != 1 || b.Sending != 0 {
				t.Errorf("batch: %+v", b)
			}
		})

	t.Run("sends nothing while sending is stopped, and loses nothing", func(t *testing.T) {
		f := setup(t, 2)
		f.begin(row(2), "x")
		f.cutOff(row(2))
		f.stop()
		for n := 1; n <= 2; n++ {
			if in := f.begin(row(n), "y"); in.Verdict != ledger.Stopped {
				t.Errorf("row %d: %+v", n, in)
			}
		}
		if b := f.batch(); b.Queued != 1 || b.Unknown != 1 || b.Sending != 0 {
			t.Errorf("batch: %+v", b)
		}
		f.start()
		for n := 1; n <= 2; n++ {
			if in := f.begin(row(n), "z"); in.Verdict != ledger.Send || in.Attempt != n {
				t.Errorf("row %d after that: %+v", n, in)
			}
		}
		if n := f.rdb.ZCard(t.Context(), keys.Default.Open()).Val(); n != 2 { // the sweeper checks them
			t.Errorf("%d open, want 2", n)
		}
	})
}

func TestOutcome(t *testing.T) {
	t.Run("written twice is written once", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		f.outcome(row(1), 1, accepted("t1"))
		if b := f.batch(); b.Accepted != 1 || b.PossibleDuplicates != 0 {
			t.Errorf("batch: %+v", b)
		}
	})

	t.Run("throttled costs no attempt, a failure costs one", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "a")
		f.outcome(row(1), 1, ledger.Outcome{State: ledger.Queued, Code: "RequestLimitExceeded"})
		if in := f.begin(row(1), "b"); in.Failures != 0 || in.Attempt != 2 {
			t.Errorf("after throttling: %+v", in)
		}
		f.outcome(row(1), 2, unknown)
		if in := f.begin(row(1), "c"); in.Failures != 1 || in.Attempt != 3 {
			t.Errorf("after an unknown outcome: %+v", in)
		}
	})

	t.Run("counts every request that may have made a task but the first as a possible duplicate", func(t *testing.T) {
		f := setup(t, 1)
		for i, o := range []ledger.Outcome{
			unknown,
			{State: ledger.Queued, Costs: true, Code: "ClientError.NetworkError"}, // known not to be sent
			unknown,
			{State: ledger.Queued, Code: "RequestLimitExceeded"},
			accepted("t5"),
		} {
			f.begin(row(1), string(rune('a'+i)))
			f.outcome(row(1), i+1, o)
		}
		if s, b := f.record(row(1)), f.batch(); s.PossibleDuplicates != 2 || b.PossibleDuplicates != 2 || s.Attempts != 5 {
			t.Errorf("record %+v, batch %+v", s, b)
		}
	})

	t.Run("of an older attempt changes nothing, but its TaskID is kept", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "zombie")
		f.cutOff(row(1))
		f.begin(row(1), "y")
		if err := f.Outcome(t.Context(), row(1).ID, 1, unknown); !errors.Is(err, ledger.ErrLate) {
			t.Errorf("late unknown: %v", err)
		}
		if err := f.Outcome(t.Context(), row(1).ID, 1, accepted("t1")); !errors.Is(err, ledger.ErrLate) {
			t.Errorf("late acceptance: %v", err)
		}
		f.outcome(row(1), 2, accepted("t2"))
		s := f.record(row(1))
		if s.TaskID != "t2" || s.ExtraTasks[1] != "t1" || s.PossibleDuplicates != 1 {
			t.Errorf("record: %+v", s)
		}
	})

	t.Run("that comes late is taken where nothing was sent since", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "a")
		f.outcome(row(1), 1, unknown)
		f.outcome(row(1), 1, accepted("t1"))
		s, b := f.record(row(1)), f.batch()
		if s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 || b.Accepted != 1 || b.Unknown != 0 {
			t.Errorf("record %+v, batch %+v", s, b)
		}
	})
}

func TestSettle(t *testing.T) {
	t.Run("is refused for another task, and twice", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "a")
		f.outcome(row(1), 1, accepted("t1"))
		r := ledger.Result{State: ledger.Succeeded, Images: []string{"u"}}
		if err := f.Settle(t.Context(), row(1).ID, "t0", r); !errors.Is(err, ledger.ErrLate) {
			t.Errorf("another task: %v", err)
		}
		if err := f.Settle(t.Context(), row(1).ID, "t1", r); err != nil {
			t.Error(err)
		}
		if err := f.Settle(t.Context(), row(1).ID, "t1", r); !errors.Is(err, ledger.ErrLate) {
			t.Errorf("twice: %v", err)
		}
		if b := f.batch(); b.Succeeded != 1 || b.Images != 1 || b.Accepted != 0 {
			t.Errorf("batch: %+v", b)
		}
	})

	t.Run("of many at once tells the errors of each", func(t *testing.T) {
		f := setup(t, 4)
		var all []ledger.Settlement
		for n := 1; n <= 3; n++ {
			f.begin(row(n), "a")
			f.outcome(row(n), 1, accepted("t"))
			all = append(all, ledger.Settlement{
				ID: row(n).ID, TaskID: "t", Result: ledger.Result{State: ledger.Succeeded, Images: []string{"u"}},
			})
		}
		all[1].TaskID = "another"
		all[2].State, all[2].Code = ledger.Failed, "InternalErr"
		for i, err := range f.SettleAll(t.Context(), all) {
			if want := i == 1; errors.Is(err, ledger.ErrLate) != want || err != nil && !want {
				t.Errorf("%s: %v", all[i].ID, err)
			}
		}
		if b := f.batch(); b.Succeeded != 1 || b.Failed != 1 || b.Accepted != 1 || b.Images != 2 {
			t.Errorf("batch: %+v", b)
		}
	})

	t.Run("can be put off", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "a")
		f.outcome(row(1), 1, accepted("t1"))
		later := []ledger.Postponement{{ID: row(1).ID, Wait: time.Hour}}
		if err := f.PostponeAll(t.Context(), later)[0]; err != nil {
			t.Fatal(err)
		}
		if due := f.due(); len(due) != 0 {
			t.Errorf("due %v", due)
		}
		if ms := f.rdb.ZScore(t.Context(), keys.Default.Confirm(),
			row(1).ID).Val(); time.Until(time.UnixMilli(int64(ms))) < 50*time.Minute {
			t.Errorf("it is due at %s", time.UnixMilli(int64(ms)))
		}
	})
}

func TestStuck(t *testing.T) {
	f := setup(t, 3)
	for n := 1; n <= 3; n++ {
		f.begin(row(n), "a")
	}
	f.outcome(row(3), 1, accepted("t3"))
	f.rdb.ZAdd(t.Context(), keys.Default.Open(), redis.Z{Score: 1, Member: row(2).ID}) // as if long ago
	stuck, err := f.Stuck(t.Context(), time.Minute, 10)
	if err != nil || len(stuck) != 1 || stuck[0].ID != row(2).ID {
		t.Errorf("stuck: %+v, %v", stuck, err)
	}
	if again, _ := f.Stuck(t.Context(), time.Minute, 10); len(again) != 0 {
		t.Errorf("handed out again at once: %+v", again)
	}
}

func TestRead(t *testing.T) {
	f := setup(t, 1)
	if _, err := f.Snapshot(t.Context(), "s-none"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("no such snapshot: %v", err)
	}
	if _, err := f.Batch(t.Context(), "none"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("no such batch: %v", err)
	}
	single := tasks.SnapshotPayload{ID: "s-1", Room: tasks.Room{SdkAppId: 1, RoomId: 7}}
	f.begin(single, "a")
	f.outcome(single, 1, accepted("t"))
	if s := f.record(single); s.State != ledger.Accepted || s.Batch != "" {
		t.Errorf("a snapshot without a batch: %+v", s)
	}
	if keys := f.rdb.Keys(t.Context(), keys.Default.Batch("")).Val(); len(keys) != 0 {
		t.Errorf("a snapshot without a batch made %v", keys)
	}
	f.rdb.ZAdd(t.Context(), keys.Default.Batches(), redis.Z{Score: 2, Member: "expired"})
	all, err := f.Batches(t.Context(), 10)
	if err != nil || len(all) != 1 || all[0].ID != "b" {
		t.Errorf("batches: %+v, %v", all, err)
	}
}

package ledger_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func (f fixture) callBack(p tasks.SnapshotPayload, attempt int, task string) {
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

// in reports whether a snapshot is in one of the sets of work in progress.
func (f fixture) in(set string, p tasks.SnapshotPayload) bool {
	f.Helper()
	err := f.rdb.ZScore(f.Context(), set, p.ID).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		f.Fatal(err)
	}
	return err == nil
}

// confirmed claims a task that a callback has named, as a worker does once Tencent has confirmed it.
func (f fixture) confirmed(p tasks.SnapshotPayload, attempt int, task string) error {
	return f.ClaimTask(f.Context(), p.ID, attempt, task)
}

func (f fixture) settle(p tasks.SnapshotPayload, task string, state ledger.State) {
	f.Helper()
	if err := f.Settle(f.Context(), p.ID, task, ledger.Result{State: state}); err != nil {
		f.Fatal(err)
	}
}

var throttled = ledger.Outcome{State: ledger.Queued, Code: "RequestLimitExceeded"}

func TestCallback(t *testing.T) {
	// patient returns a ledger that polls an accepted task after an hour. Its grace is two minutes.
	patient := func(t *testing.T) fixture {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{
			Busy: 10 * time.Second, Grace: 2 * time.Minute, ConfirmAfter: time.Hour, Retention: time.Hour,
		})
		return f
	}

	t.Run("before the answer is noted, and the answer is taken", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.callBack(row(1), 1, "t1")
		if due := f.due(); len(due) != 0 {
			t.Errorf("asked about while the answer is on its way: %+v", due)
		}
		f.outcome(row(1), 1, accepted("t1"))
		s := f.record(row(1))
		if s.State != ledger.Accepted || s.TaskID != "t1" || len(s.ExtraTasks)+len(s.ReportedTasks) != 0 || s.Callbacks != 1 {
			t.Errorf("%+v", s)
		}
	})

	t.Run("before an answer that is lost makes Tencent be asked at once", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.callBack(row(1), 1, "t1")
		f.outcome(row(1), 1, unknown)
		if due := f.due(); len(due) != 1 || due[0].ReportedTasks[1] != "t1" || due[0].State != ledger.Unknown {
			t.Errorf("due: %+v", due)
		}
	})

	t.Run("to a worker that has died makes Tencent be asked as soon as that is known", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.callBack(row(1), 1, "t1")
		f.cutOff(row(1))
		f.verdict(row(1), "y", ledger.Wait)
		if due := f.due(); len(due) != 1 || due[0].ReportedTasks[1] != "t1" {
			t.Errorf("due: %+v", due)
		}
	})

	t.Run("of an unknown outcome is adopted when Tencent confirms it", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.callBack(row(1), 1, "t1")
		if due := f.due(); len(due) != 1 {
			t.Fatalf("due: %+v", due)
		}
		if err := f.confirmed(row(1), 1, "t1"); err != nil {
			t.Fatal(err)
		}
		s := f.record(row(1))
		if s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 ||
			len(s.ExtraTasks)+len(s.ReportedTasks) != 0 {
			t.Errorf("%+v", s)
		}
		f.verdict(row(1), "y", ledger.Done)
	})

	t.Run("keeps everybody from sending until Tencent was asked", func(t *testing.T) {
		f := setup(t, 1) // no grace
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.callBack(row(1), 1, "t1")
		f.verdict(row(1), "y", ledger.Wait)
		due := f.due()
		f.verdict(row(1), "y", ledger.Wait)
		f.discard(due[0])
		f.verdict(row(1), "y", ledger.Send)
	})

	t.Run("keeps a refused request from failing until Tencent was asked about the one before", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.begin(row(1), "y")
		f.callBack(row(1), 1, "t1")
		f.outcome(row(1), 2, ledger.Outcome{State: ledger.Failed, Code: "InvalidParameter"})
		if s := f.record(row(1)); s.State != ledger.Unknown || !f.in(keys.Default.Confirm(), row(1)) {
			t.Errorf("%+v", s)
		}
		if err := f.confirmed(row(1), 1, "t1"); err != nil {
			t.Fatal(err)
		}
		if s := f.record(row(1)); s.State != ledger.Accepted || s.TaskID != "t1" || s.Code != "" {
			t.Errorf("%+v", s)
		}
	})

	t.Run("without TaskID leaves an unknown outcome to its grace", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.callBack(row(1), 1, "")
		if s := f.record(row(1)); s.State != ledger.Unknown || s.Callbacks != 1 || len(f.due()) != 0 {
			t.Errorf("%+v", s)
		}
	})

	// The body of a snapshot callback is not documented.
	for _, task := range []string{"t1", "", "something-else"} {
		t.Run("after acceptance wakes the confirmation, TaskID "+task, func(t *testing.T) {
			f := patient(t)
			f.begin(row(1), "x")
			f.outcome(row(1), 1, accepted("t1"))
			if due := f.due(); len(due) != 0 {
				t.Fatalf("due before: %+v", due)
			}
			f.callBack(row(1), 1, task)
			if due := f.due(); len(due) != 1 || due[0].TaskID != "t1" || len(due[0].ExtraTasks) != 0 {
				t.Errorf("due: %+v", due)
			}
		})
	}

	t.Run("ten times at once is once", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		var g errgroup.Group
		for range 10 {
			g.Go(func() error { return f.Callback(t.Context(), row(1).ID, 1, "t1", nil) })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if due := f.due(); len(due) != 1 || len(f.due()) != 0 {
			t.Errorf("due: %+v", due)
		}
		if s := f.record(row(1)); s.Callbacks != 10 || len(s.ReportedTasks) != 1 {
			t.Errorf("%+v", s)
		}
		f.counts(ledger.Batch{Total: 1, Unknown: 1})
	})

	t.Run("after the end changes nothing, but another task is listed", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.cutOff(row(1))
		f.rdb.HSet(t.Context(), keys.Default.Snapshot(row(1).ID), "sent_at", 1)
		f.begin(row(1), "y")
		f.outcome(row(1), 2, accepted("t2"))
		f.settle(row(1), "t2", ledger.Succeeded)
		for range 2 {
			f.callBack(row(1), 2, "t2")
			f.callBack(row(1), 1, "t1")
			f.pack()
		}
		s := f.record(row(1))
		if s.State != ledger.Succeeded || s.TaskID != "t2" || len(f.due()) != 0 {
			t.Errorf("%+v", s)
		}
		if diff := cmp.Diff(map[int]string{1: "t1"}, s.ExtraTasks); diff != "" {
			t.Error(diff)
		}
		if ttl := f.rdb.TTL(t.Context(), keys.Default.Packed("b")).Val(); ttl <= 0 {
			t.Error("the record does not expire any more")
		}
	})

	t.Run("of a snapshot that was canceled is asked about if that is retried", func(t *testing.T) {
		f := patient(t)
		f.begin(single(1), "x")
		f.outcome(single(1), 1, unknown)
		f.cancel(single(1))
		f.callBack(single(1), 1, "t1")
		if s := f.record(single(1)); s.State != ledger.Canceled || s.ExtraTasks[1] != "t1" || len(f.due()) != 0 {
			t.Errorf("%+v", s)
		}
		f.retry(single(1))
		f.verdict(single(1), "y", ledger.Wait)
		if due := f.due(); len(due) != 1 || due[0].ReportedTasks[1] != "t1" {
			t.Errorf("due: %+v", due)
		}
	})

	t.Run("is not believed where Tencent's answer has named another task", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.cancel(row(1))
		if err := f.confirmed(row(1), 1, "t1"); !errors.Is(err, ledger.ErrLate) { // the answer comes from a spool
			t.Fatal(err)
		}
		f.callBack(row(1), 1, "lie")
		if diff := cmp.Diff(map[int]string{1: "t1"}, f.record(row(1)).ExtraTasks); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("keeps 4 KiB of the body", func(t *testing.T) {
		f := patient(t)
		f.begin(row(1), "x")
		if err := f.Callback(t.Context(), row(1).ID, 1, "", make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if n := f.rdb.HStrLen(t.Context(), keys.Default.Snapshot(row(1).ID), "callback:1").Val(); n != 4<<10 {
			t.Errorf("%d bytes", n)
		}
	})

	t.Run("for a record that has expired leaves nothing", func(t *testing.T) {
		f := patient(t)
		f.rdb.FlushDB(t.Context())
		f.callBack(row(1), 1, "t1")
		if n := f.rdb.Exists(t.Context(), keys.Default.Snapshot(row(1).ID), keys.Default.Confirm()).Val(); n != 0 {
			t.Error("it has made a record")
		}
	})
}

func TestOlderAttempt(t *testing.T) {
	// twice returns a snapshot whose second request is in flight. Its first request, of
	// unknown outcome, has made task t1.
	twice := func(t *testing.T) fixture {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.begin(row(1), "y")
		f.callBack(row(1), 1, "t1")
		if due := f.due(); len(due) != 1 || due[0].ReportedTasks[1] != "t1" {
			t.Fatalf("due: %+v", due)
		}
		if err := f.confirmed(row(1), 1, "t1"); !errors.Is(err, ledger.ErrLate) {
			t.Fatalf("adopted while another request is on its way: %v", err)
		}
		return f
	}

	for name, end := range map[string]func(f fixture){
		"is throttled": func(f fixture) { f.outcome(row(1), 2, throttled) },
		"is unknown":   func(f fixture) { f.outcome(row(1), 2, unknown) },
		"fails": func(f fixture) {
			f.outcome(row(1), 2, ledger.Outcome{State: ledger.Failed, Code: "InvalidParameter"})
		},
		"fails and canceled": func(f fixture) { f.cancel(row(1)); f.outcome(row(1), 2, throttled) },
		"is cut off":         func(f fixture) { f.cutOff(row(1)); f.verdict(row(1), "z", ledger.Done) },
	} {
		t.Run("takes over where the newer request "+name, func(t *testing.T) {
			f := twice(t)
			end(f)
			s := f.record(row(1))
			if s.State != ledger.Accepted || s.TaskID != "t1" || len(s.ExtraTasks)+len(s.ReportedTasks) != 0 || s.Code != "" {
				t.Errorf("%+v", s)
			}
			if !f.in(keys.Default.Confirm(), row(1)) {
				t.Error("nobody will ask about it")
			}
		})
	}

	t.Run("is listed where the newer request is accepted", func(t *testing.T) {
		f := twice(t)
		f.outcome(row(1), 2, accepted("t2"))
		s := f.record(row(1))
		if s.TaskID != "t2" || s.PossibleDuplicates != 1 {
			t.Errorf("%+v", s)
		}
		if diff := cmp.Diff(map[int]string{1: "t1"}, s.ExtraTasks); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("and of an earlier life stays listed after a retry", func(t *testing.T) {
		f := twice(t)
		f.outcome(row(1), 2, accepted("t2"))
		f.settle(row(1), "t2", ledger.Failed)
		f.retry(row(1))
		f.begin(row(1), "z")
		f.outcome(row(1), 3, throttled)
		if s := f.record(row(1)); s.State != ledger.Queued {
			t.Errorf("an old task took over: %+v", s)
		}
		f.begin(row(1), "a")
		f.outcome(row(1), 4, accepted("t4"))
		s := f.record(row(1))
		if s.TaskID != "t4" || s.Answers != 0 {
			t.Errorf("%+v", s)
		}
		if diff := cmp.Diff(map[int]string{1: "t1", 2: "t2"}, s.ExtraTasks); diff != "" {
			t.Error(diff)
		}
	})
}

func TestGrace(t *testing.T) {
	waiting := func(t *testing.T) fixture {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{Busy: 10 * time.Second, Grace: 2 * time.Minute, Retention: time.Hour})
		return f
	}
	// ago sets the age of an unknown outcome.
	ago := func(f fixture, p tasks.SnapshotPayload, d time.Duration) {
		f.Helper()
		if err := f.rdb.HSet(f.Context(), keys.Default.Snapshot(p.ID), "unknown_at",
			time.Now().Add(-d).UnixMilli()).Err(); err != nil {
			f.Fatal(err)
		}
	}
	within := func(f fixture, in ledger.Intent, least, most time.Duration) {
		f.Helper()
		if in.Verdict != ledger.Wait || in.Wait < least || in.Wait > most {
			f.Errorf("%+v, want to wait %s to %s", in, least, most)
		}
	}

	t.Run("runs from the outcome, and then it is sent again and counted", func(t *testing.T) {
		f := waiting(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		within(f, f.begin(row(1), "y"), 110*time.Second, 2*time.Minute)
		ago(f, row(1), 119*time.Second)
		within(f, f.begin(row(1), "y"), 0, time.Second)
		ago(f, row(1), 2*time.Minute)
		f.verdict(row(1), "y", ledger.Send)
		f.outcome(row(1), 2, accepted("t2"))
		if s, b := f.record(row(1)), f.batch(); s.PossibleDuplicates != 1 || b.PossibleDuplicates != 1 {
			t.Errorf("%+v, %+v", s, b)
		}
	})

	t.Run("runs from the request where the worker has died, which counts as a failure with a reason", func(t *testing.T) {
		f := waiting(t)
		f.begin(row(1), "x")
		f.rdb.HSet(t.Context(), keys.Default.Snapshot(row(1).ID), "sent_at", time.Now().Add(-time.Minute).UnixMilli())
		within(f, f.begin(row(1), "y"), 55*time.Second, time.Minute)
		if s := f.record(row(1)); s.State != ledger.Unknown || s.Code != "ClientError.WorkerLost" {
			t.Errorf("%+v", s)
		}
		ago(f, row(1), 2*time.Minute)
		if in := f.begin(row(1), "y"); in.Verdict != ledger.Send || in.Failures != 1 {
			t.Errorf("%+v", in)
		}
	})

	t.Run("of the last attempt allowed ends as a failure, and no request is sent", func(t *testing.T) {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{Grace: 2 * time.Minute, Attempts: 1, Retention: time.Hour})
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.verdict(row(1), "y", ledger.Wait)
		ago(f, row(1), 2*time.Minute)
		f.verdict(row(1), "y", ledger.Done)
		s := f.record(row(1))
		if s.State != ledger.Failed || s.Attempts != 1 || s.PossibleDuplicates != 0 ||
			s.Code != "InternalError" || s.Message != "attempts used up, a task may exist: m" {
			t.Errorf("%+v", s)
		}
		f.counts(ledger.Batch{Total: 1, Failed: 1})
		f.callBack(row(1), 1, "t1") // too late
		if s := f.record(row(1)); s.State != ledger.Failed || s.ExtraTasks[1] != "t1" {
			t.Errorf("%+v", s)
		}
	})

	t.Run("is not cut short by canceling and retrying", func(t *testing.T) {
		f := waiting(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.cancel(row(1))
		f.retry(row(1))
		within(f, f.begin(row(1), "y"), 110*time.Second, 2*time.Minute)
	})

	t.Run("is over for a request that was throttled", func(t *testing.T) {
		f := waiting(t)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		ago(f, row(1), 2*time.Minute)
		f.begin(row(1), "y")
		f.outcome(row(1), 2, throttled)
		f.verdict(row(1), "z", ledger.Send)
	})
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

func TestDiscardReportedTask(t *testing.T) {
	// asking returns a snapshot of unknown outcome that a worker polls. Its callback has
	// named a task that does not exist.
	asking := func(t *testing.T) (fixture, ledger.Snapshot) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, unknown)
		f.callBack(row(1), 1, "lie")
		due := f.due()
		if len(due) != 1 || due[0].ReportedTasks[1] != "lie" {
			t.Fatalf("due: %+v", due)
		}
		return f, due[0]
	}

	t.Run("ends the asking", func(t *testing.T) {
		f, s := asking(t)
		f.discard(s)
		if f.in(keys.Default.Confirm(), row(1)) || len(f.record(row(1)).ReportedTasks) != 0 ||
			!f.in(keys.Default.Open(), row(1)) {
			t.Errorf("%+v", f.record(row(1)))
		}
	})

	t.Run("does not lose a task that was accepted meanwhile", func(t *testing.T) {
		f, s := asking(t)
		f.outcome(row(1), 1, accepted("t1"))
		f.discard(s)
		if !f.in(keys.Default.Confirm(), row(1)) {
			t.Error("nobody will ask about the accepted task")
		}
	})

	t.Run("does not lose a task that was named meanwhile", func(t *testing.T) {
		f, s := asking(t)
		f.callBack(row(1), 1, "t1")
		f.discard(s)
		if got := f.record(row(1)).ReportedTasks[1]; got != "t1" || !f.in(keys.Default.Confirm(), row(1)) {
			t.Errorf("told %q", got)
		}
	})
}

func TestUntrack(t *testing.T) {
	untrack := func(f fixture, p tasks.SnapshotPayload) {
		if err := f.Untrack(f.Context(), p.ID); err != nil {
			f.Fatal(err)
		}
	}

	t.Run("removes what has no record", func(t *testing.T) {
		f := setup(t, 1)
		for _, set := range []string{keys.Default.Open(), keys.Default.Confirm()} {
			f.rdb.ZAdd(t.Context(), set, redis.Z{Score: 1, Member: row(1).ID})
		}
		untrack(f, row(1))
		if f.in(keys.Default.Open(), row(1)) || f.in(keys.Default.Confirm(), row(1)) {
			t.Error("it is still in progress")
		}
	})

	t.Run("leaves an accepted snapshot to be asked about", func(t *testing.T) {
		f := setup(t, 1)
		f.begin(row(1), "x")
		f.outcome(row(1), 1, accepted("t1"))
		untrack(f, row(1))
		if !f.in(keys.Default.Confirm(), row(1)) {
			t.Error("nobody will ask about it")
		}
	})

	t.Run("leaves alone what was retried meanwhile", func(t *testing.T) {
		f := setup(t, 1)
		single := tasks.SnapshotPayload{ID: "s-1", Room: tasks.Room{SdkAppId: 1, RoomId: 7}}
		f.fail(single, "InvalidParameter")
		f.retry(single)
		untrack(f, single)
		if !f.in(keys.Default.Open(), single) {
			t.Error("the sweeper will not look after it")
		}
	})
}

// If Tencent calls tiwsnap, tiwsnap calls the CallbackURL of a room.
func TestRelay(t *testing.T) {
	relaying := func(t *testing.T) (f fixture, p tasks.SnapshotPayload) {
		f = setup(t, 2)
		f.Ledger = ledger.New(f.rdb, ledger.Options{
			Busy: 10 * time.Second, Retention: time.Hour, ConfirmAfter: time.Nanosecond, Relay: true,
		})
		p = row(1)
		p.Room.CallbackURL = "https://example.com/cb"
		return f, p
	}
	t.Run("makes a notice of each end, but of no cancel and of no other room", func(t *testing.T) {
		for name, test := range map[string]struct {
			end  func(f fixture, p tasks.SnapshotPayload)
			want int
		}{
			"succeeded": {func(f fixture, p tasks.SnapshotPayload) {
				f.begin(p, "x")
				f.outcome(p, 1, accepted("t1"))
				f.settle(p, "t1", ledger.Succeeded)
			}, 1},
			"refused": {func(f fixture, p tasks.SnapshotPayload) { f.fail(p, "InvalidParameter") }, 1},
			"canceled": {func(f fixture, p tasks.SnapshotPayload) {
				f.begin(p, "x")
				f.cancel(p)
				f.outcome(p, 1, throttled)
			}, 0},
		} {
			f, p := relaying(t)
			test.end(f, p)
			test.end(f, row(2))
			want := map[string]int{}
			if test.want > 0 {
				want["callback b.1"] = 1
			}
			if diff := cmp.Diff(want, told(f.notices())); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})

	t.Run("makes one, whoever writes the end", func(t *testing.T) {
		f, p := relaying(t)
		f.begin(p, "x")
		f.Ledger = ledger.New(f.rdb, ledger.Options{})
		f.outcome(p, 1, accepted("t1"))
		f.settle(p, "t1", ledger.Failed)
		if n := told(f.notices())["callback b.1"]; n != 1 {
			t.Errorf("%d notices", n)
		}
	})

	t.Run("makes none where Tencent was given the room's", func(t *testing.T) {
		f, p := relaying(t)
		f.Ledger = ledger.New(f.rdb, ledger.Options{})
		f.fail(p, "InvalidParameter")
		if notices := f.notices(); len(notices) > 0 {
			t.Errorf("%+v", notices)
		}
	})

	t.Run("keeps the whole body of the callback of the task", func(t *testing.T) {
		f, p := relaying(t)
		body := `{"TaskID":"t2","Pad":"` + strings.Repeat("x", 20<<10) + `"}`
		f.begin(p, "x")
		f.outcome(p, 1, throttled)
		f.begin(p, "y")
		f.outcome(p, 2, accepted("t2"))
		for attempt, body := range map[int]string{1: "{}", 2: body} {
			if err := f.Callback(t.Context(), p.ID, attempt, "", []byte(body)); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.record(p).Callback; got != body {
			t.Errorf("%d bytes, want %d", len(got), len(body))
		}
	})
}

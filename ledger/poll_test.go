package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
)

// accept begins the rows 1 to n and accepts each with its own task.
func (f fixture) accept(n int) {
	f.Helper()
	for i := 1; i <= n; i++ {
		f.begin(row(i), "a")
		f.outcome(row(i), 1, accepted("t"+row(i).ID))
	}
}

// at sets the next poll and the early poll of a row, relative to now. With early 0 the
// row is not polled early.
func (f fixture) at(n int, due, early time.Duration) {
	f.Helper()
	f.rdb.ZAdd(f.Context(), keys.Default.Confirm(), redis.Z{
		Score: float64(time.Now().Add(due).UnixMilli()), Member: row(n).ID,
	})
	f.rdb.ZRem(f.Context(), keys.Default.Early(), row(n).ID)
	if early != 0 {
		f.rdb.ZAdd(f.Context(), keys.Default.Early(), redis.Z{
			Score: float64(time.Now().Add(early).UnixMilli()), Member: row(n).ID,
		})
	}
}

// polls polls for at most n rows and returns their ids, due and early.
func (f fixture) polls(n int) (due, early []string, p ledger.Polls) {
	f.Helper()
	p, err := f.Poll(f.Context(), "me", 1, n)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range p.Due {
		due = append(due, s.ID)
	}
	for _, s := range p.Early {
		early = append(early, s.ID)
	}
	return due, early, p
}

func ids(rows ...int) (all []string) {
	for _, n := range rows {
		all = append(all, row(n).ID)
	}
	return all
}

func TestPoll(t *testing.T) {
	check := func(t *testing.T, what string, want, got []string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	t.Run("hands out what is due, the earliest first, before what may come early", func(t *testing.T) {
		f := setup(t, 5)
		f.accept(5)
		f.at(1, -time.Second, -time.Hour)
		f.at(2, -time.Minute, 0)
		f.at(3, time.Hour, -time.Second)
		f.at(4, time.Hour, -time.Minute)
		f.at(5, time.Hour, time.Hour)
		due, early, p := f.polls(3)
		check(t, "due", ids(2, 1), due)
		check(t, "early", ids(4), early)
		if p.Next != 0 || time.Since(p.Now).Abs() > time.Minute {
			t.Errorf("next in %s, at %s", p.Next, p.Now)
		}
		due, early, p = f.polls(3)
		check(t, "then due", nil, due)
		check(t, "then early", ids(3), early)
		if p.Next < time.Second || p.Next > 2*time.Second {
			t.Errorf("next in %s, want the two seconds after which those without an answer may be polled early", p.Next)
		}
	})

	t.Run("takes nothing early before its first poll", func(t *testing.T) {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{ConfirmAfter: 30 * time.Second})
		f.accept(1)
		due, early, p := f.polls(9)
		if len(due)+len(early) != 0 || p.Next < 25*time.Second || p.Next > 30*time.Second {
			t.Errorf("%v, %v, next in %s", due, early, p.Next)
		}
	})

	t.Run("hands out again what had no answer, early after 2 s and due after 30", func(t *testing.T) {
		f := setup(t, 1)
		f.accept(1)
		f.polls(9)
		for set, want := range map[string]time.Duration{keys.Default.Confirm(): 30 * time.Second,
			keys.Default.Early(): 2 * time.Second} {
			left := time.Until(time.UnixMilli(int64(f.rdb.ZScore(t.Context(), set, row(1).ID).Val())))
			if left > want || left < want-2*time.Second {
				t.Errorf("%s: again in %s, want %s", set, left, want)
			}
		}
	})

	t.Run("says that nothing waits, and forgets what has ended", func(t *testing.T) {
		f := setup(t, 2)
		f.accept(2)
		f.at(1, -time.Second, -time.Second)
		f.settle(row(1), "t"+row(1).ID, ledger.Succeeded)
		f.at(2, time.Hour, -time.Second)
		f.rdb.ZRem(t.Context(), keys.Default.Confirm(), row(2).ID) // its end was written by an older release
		f.polls(9)
		if _, _, p := f.polls(9); p.Next >= 0 {
			t.Errorf("next in %s", p.Next)
		}
		if n := f.rdb.Exists(t.Context(), keys.Default.Early()).Val(); n != 0 {
			t.Error("what may be polled early is never forgotten")
		}
	})
}

func TestPostpone(t *testing.T) {
	postpone := func(f fixture, p ledger.Postponement) ledger.Snapshot {
		f.Helper()
		p.ID = row(1).ID
		if err := f.PostponeAll(f.Context(), []ledger.Postponement{p})[0]; err != nil {
			f.Fatal(err)
		}
		return f.record(row(1))
	}
	t.Run("counts answers of a kind as long as they come in a row", func(t *testing.T) {
		f := setup(t, 1)
		f.accept(1)
		for i, step := range []struct {
			answer, kind ledger.Answer
			count        int
		}{
			{ledger.Running, "", 0},
			{ledger.Refused, ledger.Refused, 1},
			{ledger.NoAnswer, ledger.Refused, 1},
			{ledger.Refused, ledger.Refused, 2},
			{ledger.Odd, ledger.Odd, 1},
			{ledger.Odd, ledger.Odd, 2},
			{ledger.Running, "", 0},
			{ledger.Refused, ledger.Refused, 1},
		} {
			s := postpone(f, ledger.Postponement{Wait: time.Minute, Answer: step.answer})
			if s.Answer != step.kind || s.Answers != step.count || s.AnswersSince.IsZero() != (step.count == 0) {
				t.Errorf("after answer %d, %q: %q, %d in a row since %s", i, step.answer, s.Answer, s.Answers, s.AnswersSince)
			}
		}
		first := f.record(row(1)).AnswersSince
		if s := postpone(f, ledger.Postponement{Answer: ledger.Refused}); !s.AnswersSince.Equal(first) {
			t.Errorf("in a row since %s, then since %s", first, s.AnswersSince)
		}
	})
	t.Run("lets it be polled early, or not", func(t *testing.T) {
		f := setup(t, 1)
		f.accept(1)
		postpone(f, ledger.Postponement{Wait: time.Hour, Early: time.Millisecond})
		f.at(1, time.Hour, -time.Millisecond)
		if _, early, _ := f.polls(9); len(early) != 1 {
			t.Errorf("early: %v", early)
		}
		postpone(f, ledger.Postponement{Wait: time.Hour})
		if f.in(keys.Default.Early(), row(1)) {
			t.Error("it may still be polled early")
		}
	})
	t.Run("brings back nothing that has ended", func(t *testing.T) {
		f := setup(t, 1)
		f.accept(1)
		f.settle(row(1), "t"+row(1).ID, ledger.Succeeded)
		s := postpone(f, ledger.Postponement{Wait: time.Hour, Early: time.Hour, Answer: ledger.Refused})
		if s.Answers != 0 || f.in(keys.Default.Confirm(), row(1)) || f.in(keys.Default.Early(), row(1)) {
			t.Errorf("it is polled again: %+v", s)
		}
	})
}

func TestClaimTask(t *testing.T) {
	// named gives row n an unknown outcome and a callback that names a task.
	named := func(f fixture, n int, task string) {
		f.begin(row(n), "x")
		f.outcome(row(n), 1, unknown)
		f.callBack(row(n), 1, task)
	}
	t.Run("refuses a task that is another snapshot's", func(t *testing.T) {
		f := setup(t, 2)
		f.accept(1)
		task := "t" + row(1).ID
		named(f, 2, task)
		before := f.record(row(2))
		if err := f.confirmed(row(2), 1, task); !errors.Is(err, ledger.ErrTaken) {
			t.Errorf("accepted: %v", err)
		}
		if diff := cmp.Diff(before, f.record(row(2))); diff != "" {
			t.Errorf("the record has changed: %s", diff)
		}
		f.discard(before)
		if in := f.begin(row(2), "y"); in.Verdict != ledger.Send {
			t.Errorf("begun again: %+v", in)
		}
	})
	t.Run("refuses it also after its snapshot has ended, and one that was claimed", func(t *testing.T) {
		f := setup(t, 3)
		named(f, 1, "t1")
		if err := f.confirmed(row(1), 1, "t1"); err != nil {
			t.Fatal(err)
		}
		f.settle(row(1), "t1", ledger.Succeeded)
		named(f, 2, "t1")
		if err := f.confirmed(row(2), 1, "t1"); !errors.Is(err, ledger.ErrTaken) {
			t.Errorf("accepted: %v", err)
		}
	})
	t.Run("twice is once, and then the answer comes, too", func(t *testing.T) {
		f := setup(t, 1)
		named(f, 1, "t1")
		for range 2 {
			if err := f.confirmed(row(1), 1, "t1"); err != nil {
				t.Error(err)
			}
		}
		f.outcome(row(1), 1, accepted("t1"))
		if s := f.record(row(1)); s.State != ledger.Accepted || s.TaskID != "t1" || s.PossibleDuplicates != 0 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("an answer is believed, whosever the task was", func(t *testing.T) {
		f := setup(t, 2)
		f.accept(1)
		f.begin(row(2), "x")
		f.outcome(row(2), 1, accepted("t"+row(1).ID)) // Tencent has returned the same task twice
		if s := f.record(row(2)); s.State != ledger.Accepted {
			t.Errorf("%+v", s)
		}
	})
	t.Run("what it rests on expires with the records", func(t *testing.T) {
		f := setup(t, 20)
		f.accept(20)
		all, err := f.rdb.Keys(t.Context(), "{tiwsnap}:"+"index:*").Result()
		if err != nil || len(all) == 0 {
			t.Fatalf("%d keys, %v", len(all), err)
		}
		for _, key := range all {
			if ttl := f.rdb.TTL(t.Context(), key).Val(); ttl < time.Hour || ttl > 50*time.Hour {
				t.Fatalf("%s expires in %s, the records are kept for an hour", key, ttl)
			}
		}
	})
}

func TestResultsWithoutImages(t *testing.T) {
	f := setup(t, 4)
	f.accept(4)
	settle := func(n int, r ledger.Result) ledger.Snapshot {
		t.Helper()
		if err := f.Settle(t.Context(), row(n).ID, "t"+row(n).ID, r); err != nil {
			t.Fatal(err)
		}
		return f.record(row(n))
	}
	if s := settle(1, ledger.Result{State: ledger.Succeeded, Code: "c", Total: new(0)}); len(s.Images) != 0 ||
		s.Total != nil || s.Code != "c" {
		t.Errorf("without images: %+v", s)
	}
	if s := settle(2,
		ledger.Result{State: ledger.Succeeded, Images: []string{"u", "v"}, Total: new(5)}); len(s.Images) != 2 ||
		s.Total == nil || *s.Total != 5 {
		t.Errorf("with fewer than counted: %+v", s)
	}
	if s := settle(3,
		ledger.Result{State: ledger.Failed, Code: "InternalErr", Images: []string{"w"},
			Total: new(1)}); len(s.Images) != 1 || s.Total != nil {
		t.Errorf("failed with images: %+v", s)
	}
	b := f.batch()
	if b.Succeeded != 2 || b.NoImage != 1 || b.Images != 3 || b.MissingImages != 3 || b.Failed != 1 {
		t.Errorf("the batch: %+v", b)
	}
	totals := f.rdb.HGetAll(t.Context(), keys.Default.Totals()).Val()
	if totals["no_image"] != "1" || totals["missing_images"] != "3" || totals["images"] != "3" {
		t.Errorf("the totals: %v", totals)
	}

	// After a retry the images of the failure stay until there are new ones.
	for i, step := range []struct {
		result ledger.Result
		images []string
	}{
		{ledger.Result{State: ledger.Failed, Code: "InternalErr"}, []string{"w"}},
		{ledger.Result{State: ledger.Succeeded, Images: []string{"x", "y"}}, []string{"x", "y"}},
	} {
		f.retry(row(3))
		in := f.begin(row(3), "again")
		task := row(3).ID + string(rune('a'+i))
		f.outcome(row(3), in.Attempt, accepted(task))
		if err := f.Settle(t.Context(), row(3).ID, task, step.result); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.images, f.record(row(3)).Images); diff != "" {
			t.Errorf("images: %s", diff)
		}
		if n := f.batch().Images; n != 2+len(step.images) {
			t.Errorf("%d images in the batch, want %d", n, 2+len(step.images))
		}
	}
}

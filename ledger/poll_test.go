package ledger_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
)

// setPolls sets the next poll and the early poll of a row, relative to now. With early 0 the row is not polled early.
func (f fixture) setPolls(n int, due, early time.Duration) {
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
	t.Run("returns due snapshots, earliest first, before early ones", func(t *testing.T) {
		f := setup(t, 5)
		f.accept(5)
		f.setPolls(1, -time.Second, -time.Hour)
		f.setPolls(2, -time.Minute, 0)
		f.setPolls(3, time.Hour, -time.Second)
		f.setPolls(4, time.Hour, -time.Minute)
		f.setPolls(5, time.Hour, time.Hour)
		due, early, p := f.polls(3)
		check(t, "due", ids(2, 1), due)
		check(t, "early", ids(4), early)
		if p.Next != 0 || time.Since(p.Now).Abs() > time.Minute {
			t.Errorf("Next = %s, Now = %s, want 0 and the current time", p.Next, p.Now)
		}
		due, early, p = f.polls(3)
		check(t, "second Poll(): due", nil, due)
		check(t, "second Poll(): early", ids(3), early)
		if p.Next < time.Second || p.Next > 2*time.Second {
			t.Errorf("Next = %s, want the 2 s until a snapshot without an answer may be polled early", p.Next)
		}
	})

	t.Run("returns nothing early before its first poll", func(t *testing.T) {
		f := setup(t, 1)
		f.Ledger = ledger.New(f.rdb, ledger.Options{ConfirmAfter: 30 * time.Second})
		f.accept(1)
		due, early, p := f.polls(9)
		if len(due)+len(early) != 0 || p.Next < 25*time.Second || p.Next > 30*time.Second {
			t.Errorf("due = %v, early = %v, Next = %s, want none and 25 to 30 s", due, early, p.Next)
		}
	})

	t.Run("returns a snapshot without an answer again, early after 2 s and due after 30 s", func(t *testing.T) {
		f := setup(t, 1)
		f.accept(1)
		f.polls(9)
		for set, want := range map[string]time.Duration{keys.Default.Confirm(): 30 * time.Second,
			keys.Default.Early(): 2 * time.Second} {
			left := time.Until(time.UnixMilli(int64(f.rdb.ZScore(t.Context(), set, row(1).ID).Val())))
			if left > want || left < want-2*time.Second {
				t.Errorf("%s: next poll in %s, want %s", set, left, want)
			}
		}
	})

	t.Run("returns Next < 0 if nothing waits, and removes what has ended", func(t *testing.T) {
		f := setup(t, 2)
		f.accept(2)
		f.setPolls(1, -time.Second, -time.Second)
		f.settle(row(1), "t"+row(1).ID, ledger.Succeeded)
		f.setPolls(2, time.Hour, -time.Second)
		f.rdb.ZRem(t.Context(), keys.Default.Confirm(), row(2).ID) // its end was written by an older release
		f.polls(9)
		if _, _, p := f.polls(9); p.Next >= 0 {
			t.Errorf("Next = %s, want < 0", p.Next)
		}
		if n := f.rdb.Exists(t.Context(), keys.Default.Early()).Val(); n != 0 {
			t.Error("the set of early polls is not empty")
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
	t.Run("counts consecutive answers of the same kind", func(t *testing.T) {
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
				t.Errorf("after answer %d, %q: Answer = %q, %d in a row since %s", i, step.answer, s.Answer, s.Answers,
					s.AnswersSince)
			}
		}
		first := f.record(row(1)).AnswersSince
		if s := postpone(f, ledger.Postponement{Answer: ledger.Refused}); !s.AnswersSince.Equal(first) {
			t.Errorf("AnswersSince = %s, want %s", s.AnswersSince, first)
		}
	})
	t.Run("allows early polls, or not", func(t *testing.T) {
		f := setup(t, 1)
		f.accept(1)
		postpone(f, ledger.Postponement{Wait: time.Hour, Early: time.Millisecond})
		f.setPolls(1, time.Hour, -time.Millisecond)
		if _, early, _ := f.polls(9); len(early) != 1 {
			t.Errorf("early = %v, want one", early)
		}
		postpone(f, ledger.Postponement{Wait: time.Hour})
		if f.inSet(keys.Default.Early(), row(1)) {
			t.Error("the snapshot is still in the set of early polls")
		}
	})
	t.Run("ignores a snapshot that has ended", func(t *testing.T) {
		f := setup(t, 1)
		f.accept(1)
		f.settle(row(1), "t"+row(1).ID, ledger.Succeeded)
		s := postpone(f, ledger.Postponement{Wait: time.Hour, Early: time.Hour, Answer: ledger.Refused})
		if s.Answers != 0 || f.inSet(keys.Default.Confirm(), row(1)) || f.inSet(keys.Default.Early(), row(1)) {
			t.Errorf("the ended snapshot is polled again: %+v", s)
		}
	})
}

// maxTurn is the longest Standby.
const maxTurn = 10 * time.Second

// pollOne polls for one snapshot. One owner at a time may poll.
func (f fixture) pollOne(owner string) ledger.Polls {
	f.Helper()
	p, err := f.Poll(f.Context(), owner, 1, 1)
	if err != nil {
		f.Fatal(err)
	}
	if p.Standby < 0 || p.Standby > maxTurn {
		f.Errorf("Poll(%q).Standby = %s, want 0 to %s", owner, p.Standby, maxTurn)
	}
	return p
}

func TestTurnsOfPollers(t *testing.T) {
	inBubble := func(name string, rows int, test func(f fixture)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(setupOn(t, redistest.InBubble(t), rows)) })
		})
	}
	// countPolls polls as 15 owners for 10 s, each in its turn, and calls each in every step. It
	// checks that the owners in total poll at most that many times a second.
	countPolls := func(f fixture, times int, each func()) {
		f.Helper()
		const owners, seconds = 15, 10
		var next [owners]time.Time
		polls := 0
		for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			each()
			for i := range next {
				if time.Now().Before(next[i]) {
					continue
				}
				polls++
				next[i] = time.Now().Add(f.pollOne(fmt.Sprint("owner ", i)).Standby)
			}
		}
		if limit := owners + times*seconds + 1; polls > limit || polls < limit/2 {
			f.Errorf("%d polls in %d s, want at most %d", polls, seconds, limit)
		}
	}

	inBubble("come ten times a second in total while nothing waits", 1, func(f fixture) {
		countPolls(f, 10, func() {})
	})

	inBubble("come four times a second in total while another owner polls", 3, func(f fixture) {
		f.accept(3)
		f.setPolls(1, -time.Second, -time.Hour)
		f.setPolls(2, time.Hour, time.Hour)
		f.setPolls(3, time.Hour, time.Hour)
		if p := f.pollOne("poller"); len(p.Due) != 1 || p.Standby != 0 {
			f.Fatalf("first Poll() = %+v, want one due", p)
		}
		countPolls(f, 4, func() { f.pollOne("poller") })
	})

	inBubble("come in time for the last of many owners", 3, func(f fixture) {
		f.accept(3)
		f.setPolls(1, -time.Second, -time.Hour)
		f.setPolls(2, -time.Minute, -time.Hour)
		f.setPolls(3, -time.Hour, -time.Hour)
		f.pollOne("poller")
		var p ledger.Polls
		for i := range 110 {
			p = f.pollOne(fmt.Sprint("owner ", i))
		}
		if p.Standby < maxTurn-time.Second {
			f.Errorf("Standby of the last of 110 owners = %s, want about %s", p.Standby, maxTurn)
		}
		time.Sleep(p.Standby)
		if p = f.pollOne("owner 109"); len(p.Due) != 1 {
			f.Errorf("Poll() in its turn = %+v, want one due", p)
		}
	})

	inBubble("are not needed if two owners may poll", 2, func(f fixture) {
		f.accept(2)
		f.setPolls(1, -time.Second, -time.Hour)
		f.setPolls(2, -time.Minute, -time.Hour)
		f.pollOne("a")
		if p, err := f.Poll(f.Context(), "b", 2, 1); err != nil || len(p.Due) != 1 {
			f.Errorf("Poll() of the second owner = %+v, %v, want one due", p, err)
		}
	})
}

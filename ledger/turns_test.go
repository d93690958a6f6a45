package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"tiwsnap/internal/needs"
	"tiwsnap/ledger"
)

// turnMost is how long an owner waits for its turn at most.
const turnMost = 10 * time.Second

// ask lets an owner look for one snapshot to poll, while one of them may.
func (f fixture) ask(owner string) ledger.Polls {
	f.Helper()
	p, err := f.Poll(f.Context(), owner, 1, 1)
	if err != nil {
		f.Fatal(err)
	}
	if p.Standby < 0 || p.Standby > turnMost {
		f.Errorf("%s is to wait for %s", owner, p.Standby)
	}
	return p
}

func TestTurnsOfPollers(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	looks := func(f fixture, each func()) (n int, took time.Duration) {
		f.Helper()
		now := func() time.Time {
			now, err := f.rdb.Time(f.Context()).Result()
			if err != nil {
				f.Fatal(err)
			}
			return now
		}
		began, next := now(), make([]time.Time, 15)
		for now().Sub(began) < 2*time.Second {
			each()
			for i := range next {
				if time.Now().Before(next[i]) {
					continue
				}
				n++
				next[i] = time.Now().Add(f.ask(fmt.Sprint("owner ", i)).Standby)
			}
			time.Sleep(10 * time.Millisecond)
		}
		return n, now().Sub(began)
	}

	t.Run("come ten times a second, of all together, while nothing waits", func(t *testing.T) {
		t.Parallel()
		f := setup(t, 1)
		n, took := looks(f, func() {})
		if most := 15 + int(10*took.Seconds()) + 1; n > most {
			t.Errorf("%d looks in %s, want %d at most", n, took, most)
		}
	})

	t.Run("come not more often while somebody polls", func(t *testing.T) {
		t.Parallel()
		f := setup(t, 3)
		f.accept(3)
		f.at(1, -time.Second, -time.Hour)
		f.at(2, time.Hour, time.Hour)
		f.at(3, time.Hour, time.Hour)
		if p := f.ask("poller"); len(p.Due) != 1 || p.Standby != 0 {
			t.Fatalf("the first who asks is given %+v", p)
		}
		n, took := looks(f, func() { f.ask("poller") })
		if most := 15 + int(10*took.Seconds()) + 1; n > most {
			t.Errorf("%d looks in %s, want %d at most", n, took, most)
		}
	})

	t.Run("come in time for the last who is left of many", func(t *testing.T) {
		t.Parallel()
		f := setup(t, 3)
		f.accept(3)
		f.at(1, -time.Second, -time.Hour)
		f.at(2, -time.Minute, -time.Hour)
		f.at(3, -time.Hour, -time.Hour)
		f.ask("poller")
		var p ledger.Polls
		for i := range 110 {
			p = f.ask(fmt.Sprint("owner ", i))
		}
		if p.Standby < turnMost-time.Second {
			t.Errorf("the last of 110 is to look after %s", p.Standby)
		}
		time.Sleep(p.Standby)
		if p = f.ask("owner 109"); len(p.Due) != 1 {
			t.Errorf("in its turn it is given %+v", p)
		}
	})

	t.Run("are over at once where more may poll", func(t *testing.T) {
		t.Parallel()
		f := setup(t, 2)
		f.accept(2)
		f.at(1, -time.Second, -time.Hour)
		f.at(2, -time.Minute, -time.Hour)
		f.ask("a")
		if p, err := f.Poll(t.Context(), "b", 2, 1); err != nil || len(p.Due) != 1 {
			t.Errorf("a second one is given %+v, %v", p, err)
		}
	})
}

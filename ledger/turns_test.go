package ledger_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
)

// turnMost is the longest time that an owner waits for its turn.
const turnMost = 10 * time.Second

// ask polls for one snapshot as an owner, while one owner at a time may poll.
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
	inBubble := func(name string, rows int, test func(f fixture)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(setupOn(t, redistest.InBubble(t), rows)) })
		})
	}
	// rare polls as 15 owners for 10 s, each in its turn, and calls each in every step. It checks that in total the
	// owners poll at most that many times a second.
	rare := func(f fixture, times int, each func()) {
		f.Helper()
		const owners, seconds = 15, 10
		var next [owners]time.Time
		asked := 0
		for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			each()
			for i := range next {
				if time.Now().Before(next[i]) {
					continue
				}
				asked++
				next[i] = time.Now().Add(f.ask(fmt.Sprint("owner ", i)).Standby)
			}
		}
		if most := owners + times*seconds + 1; asked > most || asked < most/2 {
			f.Errorf("they asked %d times in %d s, want %d at most", asked, seconds, most)
		}
	}

	inBubble("come ten times a second, of all together, while nothing waits", 1, func(f fixture) {
		rare(f, 10, func() {})
	})

	inBubble("come four times a second while somebody polls", 3, func(f fixture) {
		f.accept(3)
		f.at(1, -time.Second, -time.Hour)
		f.at(2, time.Hour, time.Hour)
		f.at(3, time.Hour, time.Hour)
		if p := f.ask("poller"); len(p.Due) != 1 || p.Standby != 0 {
			f.Fatalf("the first who asks is given %+v", p)
		}
		rare(f, 4, func() { f.ask("poller") })
	})

	inBubble("come in time for the last who is left of many", 3, func(f fixture) {
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
			f.Errorf("the last of 110 is to look after %s", p.Standby)
		}
		time.Sleep(p.Standby)
		if p = f.ask("owner 109"); len(p.Due) != 1 {
			f.Errorf("in its turn it is given %+v", p)
		}
	})

	inBubble("are over at once where more may poll", 2, func(f fixture) {
		f.accept(2)
		f.at(1, -time.Second, -time.Hour)
		f.at(2, -time.Minute, -time.Hour)
		f.ask("a")
		if p, err := f.Poll(f.Context(), "b", 2, 1); err != nil || len(p.Due) != 1 {
			f.Errorf("a second one is given %+v, %v", p, err)
		}
	})
}

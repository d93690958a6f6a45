package lease_test

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"tiwsnap/internal/lease"
	"tiwsnap/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Both(m).Run()) }

func TestLease(t *testing.T) {
	c := redistest.Client(t)
	of := func(what, owner string) *lease.Lease {
		return &lease.Lease{Redis: c, Name: what, Owner: owner, Duration: time.Hour}
	}
	take := func(l *lease.Lease) (bool, time.Duration) {
		t.Helper()
		held, turn, err := l.Acquire(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		if turn < 0 || turn > 10*time.Second || held && turn > 0 {
			t.Errorf("%s holds one: %t; its turn is in %s", l.Owner, held, turn)
		}
		return held, turn
	}

	t.Run("is held by at most n owners until one leaves", func(t *testing.T) {
		a := of("work", "a")
		for _, l := range []*lease.Lease{a, of("work", "b"), a} {
			if held, _ := take(l); !held {
				t.Fatalf("%s has none of two", l.Owner)
			}
		}
		if held, _ := take(of("work", "c")); held {
			t.Error("three have one of two")
		}
		if held, _ := take(of("other work", "c")); !held {
			t.Error("what others do keeps nobody from this")
		}
		if err := a.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if held, _ := take(of("work", "c")); !held {
			t.Error("nobody gets a lease that was given back")
		}
		if held, _ := take(a); held {
			t.Error("who has left holds one still")
		}
	})

	t.Run("has turns 100 ms apart and at most ten seconds away", func(t *testing.T) {
		var turn time.Duration
		for i := range 20 {
			_, turn = take(of("work", fmt.Sprint("other ", i)))
		}
		if turn < time.Second {
			t.Errorf("the 20th asks again after %s", turn)
		}
		for i := range 120 {
			_, turn = take(of("work", fmt.Sprint("another ", i)))
		}
		if turn < 9*time.Second {
			t.Errorf("the 140th asks again after %s", turn)
		}
	})
}

func TestLeaseExpires(t *testing.T) {
	take := func(t *testing.T, l *lease.Lease, n int) bool {
		t.Helper()
		held, _, err := l.Acquire(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}

	t.Run("is not renewed where n is smaller now", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := redistest.InBubble(t)
			a := &lease.Lease{Redis: c, Name: "work", Owner: "a", Duration: 2 * time.Second}
			b := &lease.Lease{Redis: c, Name: "work", Owner: "b", Duration: 2 * time.Second}
			take(t, a, 2)
			take(t, b, 2)
			time.Sleep(999 * time.Millisecond)
			if !take(t, a, 1) {
				t.Error("a has asked Redis before half of its time")
			}
			time.Sleep(time.Millisecond)
			if take(t, a, 1) || !take(t, b, 1) {
				t.Error("of two both or none stay where one is wanted")
			}
		})
	})

	t.Run("expires where its owner has died", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := redistest.InBubble(t)
			of := func(owner string) *lease.Lease {
				return &lease.Lease{Redis: c, Name: "work", Owner: owner, Duration: time.Hour}
			}
			take(t, of("a"), 2)
			time.Sleep(time.Minute)
			take(t, of("b"), 2)
			time.Sleep(59*time.Minute - time.Millisecond)
			if take(t, of("c"), 2) {
				t.Error("three have one of two")
			}
			time.Sleep(time.Millisecond)
			if !take(t, of("c"), 2) {
				t.Error("nobody gets the lease of who has died")
			}
			if take(t, of("d"), 2) {
				t.Error("the lease of b has run out with that of a")
			}
		})
	})
}

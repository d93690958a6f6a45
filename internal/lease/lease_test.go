package lease_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"tiwsnap/internal/lease"
	"tiwsnap/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Both(m).Run()) }

func TestLease(t *testing.T) {
	c := redistest.Client(t)
	of := func(what, owner string, lasts time.Duration) *lease.Lease {
		return &lease.Lease{Redis: c, What: what, Owner: owner, For: lasts}
	}
	take := func(l *lease.Lease) (bool, time.Duration) {
		t.Helper()
		held, turn, err := l.Take(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		if turn < 0 || turn > 10*time.Second || held && turn > 0 {
			t.Errorf("%s holds one: %t; its turn is in %s", l.Owner, held, turn)
		}
		return held, turn
	}

	t.Run("is held by so many, and given back", func(t *testing.T) {
		a := of("work", "a", time.Hour)
		for _, l := range []*lease.Lease{a, of("work", "b", time.Hour), a} {
			if held, _ := take(l); !held {
				t.Fatalf("%s has none of two", l.Owner)
			}
		}
		if held, _ := take(of("work", "c", time.Hour)); held {
			t.Error("three have one of two")
		}
		if held, _ := take(of("other work", "c", time.Hour)); !held {
			t.Error("what others do keeps nobody from this")
		}
		if err := a.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if held, _ := take(of("work", "c", time.Hour)); !held {
			t.Error("nobody gets a lease that was given back")
		}
		if held, _ := take(a); held {
			t.Error("who has left holds one still")
		}
	})

	t.Run("is asked for by one after the other, and by each within ten seconds", func(t *testing.T) {
		var turn time.Duration
		for i := range 20 {
			_, turn = take(of("work", fmt.Sprint("other ", i), time.Hour))
		}
		if turn < time.Second {
			t.Errorf("the 20th asks again after %s", turn)
		}
		for i := range 120 {
			_, turn = take(of("work", fmt.Sprint("another ", i), time.Hour))
		}
		if turn < 9*time.Second {
			t.Errorf("the 140th asks again after %s", turn)
		}
	})

	t.Run("is given back where fewer are wanted", func(t *testing.T) {
		a, b := of("less work", "a", 2*time.Second), of("less work", "b", 2*time.Second)
		take(a)
		take(b)
		held := true
		for deadline := time.Now().Add(10 * time.Second); held && time.Now().Before(deadline); {
			var err error
			if held, _, err = a.Take(t.Context(), 1); err != nil { // it asks Redis only to renew its lease
				t.Fatal(err)
			}
			if _, _, err = b.Take(t.Context(), 2); err != nil { // b stays
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if held {
			t.Error("of two both stay where one is wanted")
		}
	})

	t.Run("runs out where its owner has died", func(t *testing.T) {
		for _, owner := range []string{"a", "b"} {
			take(of("short work", owner, 50*time.Millisecond))
		}
		l := of("short work", "c", time.Hour)
		held, _ := take(l)
		for deadline := time.Now().Add(10 * time.Second); !held && time.Now().Before(deadline); held, _ = take(l) {
			time.Sleep(10 * time.Millisecond)
		}
		if !held {
			t.Error("nobody gets the lease of who has died")
		}
	})
}

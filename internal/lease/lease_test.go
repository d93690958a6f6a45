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
	newLease := func(name, owner string) *lease.Lease {
		return &lease.Lease{Redis: c, Name: name, Owner: owner, Duration: time.Hour}
	}
	acquire := func(l *lease.Lease) (bool, time.Duration) {
		t.Helper()
		held, turn, err := l.Acquire(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		if turn < 0 || turn > 10*time.Second || held && turn > 0 {
			t.Errorf("Acquire() of %s = %t, turn in %s, want 0 to 10 s, and 0 if held", l.Owner, held, turn)
		}
		return held, turn
	}

	t.Run("at most n owners hold a lease until one releases it", func(t *testing.T) {
		a := newLease("work", "a")
		for _, l := range []*lease.Lease{a, newLease("work", "b"), a} {
			if held, _ := acquire(l); !held {
				t.Fatalf("%s does not get one of two leases", l.Owner)
			}
		}
		if held, _ := acquire(newLease("work", "c")); held {
			t.Error("three owners hold two leases")
		}
		if held, _ := acquire(newLease("other work", "c")); !held {
			t.Error("a lease of another name is not acquired")
		}
		if err := a.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if held, _ := acquire(newLease("work", "c")); !held {
			t.Error("a released lease is not acquired")
		}
		if held, _ := acquire(a); held {
			t.Error("the owner of a released lease still holds it")
		}
	})

	t.Run("turns are 100 ms apart and at most 10 s away", func(t *testing.T) {
		var turn time.Duration
		for i := range 20 {
			_, turn = acquire(newLease("work", fmt.Sprint("other ", i)))
		}
		if turn < time.Second {
			t.Errorf("the 20th owner has its turn in %s, want 1 s or more", turn)
		}
		for i := range 120 {
			_, turn = acquire(newLease("work", fmt.Sprint("another ", i)))
		}
		if turn < 9*time.Second {
			t.Errorf("the 140th owner has its turn in %s, want 9 s or more", turn)
		}
	})
}

func TestLeaseExpires(t *testing.T) {
	acquire := func(t *testing.T, l *lease.Lease, n int) bool {
		t.Helper()
		held, _, err := l.Acquire(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}

	t.Run("a lease is not renewed after n has decreased", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := redistest.InBubble(t)
			a := &lease.Lease{Redis: c, Name: "work", Owner: "a", Duration: 2 * time.Second}
			b := &lease.Lease{Redis: c, Name: "work", Owner: "b", Duration: 2 * time.Second}
			acquire(t, a, 2)
			acquire(t, b, 2)
			time.Sleep(999 * time.Millisecond)
			if !acquire(t, a, 1) {
				t.Error("a lost its lease before half of its duration")
			}
			time.Sleep(time.Millisecond)
			if acquire(t, a, 1) || !acquire(t, b, 1) {
				t.Error("a still holds its lease, or b does not")
			}
		})
	})

	t.Run("a lease expires after its owner has died", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := redistest.InBubble(t)
			newLease := func(owner string) *lease.Lease {
				return &lease.Lease{Redis: c, Name: "work", Owner: owner, Duration: time.Hour}
			}
			acquire(t, newLease("a"), 2)
			time.Sleep(time.Minute)
			acquire(t, newLease("b"), 2)
			time.Sleep(59*time.Minute - time.Millisecond)
			if acquire(t, newLease("c"), 2) {
				t.Error("three owners hold two leases")
			}
			time.Sleep(time.Millisecond)
			if !acquire(t, newLease("c"), 2) {
				t.Error("the lease of a has not expired")
			}
			if acquire(t, newLease("d"), 2) {
				t.Error("the lease of b expired with that of a")
			}
		})
	})
}

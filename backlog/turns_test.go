package backlog_test

import (
	"fmt"
	"testing"
	"time"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
)

// turnMost is how long an owner waits for its turn at most.
const turnMost = 10 * time.Second

func TestTurnsOfThoseWhoDoNotFeed(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	rdb := redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	push(t, b, "a", 1000, tasks.Room{SdkAppId: 1})
	ask := func(owner string) (ids []string, wait time.Duration) {
		t.Helper()
		ids, wait, err := b.Take(t.Context(), owner, 1)
		if err != nil {
			t.Fatal(err)
		}
		if wait < 0 || wait > turnMost {
			t.Errorf("%s is to wait for %s", owner, wait)
		}
		return ids, wait
	}
	if ids, _ := ask("feeder"); len(ids) != 1 {
		t.Fatalf("the feeder was given %v", ids)
	}

	t.Run("come ten times a second, of all together", func(t *testing.T) {
		const owners = 15
		now := func() time.Time {
			t.Helper()
			now, err := rdb.Time(t.Context()).Result()
			if err != nil {
				t.Fatal(err)
			}
			return now
		}
		began := now()
		next, looks := make([]time.Time, owners), 0
		for now().Sub(began) < 3*time.Second {
			ask("feeder") // stays it
			for i := range next {
				if time.Now().Before(next[i]) {
					continue
				}
				ids, wait := ask(fmt.Sprint("owner ", i))
				if len(ids) > 0 {
					t.Logf("%d feeds: the machine has stood still", i)
					return
				}
				looks++
				next[i] = time.Now().Add(wait)
			}
			time.Sleep(10 * time.Millisecond)
		}
		took := now().Sub(began)
		if most := owners + int(10*took.Seconds()) + 1; looks > most {
			t.Errorf("%d looks in %s, want %d at most", looks, took, most)
		}
	})

	t.Run("come in time for the last who is left of many", func(t *testing.T) {
		var wait time.Duration
		for i := range 110 {
			_, wait = ask(fmt.Sprint("another ", i))
		}
		if wait < turnMost-time.Second {
			t.Errorf("the last of 110 is to look after %s", wait)
		}
		begun(t, rdb, rdb.ZRange(t.Context(), keys.Default.InFlight(), 0, -1).Val())
		time.Sleep(wait)
		if ids, _ := ask("another 109"); len(ids) != 1 {
			t.Errorf("in its turn it was given %v", ids)
		}
	})
}

package backlog_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
)

// turnMost is the longest time that an owner waits for its turn.
const turnMost = 10 * time.Second

// Owners that do not feed call Take ten times a second in total.
func TestTurnsOfThoseWhoDoNotFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb := redistest.InBubble(t)
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

		const owners, seconds = 15, 10
		var next [owners]time.Time
		asked := 0
		for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			ask("feeder") // renews its lease
			for i := range next {
				if time.Now().Before(next[i]) {
					continue
				}
				ids, wait := ask(fmt.Sprint("owner ", i))
				if len(ids) > 0 {
					t.Fatalf("owner %d feeds, too", i)
				}
				asked++
				next[i] = time.Now().Add(wait)
			}
		}
		if most := owners + 10*seconds + 1; asked > most || asked < most/2 {
			t.Errorf("they asked %d times in %d s, want %d at most", asked, seconds, most)
		}

		// The feeder has died, and of many others one is left.
		var wait time.Duration
		for i := range 110 {
			_, wait = ask(fmt.Sprint("another ", i))
		}
		if wait < turnMost-time.Second {
			t.Errorf("the last of 110 is to ask after %s", wait)
		}
		begun(t, rdb, rdb.ZRange(t.Context(), keys.Default.InFlight(), 0, -1).Val())
		time.Sleep(wait)
		if ids, _ := ask("another 109"); len(ids) != 1 {
			t.Errorf("in its turn it was given %v", ids)
		}
	})
}

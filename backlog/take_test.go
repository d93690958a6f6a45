package backlog_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
)

func TestTake(t *testing.T) {
	t.Run("returns every room once, and at most depth rooms at a time", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		enqueue(t, b, "a", 1300, tasks.Room{SdkAppId: 1})
		seen := make(map[string]int)
		for range 100 {
			ids := take(t, b, "me", 30)
			if len(ids) > 30 {
				t.Fatalf("Take() returned %d rooms, want at most 30", len(ids))
			}
			for _, id := range ids {
				seen[id]++
			}
			if more := take(t, b, "me", 30); len(ids) == 30 && len(more) != 0 {
				t.Fatalf("Take() returned %d rooms while 30 are in flight, want none", len(more))
			}
			begin(t, rdb, ids)
		}
		if len(seen) != 1300 {
			t.Errorf("Take() returned %d different rooms, want 1300", len(seen))
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("Take() returned %s %d times, want once", id, n)
			}
		}
	})

	t.Run("serves the open batches in turn", func(t *testing.T) {
		b := backlog.New(redistest.Client(t), keys.Default)
		enqueue(t, b, "large", 1000, tasks.Room{SdkAppId: 1})
		enqueue(t, b, "small", 3, tasks.Room{SdkAppId: 1})
		enqueue(t, b, "middle", 10, tasks.Room{SdkAppId: 1})
		want := []string{
			"large.1", "small.1", "middle.1", "large.2", "small.2", "middle.2", "large.3", "small.3", "middle.3",
			"large.4", "middle.4", "large.5",
		}
		if d := cmp.Diff(want, take(t, b, "me", 12)); d != "" {
			t.Errorf("Take() (-want +got):\n%s", d)
		}
	})

	t.Run("lets one owner take at a time", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		enqueue(t, b, "a", 100, tasks.Room{SdkAppId: 1})
		if n := len(take(t, b, "one", 5)); n != 5 {
			t.Errorf("the first owner got %d rooms, want 5", n)
		}
		if ids := take(t, b, "two", 10); len(ids) != 0 {
			t.Errorf("a second owner got %v, want none", ids)
		}
		rdb.Del(t.Context(), keys.Default.Feeder()) // the lease of the first owner has expired
		if n := len(take(t, b, "two", 10)); n != 5 {
			t.Errorf("the second owner got %d rooms after the lease of the first expired, want 5", n)
		}
	})

	t.Run("lets another owner take after Leave", func(t *testing.T) {
		b := backlog.New(redistest.Client(t), keys.Default)
		enqueue(t, b, "a", 100, tasks.Room{SdkAppId: 1})
		take(t, b, "one", 5)
		for _, owner := range []string{"two", "one"} { // only the feeder can leave
			if err := b.Leave(t.Context(), owner); err != nil {
				t.Fatal(err)
			}
			if n, want := len(take(t, b, "two", 10)), map[string]int{"two": 0, "one": 5}[owner]; n != want {
				t.Errorf("after Leave(%q) the second owner got %d rooms, want %d", owner, n, want)
			}
		}
	})

	t.Run("returns the wait until the next call", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		wait := func(owner string) time.Duration {
			t.Helper()
			_, wait, err := b.Take(t.Context(), owner, 2)
			if err != nil {
				t.Fatal(err)
			}
			return wait
		}
		if d := wait("one"); d >= 0 {
			t.Errorf("without a batch: wait = %s, want < 0", d)
		}
		enqueue(t, b, "a", 3, tasks.Room{SdkAppId: 1})
		if d := wait("one"); d != 0 {
			t.Errorf("the owner, with a batch: wait = %s, want 0", d)
		}
		if d := wait("two"); d <= 0 || d > time.Second {
			t.Errorf("another owner: wait = %s, want at most 1 s", d)
		}
		begin(t, rdb, []string{"a.1", "a.2"})
		if d := wait("one"); d >= 0 {
			t.Errorf("after the last room: wait = %s, want < 0", d)
		}
	})

	t.Run("returns rooms again that stay in flight too long", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		enqueue(t, b, "a", 2, tasks.Room{SdkAppId: 1})
		first := take(t, b, "me", 10)
		if again := take(t, b, "me", 10); len(again) != 0 {
			t.Fatalf("Take() returned rooms in flight at once: %v", again)
		}
		for _, id := range first { // as if taken long ago
			rdb.ZAdd(t.Context(), keys.Default.InFlight(), redis.Z{Score: 1, Member: id})
		}
		if d := cmp.Diff(first, take(t, b, "me", 10)); d != "" {
			t.Errorf("Take() (-want +got):\n%s", d)
		}
	})

	t.Run("returns more rooms, within a bound, while rooms are in flight at a dead worker", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		enqueue(t, b, "a", 1000, tasks.Room{SdkAppId: 1})
		total := 0
		for range 10 {
			ids := take(t, b, "me", 20)
			total += len(ids)
			for _, id := range ids { // as if taken a while ago, but not long enough to be taken again
				rdb.ZAdd(t.Context(), keys.Default.InFlight(), redis.Z{
					Score: float64(time.Now().Add(-15 * time.Second).UnixMilli()), Member: id,
				})
			}
		}
		if total != 100 {
			t.Errorf("Take() returned %d rooms, want 5 times 20", total)
		}
	})

	t.Run("returns other rooms beside those that it returns again", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		enqueue(t, b, "a", 100, tasks.Room{SdkAppId: 1})
		lost := take(t, b, "me", 3)
		for _, id := range lost {
			rdb.ZAdd(t.Context(), keys.Default.InFlight(), redis.Z{Score: 1, Member: id})
		}
		if d := cmp.Diff(append(lost, "a.4", "a.5", "a.6"), take(t, b, "me", 3)); d != "" {
			t.Errorf("Take() (-want +got):\n%s", d)
		}
		if ids := take(t, b, "me", 3); len(ids) != 0 {
			t.Errorf("Take() returned %v beyond the depth", ids)
		}
	})

	t.Run("returns only the rooms for trials while sending is stopped", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		enqueue(t, b, "a", 2, tasks.Room{SdkAppId: 1})
		rdb.HSet(t.Context(), keys.Default.Breaker(), "cause", "person")
		if ids := take(t, b, "me", 10); len(ids) != 0 {
			t.Errorf("Take() = %v while sending is stopped, want none", ids)
		}
		rdb.HSet(t.Context(), keys.Default.Breaker(), "feed", 1, "feed_from", time.Now().Add(time.Hour).UnixMilli())
		if ids := take(t, b, "me", 10); len(ids) != 0 {
			t.Errorf("Take() = %v before a trial is due, want none", ids)
		}
		rdb.HSet(t.Context(), keys.Default.Breaker(), "feed_from", 1)
		if d := cmp.Diff([]string{"a.1"}, take(t, b, "me", 10)); d != "" {
			t.Errorf("Take() (-want +got):\n%s", d)
		}
		if ids := take(t, b, "me", 10); len(ids) != 0 {
			t.Errorf("Take() = %v with one room in flight, want none", ids)
		}
	})
}

// Each batch is served in turn, also if many are open.
func TestTakeOfManyBatches(t *testing.T) {
	rdb := redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	const batches = 150
	want := map[string]int{}
	for n := range batches {
		id := fmt.Sprintf("b-%d", n)
		enqueue(t, b, id, 2, tasks.Room{SdkAppId: 1})
		want[id] = 1
	}
	got := map[string]int{}
	for _, id := range take(t, b, "me", batches) {
		batch, _, _ := tasks.SplitRowID(id)
		got[batch]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rooms of each batch (-want +got):\n%s", diff)
	}
	enqueue(t, b, "last", 1, tasks.Room{SdkAppId: 1}) // it is not among the batches named for the next call
	taken := take(t, b, "me", 2*batches+1)
	if len(taken) != batches+1 || !slices.Contains(taken, "last.1") {
		t.Errorf("Take() returned %d rooms, want %d and last.1", len(taken), batches)
	}
}

func TestRefeed(t *testing.T) {
	rdb := redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	enqueue(t, b, "a", 3, tasks.Room{SdkAppId: 1})
	begin(t, rdb, take(t, b, "me", 2))
	rdb.RPush(t.Context(), keys.Default.Refeed("a"), "a.1")
	if d := cmp.Diff([]string{"a.1", "a.3"}, take(t, b, "me", 9)); d != "" {
		t.Errorf("Take() (-want +got):\n%s", d)
	}
}

// maxTurn is the longest wait that Take returns.
const maxTurn = 10 * time.Second

// Owners that do not feed call Take ten times a second in total.
func TestTurnsOfIdleFeeders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb := redistest.InBubble(t)
		b := backlog.New(rdb, keys.Default)
		enqueue(t, b, "a", 1000, tasks.Room{SdkAppId: 1})
		takeOne := func(owner string) (ids []string, wait time.Duration) {
			t.Helper()
			ids, wait, err := b.Take(t.Context(), owner, 1)
			if err != nil {
				t.Fatal(err)
			}
			if wait < 0 || wait > maxTurn {
				t.Errorf("Take(%q): wait = %s, want 0 to %s", owner, wait, maxTurn)
			}
			return ids, wait
		}
		if ids, _ := takeOne("feeder"); len(ids) != 1 {
			t.Fatalf("the feeder got %v, want one room", ids)
		}

		const owners, seconds = 15, 10
		var next [owners]time.Time
		calls := 0
		for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			takeOne("feeder") // renews its lease
			for i := range next {
				if time.Now().Before(next[i]) {
					continue
				}
				ids, wait := takeOne(fmt.Sprint("owner ", i))
				if len(ids) > 0 {
					t.Fatalf("owner %d got rooms beside the feeder", i)
				}
				calls++
				next[i] = time.Now().Add(wait)
			}
		}
		if limit := owners + 10*seconds + 1; calls > limit || calls < limit/2 {
			t.Errorf("%d calls in %d s, want at most %d", calls, seconds, limit)
		}

		// The feeder has died, and one of many other owners is left.
		var wait time.Duration
		for i := range 110 {
			_, wait = takeOne(fmt.Sprint("another ", i))
		}
		if wait < maxTurn-time.Second {
			t.Errorf("the last of 110 owners waits %s, want about %s", wait, maxTurn)
		}
		begin(t, rdb, rdb.ZRange(t.Context(), keys.Default.InFlight(), 0, -1).Val())
		time.Sleep(wait)
		if ids, _ := takeOne("another 109"); len(ids) != 1 {
			t.Errorf("in its turn the owner got %v, want one room", ids)
		}
	})
}

package backlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

// push makes a batch of n rooms with the RoomIds 1 to n.
func push(t *testing.T, b *backlog.Backlog, id string, n int, defaults tasks.Room) backlog.Batch {
	t.Helper()
	load := b.Load(defaults)
	for i := range n {
		if err := load.Add(t.Context(), &tasks.Room{RoomId: uint64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := load.Seal(t.Context(), id, "")
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func take(t *testing.T, b *backlog.Backlog, owner string, depth int) []string {
	t.Helper()
	ids, _, err := b.Take(t.Context(), owner, depth)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// begun takes snapshots out of flight, as if workers had begun them.
func begun(t *testing.T, rdb *redis.Client, ids []string) {
	t.Helper()
	for _, id := range ids {
		if err := rdb.ZRem(t.Context(), keys.Default.InFlight(), id).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTake(t *testing.T) {
	t.Run("gives every room exactly once and no more than depth at a time", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		push(t, b, "a", 1300, tasks.Room{SdkAppId: 1})
		seen := make(map[string]int)
		for range 100 {
			ids := take(t, b, "me", 30)
			if len(ids) > 30 {
				t.Fatalf("%d taken at once", len(ids))
			}
			for _, id := range ids {
				seen[id]++
			}
			if more := take(t, b, "me", 30); len(ids) == 30 && len(more) != 0 {
				t.Fatalf("%d more taken while 30 are in transit", len(more))
			}
			begun(t, rdb, ids)
		}
		if len(seen) != 1300 {
			t.Errorf("%d different rooms taken, want 1300", len(seen))
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("%s taken %d times", id, n)
			}
		}
	})

	t.Run("takes from the open batches in turn", func(t *testing.T) {
		b := backlog.New(redistest.Client(t), keys.Default)
		push(t, b, "large", 1000, tasks.Room{SdkAppId: 1})
		push(t, b, "small", 3, tasks.Room{SdkAppId: 1})
		push(t, b, "middle", 10, tasks.Room{SdkAppId: 1})
		want := []string{
			"large.1", "small.1", "middle.1", "large.2", "small.2", "middle.2", "large.3", "small.3", "middle.3",
			"large.4", "middle.4", "large.5",
		}
		if d := cmp.Diff(want, take(t, b, "me", 12)); d != "" {
			t.Error(d)
		}
	})

	t.Run("lets one owner take at a time", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		push(t, b, "a", 100, tasks.Room{SdkAppId: 1})
		if n := len(take(t, b, "one", 5)); n != 5 {
			t.Errorf("the first owner got %d", n)
		}
		if ids := take(t, b, "two", 10); len(ids) != 0 {
			t.Errorf("a second owner got %v", ids)
		}
		rdb.Del(t.Context(), keys.Default.Feeder()) // the first one has not called for a second
		if n := len(take(t, b, "two", 10)); n != 5 {
			t.Errorf("the second owner got %d after the first had gone, want 5", n)
		}
	})

	t.Run("lets another owner take when the one before has left", func(t *testing.T) {
		b := backlog.New(redistest.Client(t), keys.Default)
		push(t, b, "a", 100, tasks.Room{SdkAppId: 1})
		take(t, b, "one", 5)
		for _, owner := range []string{"two", "one"} { // only the feeder can leave
			if err := b.Leave(t.Context(), owner); err != nil {
				t.Fatal(err)
			}
			if n := len(take(t, b, "two", 10)); n != map[string]int{"two": 0, "one": 5}[owner] {
				t.Errorf("after %s has left the second owner got %d", owner, n)
			}
		}
	})

	t.Run("says for how long there is nothing", func(t *testing.T) {
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
			t.Errorf("without a batch: %s", d)
		}
		push(t, b, "a", 3, tasks.Room{SdkAppId: 1})
		if d := wait("one"); d != 0 {
			t.Errorf("for the owner, with a batch: %s", d)
		}
		if d := wait("two"); d <= 0 || d > time.Second {
			t.Errorf("for another owner: %s", d)
		}
		begun(t, rdb, []string{"a.1", "a.2"})
		if d := wait("one"); d >= 0 {
			t.Errorf("after the last room: %s", d)
		}
	})

	t.Run("hands out again what stays in transit too long", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		push(t, b, "a", 2, tasks.Room{SdkAppId: 1})
		first := take(t, b, "me", 10)
		if again := take(t, b, "me", 10); len(again) != 0 {
			t.Fatalf("handed out again at once: %v", again)
		}
		for _, id := range first { // as if taken long ago
			rdb.ZAdd(t.Context(), keys.Default.InFlight(), redis.Z{Score: 1, Member: id})
		}
		if d := cmp.Diff(first, take(t, b, "me", 10)); d != "" {
			t.Error(d)
		}
	})

	t.Run("goes on when what was taken lies with a worker that has died, within a bound", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		push(t, b, "a", 1000, tasks.Room{SdkAppId: 1})
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
			t.Errorf("%d taken, want five times 20", total)
		}
	})

	t.Run("what is handed out again does not hold up the rest", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		push(t, b, "a", 100, tasks.Room{SdkAppId: 1})
		lost := take(t, b, "me", 3)
		for _, id := range lost {
			rdb.ZAdd(t.Context(), keys.Default.InFlight(), redis.Z{Score: 1, Member: id})
		}
		if d := cmp.Diff(append(lost, "a.4", "a.5", "a.6"), take(t, b, "me", 3)); d != "" {
			t.Error(d)
		}
		if ids := take(t, b, "me", 3); len(ids) != 0 {
			t.Errorf("taken beyond the depth: %v", ids)
		}
	})

	t.Run("gives only what is wanted while sending is stopped", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		push(t, b, "a", 2, tasks.Room{SdkAppId: 1})
		rdb.HSet(t.Context(), keys.Default.Breaker(), "cause", "person")
		if ids := take(t, b, "me", 10); len(ids) != 0 {
			t.Errorf("took %v", ids)
		}
		rdb.HSet(t.Context(), keys.Default.Breaker(), "feed", 1, "feed_from", time.Now().Add(time.Hour).UnixMilli())
		if ids := take(t, b, "me", 10); len(ids) != 0 {
			t.Errorf("took %v before any was wanted", ids)
		}
		rdb.HSet(t.Context(), keys.Default.Breaker(), "feed_from", 1)
		if d := cmp.Diff([]string{"a.1"}, take(t, b, "me", 10)); d != "" {
			t.Error(d)
		}
		if ids := take(t, b, "me", 10); len(ids) != 0 {
			t.Errorf("took %v with one on its way", ids)
		}
	})
}

func TestPause(t *testing.T) {
	b := backlog.New(redistest.Client(t), keys.Default)
	push(t, b, "a", 3, tasks.Room{SdkAppId: 1})
	push(t, b, "b", 3, tasks.Room{SdkAppId: 1})
	if err := b.Pause(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"b.1", "b.2"}, take(t, b, "me", 2)); d != "" {
		t.Error(d)
	}
	for range 2 { // the second call changes nothing
		if err := b.Resume(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"b.3", "a.1", "a.2", "a.3"}, take(t, b, "me", 9)); d != "" {
		t.Error(d)
	}
	if err := b.Resume(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if ids := take(t, b, "me", 20); len(ids) != 0 {
		t.Errorf("a batch that was fed whole is fed again: %v", ids)
	}
	if err := b.Pause(t.Context(), "c"); !errors.Is(err, backlog.ErrNotFound) {
		t.Errorf("unknown batch: %v", err)
	}
}

func TestAgain(t *testing.T) {
	rdb := redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	push(t, b, "a", 3, tasks.Room{SdkAppId: 1})
	begun(t, rdb, take(t, b, "me", 2))
	rdb.RPush(t.Context(), keys.Default.Refeed("a"), "a.1")
	if d := cmp.Diff([]string{"a.1", "a.3"}, take(t, b, "me", 9)); d != "" {
		t.Error(d)
	}
}

func TestSeal(t *testing.T) {
	t.Run("is invisible before and whole after", func(t *testing.T) {
		b := backlog.New(redistest.Client(t), keys.Default)
		load := b.Load(tasks.Room{})
		for i := range 20_000 {
			if err := load.Add(t.Context(), &tasks.Room{SdkAppId: 1, RoomId: uint64(i + 1)}); err != nil {
				t.Fatal(err)
			}
		}
		if ids := take(t, b, "me", 10); len(ids) != 0 {
			t.Fatalf("took %v from a batch that is not sealed", ids)
		}
		if _, err := load.Seal(t.Context(), "a", ""); err != nil {
			t.Fatal(err)
		}
		n := uint64(0)
		for room, err := range b.Rooms(t.Context(), "a") {
			if n++; err != nil || room.RoomId != n || room.SdkAppId != 1 {
				t.Fatalf("row %d: %+v, %v", n, room, err)
			}
		}
		if n != 20_000 {
			t.Errorf("%d rooms read back", n)
		}
	})

	t.Run("names the same content the same, and other content otherwise", func(t *testing.T) {
		b := backlog.New(redistest.Client(t), keys.Default)
		first := push(t, b, "class-", 5, tasks.Room{SdkAppId: 1})
		again := push(t, b, "class-", 5, tasks.Room{SdkAppId: 1})
		rows := push(t, b, "class-", 6, tasks.Room{SdkAppId: 1})
		defaults := push(t, b, "class-", 5, tasks.Room{SdkAppId: 2})
		if !first.Created || again.Created || again.ID != first.ID {
			t.Errorf("first %+v, again %+v", first, again)
		}
		if !rows.Created || rows.ID == first.ID || !defaults.Created || defaults.ID == first.ID {
			t.Errorf("first %+v, other rows %+v, other defaults %+v", first, rows, defaults)
		}
		if n := len(take(t, b, "me", 100)); n != 5+6+5 {
			t.Errorf("%d rooms to feed, want 16: the second push must add none", n)
		}
	})

	t.Run("finds the batch of the name by its rooms, in whatever order, and refuses other ones", func(t *testing.T) {
		width, height := uint64(640), uint64(480)
		labeled := func(id uint64) tasks.Room {
			return tasks.Room{RoomId: id, Label: map[string]string{"Class": "3B", "N": "1"}}
		}
		wide := func(r tasks.Room) tasks.Room { r.Whiteboard = &tasks.Whiteboard{Width: &width}; return r }
		defaults := tasks.Room{SdkAppId: 1, SnapshotMode: tasks.ModeAllMarks, Whiteboard: &tasks.Whiteboard{Height: &height}}
		first := []tasks.Room{{RoomId: 1}, {RoomId: 2}, {RoomId: 2}, labeled(3), wide(tasks.Room{RoomId: 4})}
		whole := make([]tasks.Room, len(first))
		for i, r := range first {
			whole[i] = r.Over(defaults)
		}
		other := defaults
		other.SnapshotMode = tasks.ModeLatestMarksOnly
		for _, tt := range []struct {
			name     string
			rooms    []tasks.Room
			defaults tasks.Room
			same     bool
		}{
			{"the same", first, defaults, true},
			{"in another order", []tasks.Room{first[3], first[2], first[4], first[0], first[1]}, defaults, true},
			{"written out", whole, tasks.Room{}, true},
			{"written out in part", append(whole[:2:2], first[2:]...), defaults, true},
			{"one fewer", first[:4], defaults, false},
			{"one more", append(first[:5:5], first[0]), defaults, false},
			{"another one twice", []tasks.Room{first[0], first[0], first[1], first[3], first[4]}, defaults, false},
			{"another room", append(first[:4:4], tasks.Room{RoomId: 9}), defaults, false},
			{"another label",
				append(first[:3:3], tasks.Room{RoomId: 3, Label: map[string]string{"Class": "3C", "N": "1"}}, first[4]),
				defaults, false},
			{"other defaults", first, other, false},
		} {
			rdb := redistest.Client(t)
			b := backlog.New(rdb, keys.Default)
			seal := func(rooms []tasks.Room, defaults tasks.Room) (backlog.Batch, error) {
				load := b.Load(defaults)
				for _, r := range rooms {
					if err := load.Add(t.Context(), &r); err != nil {
						t.Fatal(err)
					}
				}
				return load.Seal(t.Context(), "maths", "")
			}
			if _, err := seal(first, defaults); err != nil {
				t.Fatal(err)
			}
			got, err := seal(tt.rooms, tt.defaults)
			if want := (backlog.Batch{ID: "maths", Rooms: 5}); got != want || tt.same != (err == nil) ||
				!tt.same && !errors.Is(err, backlog.ErrExists) {
				t.Errorf("%s: %+v, %v", tt.name, got, err)
			}
			if n := len(take(t, b, "me", 100)); n != 5 {
				t.Errorf("%s: %d rooms to feed", tt.name, n)
			}
			if left := rdb.Keys(t.Context(), keys.Default.Loading("*")).Val(); len(left) > 0 {
				t.Errorf("%s: the second load is left", tt.name)
			}
		}
	})

	t.Run("knows the rooms of a batch of an older release in their order", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		push(t, b, "maths", 5, tasks.Room{SdkAppId: 1})
		if n := rdb.HDel(t.Context(), keys.Default.Batch("maths"), "sum").Val(); n != 1 {
			t.Fatal("it has no sum")
		}
		push(t, b, "maths", 5, tasks.Room{SdkAppId: 1})
		load := b.Load(tasks.Room{SdkAppId: 1})
		for i := range 5 {
			if err := load.Add(t.Context(), &tasks.Room{RoomId: uint64(5 - i)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := load.Seal(t.Context(), "maths", ""); !errors.Is(err, backlog.ErrExists) {
			t.Errorf("err = %v", err)
		}
	})

	t.Run("asks before every push whether that many rooms are welcome", func(t *testing.T) {
		rdb := redistest.Client(t)
		load := backlog.New(rdb, keys.Default).Load(tasks.Room{})
		full := errors.New("full")
		var asked []int
		load.Admit = func(_ context.Context, rooms, _ int) error {
			asked = append(asked, rooms)
			if rooms > 20_000 {
				return full
			}
			return nil
		}
		var err error
		for i := 0; i < 30_000 && err == nil; i++ {
			err = load.Add(t.Context(), &tasks.Room{SdkAppId: 1, RoomId: uint64(i + 1)})
		}
		if d := cmp.Diff([]int{8192, 16_384, 24_576}, asked); d != "" || !errors.Is(err, full) {
			t.Errorf("err = %v\n%s", err, d)
		}
		if n := rdb.HLen(t.Context(), rdb.Keys(t.Context(), keys.Default.Loading("*")).Val()[0]).Val(); n != 64 {
			t.Errorf("%d chunks and filters were pushed, want those before the refusal, 64", n)
		}
	})

	t.Run("refuses an id that no batch may have, and an empty batch", func(t *testing.T) {
		b := backlog.New(redistest.Client(t), keys.Default)
		for _, id := range []string{"", "A", "a b", "a.1", "{x}", "-a", fmt.Sprintf("%065d", 0)} {
			load := b.Load(tasks.Room{})
			if err := load.Add(t.Context(), &tasks.Room{SdkAppId: 1, RoomId: 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := load.Seal(t.Context(), id, ""); err == nil {
				t.Errorf("id %q was accepted", id)
			}
		}
		if _, err := b.Load(tasks.Room{}).Seal(t.Context(), "a", ""); err == nil {
			t.Error("an empty batch was accepted")
		}
	})

	t.Run("fails where the load has expired, and leaves nothing", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		load := b.Load(tasks.Room{})
		for i := range 9000 { // more than one push
			if err := load.Add(t.Context(), &tasks.Room{SdkAppId: 1, RoomId: uint64(i + 1)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range rdb.Keys(t.Context(), keys.Default.Loading("*")).Val() {
			rdb.Del(t.Context(), key)
		}
		if _, err := load.Seal(t.Context(), "a", ""); !errors.Is(err, backlog.ErrLoadLost) {
			t.Errorf("err = %v, want ErrLoadLost", err)
		}
		if _, err := b.Room(t.Context(), "a", 1); !errors.Is(err, backlog.ErrNotFound) {
			t.Errorf("room of the lost batch: %v", err)
		}
	})
}

func TestWaiting(t *testing.T) {
	needs.Time(t)
	rdb := redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	waiting := func(inTurn, paused int) {
		t.Helper()
		if n, p, err := b.Waiting(t.Context()); n != inTurn || p != paused || err != nil {
			t.Errorf("%d rooms wait in turn and %d paused, %v, want %d and %d", n, p, err, inTurn, paused)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	waiting(0, 0)
	push(t, b, "a", 30, tasks.Room{SdkAppId: 1})
	push(t, b, "b", 5, tasks.Room{SdkAppId: 1})
	waiting(35, 0)
	must(b.Pause(t.Context(), "b"))
	waiting(30, 5)
	must(b.Resume(t.Context(), "b"))
	waiting(35, 0)
	taken := take(t, b, "me", 20)
	waiting(15, 0)
	begun(t, rdb, taken)
	take(t, b, "me", 20)
	waiting(0, 0)
	must(b.Pause(t.Context(), "a"))
	waiting(0, 0)

	// A row that was canceled alone no longer waits and is not fed, even if more rows
	// were canceled than one call processes.
	l := ledger.New(rdb, ledger.Options{})
	push(t, b, "large", 2500, tasks.Room{SdkAppId: 1})
	push(t, b, "held", 10, tasks.Room{SdkAppId: 1})
	must(b.Pause(t.Context(), "held"))
	must(b.Pause(t.Context(), "held"))
	waiting(2500, 10)
	for row := 1; row <= 2300; row++ {
		if _, err := l.Cancel(t.Context(), tasks.RowID("large", row),
			tasks.Room{SdkAppId: 1, RoomId: uint64(row)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Cancel(t.Context(), "held.3", tasks.Room{SdkAppId: 1, RoomId: 3}); err != nil {
		t.Fatal(err)
	}
	waiting(200, 9)
	begun(t, rdb, rdb.ZRange(t.Context(), keys.Default.InFlight(), 0, -1).Val())
	taken = take(t, b, "me", 3)
	if want := []string{"large.2301", "large.2302", "large.2303"}; !slices.Equal(taken, want) {
		t.Errorf("took %v, want %v", taken, want)
	}
	waiting(197, 9)
	if n, err := l.CancelBatch(t.Context(), "held"); n != 9 || err != nil {
		t.Errorf("%d canceled, %v", n, err)
	}
	waiting(197, 0)
	if n, err := l.CancelBatch(t.Context(), "large"); n != 197 || err != nil {
		t.Errorf("%d canceled, %v", n, err)
	}
	waiting(0, 0)
}

// Each batch gets its turn, also if many are open.
func TestTakeOfManyBatches(t *testing.T) {
	rdb := redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	const batches = 150
	want := map[string]int{}
	for n := range batches {
		id := fmt.Sprintf("b-%d", n)
		push(t, b, id, 2, tasks.Room{SdkAppId: 1})
		want[id] = 1
	}
	got := map[string]int{}
	for _, id := range take(t, b, "me", batches) {
		batch, _, _ := tasks.SplitRowID(id)
		got[batch]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rooms taken of each batch: %s", diff)
	}
	push(t, b, "last", 1, tasks.Room{SdkAppId: 1}) // it is not among the batches named for the next call
	taken := take(t, b, "me", 2*batches+1)
	if len(taken) != batches+1 || !slices.Contains(taken, "last.1") {
		t.Errorf("took %d rooms, want the other %d and the last one", len(taken), batches)
	}
}

func TestRoom(t *testing.T) {
	rdb := redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	width := uint64(800)
	defaults := tasks.Room{
		SdkAppId:     7,
		SnapshotMode: tasks.ModeLatestMarksOnly,
		Whiteboard:   &tasks.Whiteboard{Width: &width},
		Label:        map[string]string{"School": "East"},
	}
	load := b.Load(defaults)
	rooms := []tasks.Room{
		{RoomId: 1},
		{SdkAppId: 9, RoomId: 2, SnapshotMode: tasks.ModeAllMarks, Label: map[string]string{"Class": "3B 数学"}},
	}
	for i := range rooms {
		if err := load.Add(t.Context(), &rooms[i]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := load.Seal(t.Context(), "a", ""); err != nil {
		t.Fatal(err)
	}
	for i, room := range rooms {
		got, err := b.Room(t.Context(), "a", i+1)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(room.Over(defaults), got); d != "" {
			t.Error(d)
		}
	}
	for _, row := range []int{3, 513, 5000} {
		if _, err := b.Room(t.Context(), "a", row); !errors.Is(err, backlog.ErrNotFound) {
			t.Errorf("row %d: %v, want ErrNotFound", row, err)
		}
	}
	if _, err := b.Room(context.Background(), "b", 1); !errors.Is(err, backlog.ErrNotFound) {
		t.Errorf("unknown batch: %v", err)
	}
}

// Rooms of any size, few or many in a chunk, are read back one by one and all in order.
func TestLargeRooms(t *testing.T) {
	label := func(n, size int) map[string]string {
		return map[string]string{"L": strings.Repeat(strconv.Itoa(n%10), size)}
	}
	wide := make(map[string]string)
	for i := range tasks.MaxLabels {
		wide[fmt.Sprint(i)] = strings.Repeat("\x01", tasks.MaxLabel) // 6 kB of JSON
	}
	for _, tt := range []struct {
		name  string
		rooms int
		room  func(n int) tasks.Room
	}{
		{"of half a kilobyte", 1500, func(n int) tasks.Room { return tasks.Room{Label: label(n, 500)} }},
		{"first small, then large", 1100, func(n int) tasks.Room {
			if n < 400 {
				return tasks.Room{}
			}
			return tasks.Room{Label: label(n, 1000)}
		}},
		{"as large as can be", 20, func(int) tasks.Room { return tasks.Room{Label: wide} }},
		{"a part ends with the batch", 64, func(n int) tasks.Room { return tasks.Room{Label: label(n, 1000)} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.rooms > 1000 {
				needs.Time(t)
			}
			b := backlog.New(redistest.Client(t), keys.Default)
			load := b.Load(tasks.Room{})
			var want []tasks.Room
			for n := range tt.rooms {
				room := tt.room(n)
				room.SdkAppId, room.RoomId = 7, uint64(n+1)
				if err := load.Add(t.Context(), &room); err != nil {
					t.Fatal(err)
				}
				want = append(want, room)
			}
			if _, err := load.Seal(t.Context(), "a", ""); err != nil {
				t.Fatal(err)
			}
			for _, from := range []int{1, 2, 65, 513, tt.rooms, tt.rooms + 1} {
				var got []tasks.Room
				for room, err := range b.RoomsFrom(t.Context(), "a", from) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, room)
				}
				if d := cmp.Diff(want[min(from-1, len(want)):], got, cmpopts.EquateEmpty()); d != "" {
					t.Errorf("from room %d: %.1000s", from, d)
				}
			}
			for n := tt.rooms; n > 0; n -= 7 {
				if got, err := b.Room(t.Context(), "a", n); err != nil || !cmp.Equal(want[n-1], got) {
					t.Errorf("room %d: %v", n, err)
				}
			}
			if _, err := b.Room(t.Context(), "a", tt.rooms+1); !errors.Is(err, backlog.ErrNotFound) {
				t.Errorf("the room after the last: %v, want ErrNotFound", err)
			}
		})
	}
}

// A CallbackURL of the whole batch is stored with the batch, not with its rooms.
func TestCallbackURLs(t *testing.T) {
	rdb := redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	const url = "https://example.com/cb?token=0123456789abcdef"
	none := push(t, b, "none-", 5000, tasks.Room{SdkAppId: 1})
	all := push(t, b, "all-", 5000, tasks.Room{SdkAppId: 1, CallbackURL: url})
	size := func(id string) (n int) {
		for _, field := range rdb.HVals(t.Context(), keys.Default.Rows(id)).Val() {
			n += len(field)
		}
		return n
	}
	if size(none.ID) == 0 || size(none.ID) != size(all.ID) {
		t.Errorf("%d bytes without a CallbackURL, %d with one", size(none.ID), size(all.ID))
	}
	if strings.TrimPrefix(none.ID, "none-") == strings.TrimPrefix(all.ID, "all-") {
		t.Error("they are one batch")
	}
	load := b.Load(tasks.Room{SdkAppId: 1, CallbackURL: url})
	for _, room := range []tasks.Room{{RoomId: 1, CallbackURL: url + "1"}, {RoomId: 2}} {
		if err := load.Add(t.Context(), &room); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := load.Seal(t.Context(), "own", ""); err != nil {
		t.Fatal(err)
	}
	for n, want := range []string{url + "1", url} {
		if room, err := b.Room(t.Context(), "own", n+1); err != nil || room.CallbackURL != want {
			t.Errorf("room %d: %+v, %v", n+1, room, err)
		}
	}
}

package backlog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
)

func TestSeal(t *testing.T) {
	t.Run("makes the batch visible at once", func(t *testing.T) {
		b := backlog.New(redistest.Client(t), keys.Default)
		load := b.Load(tasks.Room{})
		for i := range 20_000 {
			if err := load.Add(t.Context(), &tasks.Room{SdkAppId: 1, RoomId: uint64(i + 1)}); err != nil {
				t.Fatal(err)
			}
		}
		if ids := take(t, b, "me", 10); len(ids) != 0 {
			t.Fatalf("Take() = %v before Seal, want none", ids)
		}
		if _, err := load.Seal(t.Context(), "a", ""); err != nil {
			t.Fatal(err)
		}
		n := uint64(0)
		for room, err := range b.Rooms(t.Context(), "a") {
			if n++; err != nil || room.RoomId != n || room.SdkAppId != 1 {
				t.Fatalf("Rooms(): row %d = %+v, %v", n, room, err)
			}
		}
		if n != 20_000 {
			t.Errorf("Rooms() returned %d rooms, want 20000", n)
		}
	})

	t.Run("derives the id from the content", func(t *testing.T) {
		b := backlog.New(redistest.Client(t), keys.Default)
		first := enqueue(t, b, "class-", 5, tasks.Room{SdkAppId: 1})
		second := enqueue(t, b, "class-", 5, tasks.Room{SdkAppId: 1})
		rows := enqueue(t, b, "class-", 6, tasks.Room{SdkAppId: 1})
		defaults := enqueue(t, b, "class-", 5, tasks.Room{SdkAppId: 2})
		if !first.Created || second.Created || second.ID != first.ID {
			t.Errorf("the same content: first %+v, second %+v", first, second)
		}
		if !rows.Created || rows.ID == first.ID || !defaults.Created || defaults.ID == first.ID {
			t.Errorf("other content: first %+v, other rows %+v, other defaults %+v", first, rows, defaults)
		}
		if n := len(take(t, b, "me", 100)); n != 5+6+5 {
			t.Errorf("Take() returned %d rooms, want 16: the second load must add none", n)
		}
	})

	t.Run("accepts an existing id for the same rooms in any order only", func(t *testing.T) {
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
			{"the same rooms", first, defaults, true},
			{"in another order", []tasks.Room{first[3], first[2], first[4], first[0], first[1]}, defaults, true},
			{"with the defaults in each room", whole, tasks.Room{}, true},
			{"with the defaults in some rooms", append(whole[:2:2], first[2:]...), defaults, true},
			{"one fewer", first[:4], defaults, false},
			{"one more", append(first[:5:5], first[0]), defaults, false},
			{"another room twice", []tasks.Room{first[0], first[0], first[1], first[3], first[4]}, defaults, false},
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
				t.Errorf("%s: Seal() = %+v, %v, want %+v", tt.name, got, err, want)
			}
			if n := len(take(t, b, "me", 100)); n != 5 {
				t.Errorf("%s: Take() returned %d rooms, want 5", tt.name, n)
			}
			if left := rdb.Keys(t.Context(), keys.Default.Loading("*")).Val(); len(left) > 0 {
				t.Errorf("%s: keys of the second load: %v", tt.name, left)
			}
		}
	})

	t.Run("compares with a batch of an older release in the order of its rooms", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		enqueue(t, b, "maths", 5, tasks.Room{SdkAppId: 1})
		if n := rdb.HDel(t.Context(), keys.Default.Batch("maths"), "sum").Val(); n != 1 {
			t.Fatal("the batch has no checksum")
		}
		enqueue(t, b, "maths", 5, tasks.Room{SdkAppId: 1})
		load := b.Load(tasks.Room{SdkAppId: 1})
		for i := range 5 {
			if err := load.Add(t.Context(), &tasks.Room{RoomId: uint64(5 - i)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := load.Seal(t.Context(), "maths", ""); !errors.Is(err, backlog.ErrExists) {
			t.Errorf("Seal() with another order: error = %v, want ErrExists", err)
		}
	})

	t.Run("calls Admit before every flush", func(t *testing.T) {
		rdb := redistest.Client(t)
		load := backlog.New(rdb, keys.Default).Load(tasks.Room{})
		full := errors.New("full")
		var admitted []int
		load.Admit = func(_ context.Context, rooms, _ int) error {
			admitted = append(admitted, rooms)
			if rooms > 20_000 {
				return full
			}
			return nil
		}
		var err error
		for i := 0; i < 30_000 && err == nil; i++ {
			err = load.Add(t.Context(), &tasks.Room{SdkAppId: 1, RoomId: uint64(i + 1)})
		}
		if d := cmp.Diff([]int{8192, 16_384, 24_576}, admitted); d != "" || !errors.Is(err, full) {
			t.Errorf("Add(): error = %v, Admit calls (-want +got):\n%s", err, d)
		}
		if n := rdb.HLen(t.Context(), rdb.Keys(t.Context(), keys.Default.Loading("*")).Val()[0]).Val(); n != 64 {
			t.Errorf("%d chunks and filters in Redis, want the 64 before the refusal", n)
		}
	})

	t.Run("rejects an invalid id and an empty batch", func(t *testing.T) {
		b := backlog.New(redistest.Client(t), keys.Default)
		for _, id := range []string{"", "A", "a b", "a.1", "{x}", "-a", fmt.Sprintf("%065d", 0)} {
			load := b.Load(tasks.Room{})
			if err := load.Add(t.Context(), &tasks.Room{SdkAppId: 1, RoomId: 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := load.Seal(t.Context(), id, ""); err == nil {
				t.Errorf("Seal(%q) succeeded", id)
			}
		}
		if _, err := b.Load(tasks.Room{}).Seal(t.Context(), "a", ""); err == nil {
			t.Error("Seal() of an empty batch succeeded")
		}
	})

	t.Run("fails after the load has expired, and leaves nothing", func(t *testing.T) {
		rdb := redistest.Client(t)
		b := backlog.New(rdb, keys.Default)
		load := b.Load(tasks.Room{})
		for i := range 9000 { // more than one flush
			if err := load.Add(t.Context(), &tasks.Room{SdkAppId: 1, RoomId: uint64(i + 1)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, key := range rdb.Keys(t.Context(), keys.Default.Loading("*")).Val() {
			rdb.Del(t.Context(), key)
		}
		if _, err := load.Seal(t.Context(), "a", ""); !errors.Is(err, backlog.ErrLoadLost) {
			t.Errorf("Seal(): error = %v, want ErrLoadLost", err)
		}
		if _, err := b.Room(t.Context(), "a", 1); !errors.Is(err, backlog.ErrNotFound) {
			t.Errorf("Room() of the lost batch: error = %v, want ErrNotFound", err)
		}
	})
}

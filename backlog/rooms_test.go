package backlog_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
)

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
			t.Errorf("Room(%d) (-want +got):\n%s", i+1, d)
		}
	}
	for _, row := range []int{3, 513, 5000} {
		if _, err := b.Room(t.Context(), "a", row); !errors.Is(err, backlog.ErrNotFound) {
			t.Errorf("Room(%d): error = %v, want ErrNotFound", row, err)
		}
	}
	if _, err := b.Room(context.Background(), "b", 1); !errors.Is(err, backlog.ErrNotFound) {
		t.Errorf("Room() of an unknown batch: error = %v, want ErrNotFound", err)
	}
}

// Rooms of any size, few or many in a chunk, are read back one by one and in order.
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
		{"of 500 bytes", 1500, func(n int) tasks.Room { return tasks.Room{Label: label(n, 500)} }},
		{"first small, then large", 1100, func(n int) tasks.Room {
			if n < 400 {
				return tasks.Room{}
			}
			return tasks.Room{Label: label(n, 1000)}
		}},
		{"of the largest size", 20, func(int) tasks.Room { return tasks.Room{Label: wide} }},
		{"whose last part ends with the batch", 64, func(n int) tasks.Room { return tasks.Room{Label: label(n, 1000)} }},
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
					t.Errorf("RoomsFrom(%d) (-want +got):\n%.1000s", from, d)
				}
			}
			for n := tt.rooms; n > 0; n -= 7 {
				if got, err := b.Room(t.Context(), "a", n); err != nil || !cmp.Equal(want[n-1], got) {
					t.Errorf("Room(%d) = %.1000v, %v", n, got, err)
				}
			}
			if _, err := b.Room(t.Context(), "a", tt.rooms+1); !errors.Is(err, backlog.ErrNotFound) {
				t.Errorf("Room() after the last: error = %v, want ErrNotFound", err)
			}
		})
	}
}

// The CallbackURL of a batch is stored with the batch, not with its rooms.
func TestCallbackURLOfABatch(t *testing.T) {
	rdb := redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	const url = "https://example.com/cb?token=0123456789abcdef"
	none := enqueue(t, b, "none-", 5000, tasks.Room{SdkAppId: 1})
	all := enqueue(t, b, "all-", 5000, tasks.Room{SdkAppId: 1, CallbackURL: url})
	size := func(id string) (n int) {
		for _, field := range rdb.HVals(t.Context(), keys.Default.Rows(id)).Val() {
			n += len(field)
		}
		return n
	}
	if size(none.ID) == 0 || size(none.ID) != size(all.ID) {
		t.Errorf("rooms take %d bytes without a CallbackURL and %d with one, want the same", size(none.ID), size(all.ID))
	}
	if strings.TrimPrefix(none.ID, "none-") == strings.TrimPrefix(all.ID, "all-") {
		t.Error("a batch with a CallbackURL has the id of one without")
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
			t.Errorf("Room(%d) = %+v, %v, want CallbackURL %s", n+1, room, err, want)
		}
	}
}

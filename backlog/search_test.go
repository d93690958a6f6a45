package backlog_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"tiwsnap/backlog"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
)

// A search finds each room with the word once, in any batch, chunk or part of a chunk. It counts the rooms searched.
func TestSearch(t *testing.T) {
	needs.Time(t)
	ctx, rdb := t.Context(), redistest.Client(t)
	b := backlog.New(rdb, keys.Default)
	load := func(id string, defaults tasks.Room, rooms ...tasks.Room) {
		t.Helper()
		l := b.Load(defaults)
		for _, r := range rooms {
			if err := l.Add(ctx, &r); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Seal(ctx, id, ""); err != nil {
			t.Fatal(err)
		}
	}
	var plain, large []tasks.Room
	for n := range 3000 {
		plain = append(plain, tasks.Room{SdkAppId: 1, RoomId: uint64(10_000 + n)})
	}
	for n := range 700 {
		large = append(large, tasks.Room{
			SdkAppId: 1, RoomId: uint64(20_000 + n), Label: map[string]string{"Class": fmt.Sprintf("<%d>", n%7)},
			Whiteboard: &tasks.Whiteboard{InitParams: fmt.Sprintf(`{"n":"%d%0900d"}`, n, 0)},
		})
	}
	load("plain", tasks.Room{}, plain...)
	load("large", tasks.Room{Label: map[string]string{"School": "No. 3"}}, large...)
	for n := range 600 {
		load(fmt.Sprintf("small-%d", n), tasks.Room{}, tasks.Room{
			SdkAppId: 1, RoomId: uint64(n + 1), Label: map[string]string{"Of": "all"},
		})
	}
	const rooms = 3000 + 700 + 600

	search := func(word string, limit int) (ids []string, searched int) {
		t.Helper()
		for after := ""; ; {
			found, err := b.Search(ctx, word, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(found.Rooms) > limit {
				t.Fatalf("Search(%q) returned %d rooms with a limit of %d", word, len(found.Rooms), limit)
			}
			for _, m := range found.Rooms {
				ids = append(ids, tasks.RowID(m.Batch, m.Row))
			}
			if after = found.Next; after == "" {
				return ids, found.Searched
			}
		}
	}
	for word, want := range map[string][]string{
		"10000": {"plain.1"}, "12999": {"plain.3000"}, "20699": {"large.700"}, "600": {"small-599.1"},
		"99": {"small-98.1"}, "1299": nil, "No. 4": nil, "Class": nil, "": nil,
	} {
		if got, searched := search(word, 2); !slices.Equal(got, want) || searched != rooms {
			t.Errorf("Search(%q) = %v after %d rooms, want %v after %d", word, got, searched, want, rooms)
		}
	}
	for word, n := range map[string]int{"<3>": 100, "No. 3": 700, "all": 600} {
		for _, limit := range []int{7, 1000} {
			got, searched := search(word, limit)
			slices.Sort(got)
			if len(slices.Compact(got)) != n || len(got) != n || searched != rooms {
				t.Errorf("Search(%q), %d at a time: %d rooms found in %d, want %d in %d", word, limit, len(got), searched, n, rooms)
			}
		}
	}

	// Rooms taken long ago are not searched. Rooms that may be in flight are.
	rdb.HSet(ctx, keys.Default.Batch("plain"), "fed", 2900)
	if got, searched := search("12899", 2); len(got) != 1 || searched != rooms-2900 {
		t.Errorf("Search(12899) = %v after %d rooms, want one room after %d", got, searched, rooms-2900)
	}
	if got, _ := search("10010", 2); len(got) != 0 {
		t.Errorf("Search(10010) = %v, want none: the room was taken long ago", got)
	}
	// The chunks of an older release have no filters.
	for n := range 6 {
		rdb.HDel(ctx, keys.Default.Rows("plain"), fmt.Sprintf("%d.f", n))
	}
	if got, _ := search("12999", 2); len(got) != 1 {
		t.Errorf("Search(12999) without filters = %v, want one room", got)
	}
	for _, cursor := range []string{"x", "1.a.0.0", "1.a.1", "a.a.1.1", "1.a.1.-1"} {
		if _, err := b.Search(ctx, "1", cursor, 1); !errors.Is(err, backlog.ErrCursor) {
			t.Errorf("Search() with cursor %q: error = %v, want ErrCursor", cursor, err)
		}
	}
}

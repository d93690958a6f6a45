package results_test

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/results"
	"tiwsnap/tasks"
)

// A single room is found as soon as it is enqueued. A row of a batch that was canceled
// before it was fed is found as canceled. Each is found once, by RoomId and by label.
func TestFindQueuedRooms(t *testing.T) {
	ctx, rdb := t.Context(), redistest.Client(t)
	client, r, l := enqueue.New(rdb, keys.Default), results.NewReader(rdb, keys.Default), ledger.New(rdb, ledger.Options{})
	single := func(n uint64) string {
		t.Helper()
		s, err := client.Room(ctx, tasks.Room{SdkAppId: 7, RoomId: n, Label: map[string]string{"Class": "3b"}},
			enqueue.RoomOptions{Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		return s.ID
	}
	checkFound := func(when, word string, want map[string]ledger.State) {
		t.Helper()
		found, err := r.Find(ctx, word, 100, "")
		if err != nil || found.More || found.Next != "" {
			t.Fatalf("%s: Find() = %+v, %v, want one page", when, found, err)
		}
		got := map[string]ledger.State{}
		for _, s := range found.Snapshots {
			if _, twice := got[s.ID]; twice {
				t.Errorf("%s: %s is found twice", when, s.ID)
			}
			got[s.ID] = s.State
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Find(%s) (-want +got):\n%s", when, word, diff)
		}
	}
	one, two := single(1), single(2)
	single(1)
	checkFound("queued", "3b", map[string]ledger.State{one: ledger.Queued, two: ledger.Queued})
	checkFound("queued", "1", map[string]ledger.State{one: ledger.Queued})

	payload := tasks.SnapshotPayload{ID: one,
		Room: tasks.Room{SdkAppId: 7, RoomId: 1, Label: map[string]string{"Class": "3b"}}}
	entries := func() (n int) {
		days, err := rdb.ZRange(ctx, keys.Default.Indexes(), 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, day := range days {
			d, _ := strconv.ParseInt(day, 10, 64)
			of, _ := rdb.HGet(ctx, keys.Default.Index(d), "n").Int()
			n += of
		}
		return n
	}
	before := entries()
	if _, err := l.Begin(ctx, payload, "token", ""); err != nil {
		t.Fatal(err)
	}
	if after := entries(); after != before {
		t.Errorf("the index has %d entries after Begin, want %d as before", after, before)
	}
	checkFound("begun", "3b", map[string]ledger.State{one: ledger.Sending, two: ledger.Queued})

	_, err := client.Batch(ctx, func(yield func(tasks.Room, error) bool) {
		for n := range uint64(3) {
			if !yield(tasks.Room{SdkAppId: 7, RoomId: 11 + n, Label: map[string]string{"Class": "4a"}}, nil) {
				return
			}
		}
	}, enqueue.BatchOptions{ID: "b"})
	if err != nil {
		t.Fatal(err)
	}
	room := tasks.Room{SdkAppId: 7, RoomId: 12, Label: map[string]string{"Class": "4a"}}
	if _, err := l.Cancel(ctx, "b.2", room); err != nil {
		t.Fatal(err)
	}
	checkFound("canceled", "4a",
		map[string]ledger.State{"b.1": ledger.Queued, "b.2": ledger.Canceled, "b.3": ledger.Queued})

	// Paging finds the same rooms.
	got := map[string]ledger.State{}
	after, pages := "", 0
	for ; pages < 10; pages++ {
		found, err := r.Find(ctx, "4a", 1, after)
		if err != nil || found.Waiting > 3 || len(found.Snapshots) > 1 {
			t.Fatalf("Find() of one page = %+v, %v", found, err)
		}
		for _, s := range found.Snapshots {
			got[s.ID] = s.State
		}
		if after = found.Next; after == "" {
			break
		}
	}
	if diff := cmp.Diff(map[string]ledger.State{"b.1": ledger.Queued, "b.2": ledger.Canceled, "b.3": ledger.Queued},
		got); diff != "" {
		t.Errorf("rooms of %d pages (-want +got):\n%s", pages, diff)
	}
}

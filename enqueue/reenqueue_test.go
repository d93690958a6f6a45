package enqueue_test

import (
	"testing"

	"github.com/hibiken/asynq"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
)

func TestReenqueue(t *testing.T) {
	rdb := redistest.Client(t)
	client, queue := enqueue.New(rdb, keys.Default), asynq.NewInspectorFromRedisClient(rdb)
	room := tasks.Room{SdkAppId: 1, RoomId: 7}
	state := func(id string) asynq.TaskState {
		t.Helper()
		info, err := queue.GetTaskInfo(keys.Default.QueueInteractive(), id)
		if err != nil {
			t.Fatal(err)
		}
		return info.State
	}
	reenqueue := func(id string) {
		t.Helper()
		if err := client.Reenqueue(t.Context(), tasks.SnapshotPayload{ID: id, Room: room}); err != nil {
			t.Fatal(err)
		}
		if got := state(id); got != asynq.TaskStatePending {
			t.Errorf("state of the task %s, want pending", got)
		}
		if all, err := queue.ListPendingTasks(keys.Default.QueueInteractive()); err != nil || len(all) != 1 {
			t.Errorf("%d pending tasks, want 1 (%v)", len(all), err)
		}
	}
	reenqueue("s-1") // its task is gone
	reenqueue("s-1") // its task is on the queue
	if err := queue.ArchiveTask(keys.Default.QueueInteractive(), "s-1"); err != nil {
		t.Fatal(err)
	}
	reenqueue("s-1") // it was archived by hand
	info, err := queue.GetTaskInfo(keys.Default.QueueInteractive(), "s-1")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := tasks.ParseSnapshot(info.Payload); err != nil || p.ID != "s-1" || p.Room.RoomId != 7 {
		t.Errorf("payload = %+v, %v", p, err)
	}
	if err := client.Reenqueue(t.Context(), tasks.SnapshotPayload{ID: "s-2"}); err == nil {
		t.Error("Reenqueue() of an invalid room = nil, want an error")
	}
}

func TestReenqueueMany(t *testing.T) {
	rdb := redistest.Client(t)
	client, queue := enqueue.New(rdb, keys.Default), asynq.NewInspectorFromRedisClient(rdb)
	var all []tasks.SnapshotPayload
	for n := range 30 {
		all = append(all, tasks.SnapshotPayload{
			ID: tasks.RowID("a", n+1), Batch: "a", Room: tasks.Room{SdkAppId: 1, RoomId: uint64(n + 1)},
		})
	}
	all = append(all, tasks.SnapshotPayload{ID: "s-1", Room: tasks.Room{SdkAppId: 1, RoomId: 99}})
	reenqueue := func() {
		t.Helper()
		if err := client.Reenqueue(t.Context(), all...); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string][]tasks.SnapshotPayload{keys.Default.QueueBulk(): all[:30],
			keys.Default.QueueInteractive(): all[30:]} {
			infos, err := queue.ListPendingTasks(name, asynq.PageSize(100))
			if err != nil || len(infos) != len(want) {
				t.Fatalf("%d pending tasks in %s, want %d (%v)", len(infos), name, len(want), err)
			}
			if first := infos[0].ID; first != want[0].ID {
				t.Errorf("first task %s in %s, want %s", first, name, want[0].ID)
			}
		}
	}
	reenqueue() // Redis does not have the script yet
	rdb.FlushDB(t.Context())
	reenqueue() // now it does
	reenqueue() // the tasks are on the queue
	if err := queue.ArchiveTask(keys.Default.QueueBulk(), "a.30"); err != nil {
		t.Fatal(err)
	}
	reenqueue() // one was archived by hand
	rdb.FlushDB(t.Context())
	all[7].Room = tasks.Room{}
	if err := client.Reenqueue(t.Context(), all...); err == nil {
		t.Error("Reenqueue() of an invalid room = nil, want an error")
	}
	if err := client.Reenqueue(t.Context()); err != nil {
		t.Error(err)
	}
}

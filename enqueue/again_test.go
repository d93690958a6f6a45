package enqueue_test

import (
	"testing"

	"github.com/hibiken/asynq"

	"tiwsnap/enqueue"
	"tiwsnap/redistest"
	"tiwsnap/tasks"
)

func TestAgain(t *testing.T) {
	rdb := redistest.Client(t)
	client, queue := enqueue.New(rdb), asynq.NewInspectorFromRedisClient(rdb)
	room := tasks.Room{SdkAppId: 1, RoomId: 7}
	state := func(id string) asynq.TaskState {
		t.Helper()
		info, err := queue.GetTaskInfo(tasks.QueueInteractive, id)
		if err != nil {
			t.Fatal(err)
		}
		return info.State
	}
	again := func(id string) {
		t.Helper()
		if err := client.Again(t.Context(), id, room); err != nil {
			t.Fatal(err)
		}
		if got := state(id); got != asynq.TaskStatePending {
			t.Errorf("the task is %s", got)
		}
		if all, err := queue.ListPendingTasks(tasks.QueueInteractive); err != nil || len(all) != 1 {
			t.Errorf("%d tasks wait, want 1: %v", len(all), err)
		}
	}
	again("s-1") // its task is gone
	again("s-1") // it waits there
	if err := queue.ArchiveTask(tasks.QueueInteractive, "s-1"); err != nil {
		t.Fatal(err)
	}
	again("s-1") // it was archived by hand
	info, err := queue.GetTaskInfo(tasks.QueueInteractive, "s-1")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := tasks.ParseSnapshot(info.Payload); err != nil || p.ID != "s-1" || p.Room.RoomId != 7 {
		t.Errorf("payload %+v, %v", p, err)
	}
	if err := client.Again(t.Context(), "s-2", tasks.Room{}); err == nil {
		t.Error("a room that breaks the API's rules was enqueued")
	}
}

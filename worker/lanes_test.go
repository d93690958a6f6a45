package worker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/redistest"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// newRealWorld is newWorld on a Redis that can say who waits, and refuse.
func newRealWorld(t *testing.T) world {
	rdb := redis.NewClient(&redis.Options{Addr: redistest.Real(t).Addr})
	t.Cleanup(func() { rdb.Close() })
	return newWorld(t, rdb, tiwtest.Options{})
}

// idle waits until so many workers have nothing to do: each waits for two
// queues and for a batch.
func (w world) idle(workers int) {
	w.Helper()
	w.eventually(fmt.Sprintf("%d workers are idle", workers), func() bool {
		info, err := w.rdb.Info(w.Context(), "clients").Result()
		return err == nil && strings.Contains(info, fmt.Sprintf("blocked_clients:%d\r\n", 3*workers))
	})
}

// single enqueues one room.
func (w world) single(room uint64) {
	w.Helper()
	if _, err := w.queue.Room(w.Context(), tasks.Room{SdkAppId: app, RoomId: room}, enqueue.RoomOptions{}); err != nil {
		w.Fatal(err)
	}
}

// sent waits until n requests have reached Tencent.
func (w world) sent(n int) {
	w.Helper()
	if err := w.sim.WaitCalls(w.Context(), n); err != nil {
		w.Fatal(err)
	}
}

func TestIdleWorkers(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d of them take a task once, whoever has put it on the queue", workers), func(t *testing.T) {
			w := newRealWorld(t)
			for range workers {
				w.work()
			}
			w.idle(workers)
			w.single(101)
			w.sent(1)
			task, err := tasks.NewSnapshot(tasks.Room{SdkAppId: app, RoomId: 102})
			if err != nil {
				t.Fatal(err)
			}
			w.idle(workers)
			if _, err := asynq.NewClientFromRedisClient(w.rdb).Enqueue(task); err != nil {
				t.Fatal(err)
			}
			w.sent(2)
			w.idle(workers)
			w.enqueue("a", 3)
			w.ended("a")
			w.onceEach(5)
		})
	}

	t.Run("look for work by themselves where Redis does not let them wait", func(t *testing.T) {
		w := newRealWorld(t)
		if err := w.rdb.Do(t.Context(), "ACL", "SETUSER", "default", "-blmove").Err(); err != nil {
			t.Fatal(err)
		}
		w.work()
		w.single(101)
		w.sent(1)
		w.enqueue("a", 3)
		w.ended("a")
		w.single(102)
		w.sent(5)
	})

	t.Run("leave a queue alone that is paused, and then go on", func(t *testing.T) {
		w := newRealWorld(t)
		w.single(101) // so that there is a queue to pause
		inspector := asynq.NewInspectorFromRedisClient(w.rdb)
		if err := inspector.PauseQueue(tasks.QueueInteractive); err != nil {
			t.Fatal(err)
		}
		w.work()
		w.enqueue("a", 3)
		w.ended("a")
		if n := w.tasksByRoom()[101]; n != 0 {
			t.Errorf("%d tasks were made from a paused queue", n)
		}
		if err := inspector.UnpauseQueue(tasks.QueueInteractive); err != nil {
			t.Fatal(err)
		}
		w.sent(4)
	})

	t.Run("leave the order of a queue as it is", func(t *testing.T) {
		w := newRealWorld(t)
		inspector := asynq.NewInspectorFromRedisClient(w.rdb)
		ids := func() (all []string) {
			pending, err := inspector.ListPendingTasks(tasks.QueueInteractive)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pending {
				all = append(all, p.ID)
			}
			return all
		}
		for room := range uint64(5) {
			w.single(101 + room)
		}
		if err := inspector.PauseQueue(tasks.QueueInteractive); err != nil {
			t.Fatal(err)
		}
		before := ids()
		w.work()
		w.enqueue("a", 3)
		w.ended("a") // meanwhile the lane has looked again and again
		if after := ids(); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("the queue was %v and is %v", before, after)
		}
	})
}

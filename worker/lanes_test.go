package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/tasks"
)

func TestIdleWorkers(t *testing.T) {
	needs.Time(t)
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d of them run a task once, from any producer", workers), func(t *testing.T) {
			w := newRealWorld(t)
			for range workers {
				w.work()
			}
			w.waitIdle(workers)
			w.enqueueRoom(101)
			w.waitForRequests(1)
			task, err := tasks.NewSnapshot(tasks.Room{SdkAppId: app, RoomId: 102})
			if err != nil {
				t.Fatal(err)
			}
			w.waitIdle(workers)
			if _, err := asynq.NewClientFromRedisClient(w.rdb).Enqueue(task); err != nil {
				t.Fatal(err)
			}
			w.waitForRequests(2)
			w.waitIdle(workers)
			w.enqueue("a", 3)
			w.waitForEnd("a")
			w.wantOneTaskEach(5)
		})
	}

	t.Run("poll their queues if Redis does not permit BLMOVE", func(t *testing.T) {
		w := newRealWorld(t)
		if err := w.rdb.Do(t.Context(), "ACL", "SETUSER", "default", "-blmove").Err(); err != nil {
			t.Fatal(err)
		}
		w.work()
		w.enqueueRoom(101)
		w.waitForRequests(1)
		w.enqueue("a", 3)
		w.waitForEnd("a")
		w.enqueueRoom(102)
		w.waitForRequests(5)
	})

	t.Run("take nothing from a paused queue, and then continue", func(t *testing.T) {
		w := newRealWorld(t)
		w.enqueueRoom(101) // creates the queue to pause
		inspector := asynq.NewInspectorFromRedisClient(w.rdb)
		if err := inspector.PauseQueue(keys.Default.QueueInteractive()); err != nil {
			t.Fatal(err)
		}
		w.work()
		w.enqueue("a", 3)
		w.waitForEnd("a")
		if n := w.tasksByRoom()[101]; n != 0 {
			t.Errorf("%d tasks from a paused queue, want none", n)
		}
		if err := inspector.UnpauseQueue(keys.Default.QueueInteractive()); err != nil {
			t.Fatal(err)
		}
		w.waitForRequests(4)
	})

	t.Run("keep the order of a queue", func(t *testing.T) {
		w := newRealWorld(t)
		inspector := asynq.NewInspectorFromRedisClient(w.rdb)
		ids := func() (all []string) {
			pending, err := inspector.ListPendingTasks(keys.Default.QueueInteractive())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pending {
				all = append(all, p.ID)
			}
			return all
		}
		for room := range uint64(5) {
			w.enqueueRoom(101 + room)
		}
		if err := inspector.PauseQueue(keys.Default.QueueInteractive()); err != nil {
			t.Fatal(err)
		}
		before := ids()
		w.work()
		w.enqueue("a", 3)
		w.waitForEnd("a") // meanwhile the lane has polled the queue many times
		if after := ids(); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("order of the queue = %v, want %v", after, before)
		}
	})
}

func TestActiveTasks(t *testing.T) {
	needs.Time(t)
	w := newRealWorld(t)
	w.limit = 1
	for room := range uint64(100) {
		w.enqueueRoom(101 + room)
	}
	inspector := asynq.NewInspectorFromRedisClient(w.rdb)
	count := func(list func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)) int {
		t.Helper()
		infos, err := list(keys.Default.QueueInteractive(), asynq.PageSize(1000))
		if err != nil {
			t.Fatal(err)
		}
		return len(infos)
	}
	stop := w.work()
	w.waitForRequests(2)
	// One is in flight, one waits for its permit, and the rest is slack.
	if n := count(inspector.ListActiveTasks); n > 10 {
		t.Errorf("%d active tasks at a limit of one a second, want at most 10", n)
	}
	stop()
	active, retry := count(inspector.ListActiveTasks), count(inspector.ListRetryTasks)
	if active > 0 || retry > 0 {
		t.Errorf("%d active tasks and %d retries after the worker stopped, want none", active, retry)
	}
	if sent := len(w.sim.Requests()); sent+count(inspector.ListPendingTasks) != 100 {
		t.Errorf("of 100 tasks %d were sent and %d are pending", sent, count(inspector.ListPendingTasks))
	}
}

// asynq retries at once after an error. Redis returns some errors at once: that it is out of memory, or its disk is
// full. So a lane has to slow asynq down.
func TestRedisRejectsWrites(t *testing.T) {
	needs.Time(t)
	w := newRealWorld(t)
	w.work()
	w.waitIdle(1)
	if err := w.rdb.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	calls := func() (n int) {
		info, err := w.rdb.InfoMap(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Sscanf(info["Commandstats"]["cmdstat_evalsha"], "calls=%d,", &n)
		return n
	}
	now := func() time.Time {
		now, err := w.rdb.Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	from, before := now(), calls()
	w.eventually("three seconds have passed", func() bool { return now().Sub(from) > 3*time.Second })
	n, seconds := calls()-before, now().Sub(from).Seconds()
	t.Logf("%d scripts in %.1f s", n, seconds)
	if float64(n) > 50*seconds {
		t.Errorf("%d rejected scripts in %.1f s, want at most 50 a second", n, seconds)
	}
	if err := w.rdb.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	w.enqueueRoom(101)
	w.waitForRequests(1)
}

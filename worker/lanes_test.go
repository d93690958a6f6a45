package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
	"tiwsnap/tiw/tiwtest"
)

// newRealWorld is newWorld on a redis-server, which counts blocked clients and can refuse commands.
func newRealWorld(t *testing.T) world {
	return newWorld(t, redistest.RealClient(t), tiwtest.Options{})
}

// idle waits until this number of workers is idle. An idle worker blocks on two queues and on the next batch.
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
	if err := w.sim.WaitRequests(w.Context(), n); err != nil {
		w.Fatal(err)
	}
}

func TestIdleWorkers(t *testing.T) {
	needs.Time(t)
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
		w.single(101) // creates the queue to pause
		inspector := asynq.NewInspectorFromRedisClient(w.rdb)
		if err := inspector.PauseQueue(keys.Default.QueueInteractive()); err != nil {
			t.Fatal(err)
		}
		w.work()
		w.enqueue("a", 3)
		w.ended("a")
		if n := w.tasksByRoom()[101]; n != 0 {
			t.Errorf("%d tasks were made from a paused queue", n)
		}
		if err := inspector.UnpauseQueue(keys.Default.QueueInteractive()); err != nil {
			t.Fatal(err)
		}
		w.sent(4)
	})

	t.Run("leave the order of a queue as it is", func(t *testing.T) {
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
			w.single(101 + room)
		}
		if err := inspector.PauseQueue(keys.Default.QueueInteractive()); err != nil {
			t.Fatal(err)
		}
		before := ids()
		w.work()
		w.enqueue("a", 3)
		w.ended("a") // meanwhile the lane has polled the queue many times
		if after := ids(); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("the queue was %v and is %v", before, after)
		}
	})
}

func TestTasksInHand(t *testing.T) {
	needs.Time(t)
	w := newRealWorld(t)
	w.limit = 1
	for room := range uint64(100) {
		w.single(101 + room)
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
	w.sent(2)
	// One is in flight, one waits for its permit, and the rest is slack.
	if n := count(inspector.ListActiveTasks); n > 10 {
		t.Errorf("%d tasks are in the hand of a process that may send one a second", n)
	}
	stop()
	active, retry := count(inspector.ListActiveTasks), count(inspector.ListRetryTasks)
	if active > 0 || retry > 0 {
		t.Errorf("a stopped worker left %d tasks active and %d to be retried", active, retry)
	}
	if sent := len(w.sim.Requests()); sent+count(inspector.ListPendingTasks) != 100 {
		t.Errorf("of 100 tasks %d were sent and %d wait", sent, count(inspector.ListPendingTasks))
	}
}

// asynq retries at once after an error. Redis returns some errors at once: that it is out of memory, or its disk is
// full. So a lane has to slow asynq down.
func TestRedisRefuses(t *testing.T) {
	needs.Time(t)
	w := newRealWorld(t)
	w.work()
	w.idle(1)
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
	w.eventually("three seconds are over", func() bool { return now().Sub(from) > 3*time.Second })
	n, seconds := calls()-before, now().Sub(from).Seconds()
	t.Logf("%d scripts in %.1f s", n, seconds)
	if float64(n) > 50*seconds {
		t.Errorf("a worker ran %d scripts in %.1f s, all of them refused", n, seconds)
	}
	if err := w.rdb.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	w.single(101)
	w.sent(1)
}

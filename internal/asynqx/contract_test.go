package asynqx_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/asynqx"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Both(m).Run()) }

const queue = "contract"

// This package depends on the internals of this release. Before you name another one here, read the changes in asynq's
// internal/rdb and internal/proto.
func TestTheReleaseOfAsynq(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "github.com/hibiken/asynq v0.26.0\n") {
		t.Error("go.mod names another release of asynq than the one that internal/asynqx was written for")
	}
}

func enqueue(t *testing.T, c redis.UniversalClient, kind, id string, opts ...asynq.Option) {
	t.Helper()
	opts = append([]asynq.Option{asynq.Queue(queue), asynq.TaskID(id)}, opts...)
	if _, err := asynq.NewClientFromRedisClient(c).Enqueue(asynq.NewTask(kind, []byte("payload"), opts...)); err != nil {
		t.Fatal(err)
	}
}

// serve runs an asynq server on the queue until the test ends.
func serve(t *testing.T, c redis.UniversalClient, weight int, handle asynq.HandlerFunc) {
	t.Helper()
	s := asynq.NewServerFromRedisClient(c, asynq.Config{
		Queues: map[string]int{queue: weight}, Concurrency: 2, ShutdownTimeout: time.Second, LogLevel: asynq.FatalLevel,
	})
	if err := s.Start(handle); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
}

func TestKeys(t *testing.T) {
	c := redistest.Client(t)
	enqueue(t, c, "kind", "one")
	if got := c.LRange(t.Context(), asynqx.Pending(queue), 0, -1).Val(); !slices.Equal(got, []string{"one"}) {
		t.Errorf("pending: %v", got)
	}
	if c.HGet(t.Context(), asynqx.TaskPrefix(queue)+"one", "state").Val() != "pending" {
		t.Error("the hash of the task is elsewhere")
	}
}

func TestPaused(t *testing.T) {
	c := redistest.Client(t)
	enqueue(t, c, "kind", "one")
	paused := func() []asynqx.Pause {
		all, err := asynqx.Paused(t.Context(), c, "other", queue)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if got := paused(); len(got) > 0 {
		t.Errorf("at first: %+v", got)
	}
	inspector := asynq.NewInspectorFromRedisClient(c)
	if err := inspector.PauseQueue(queue); err != nil {
		t.Fatal(err)
	}
	if got := paused(); len(got) != 1 || got[0].Queue != queue || time.Since(got[0].Since) > time.Minute {
		t.Errorf("paused: %+v", got)
	}
	if err := asynqx.Unpause(t.Context(), c, "other", queue); err != nil {
		t.Fatal(err)
	}
	if info, err := inspector.GetQueueInfo(queue); err != nil || info.Paused {
		t.Errorf("asynq says %+v, %v", info, err)
	}
}

func TestTaker(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	c := redistest.Client(t)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	foreign := make(chan string, 10)
	taker := asynqx.Taker{
		Queue: queue, Types: []string{"ours"},
		Foreign: func(kind, id string) { foreign <- kind + " " + id },
	}
	inspector := asynq.NewInspectorFromRedisClient(c)
	ran, again := make(chan string, 10), make(chan struct{})
	serve(t, taker.Redis(ctx, c), asynqx.Weight, func(ctx context.Context, task *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		ran <- task.Type() + " " + id
		<-again
		return nil
	})
	// When the first task is taken, Redis does not have asynq's script yet.
	for _, id := range []string{"first", "second"} {
		enqueue(t, c, "theirs", "their-"+id, asynq.MaxRetry(0))
		enqueue(t, c, "ours", id)
		if got := <-ran; got != "ours "+id {
			t.Errorf("ran %s", got)
		}
		lease := c.ZScore(t.Context(), asynqx.Prefix(queue)+"lease", id).Val()
		if left := time.Until(time.Unix(int64(lease), 0)); left < 20*time.Second || left > 40*time.Second {
			t.Errorf("%s has a lease for %s", id, left)
		}
		again <- struct{}{}
		redistest.Until(t, "it is acknowledged", func() bool {
			_, err := inspector.GetTaskInfo(queue, id)
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
		if got := <-foreign; got != "theirs their-"+id {
			t.Errorf("left %s", got)
		}
		info, err := inspector.GetTaskInfo(queue, "their-"+id)
		if err != nil || info.State != asynq.TaskStateRetry || info.Retried != 0 || string(info.Payload) != "payload" {
			t.Errorf("%+v, %v", info, err)
		}
	}
	if n := c.ZCard(t.Context(), asynqx.Prefix(queue)+"lease").Val(); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	// The server of the other application runs its tasks when they are due.
	if err := inspector.RunTask(queue, "their-first"); err != nil {
		t.Fatal(err)
	}
}

// asynq computes the end of a lease before it requests a task. So a poll must be much shorter than a lease.
func TestALookEndsBeforeItsLease(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	c := redistest.Client(t)
	sha := c.ScriptLoad(t.Context(), "return nil").Val()
	prefix := asynqx.Prefix(queue)
	keys := []string{prefix + "pending", prefix + "paused", prefix + "active", prefix + "lease"}
	began := time.Now()
	taking := asynqx.Taker{Queue: queue, Types: []string{"ours"}}.Redis(t.Context(), c)
	if err := taking.EvalSha(t.Context(), sha, keys, 0, asynqx.TaskPrefix(queue)).Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("err = %v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

// A process has one subscription to cancel requests for all its asynq servers. It shuts down without an error.
func TestCancels(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	c := redistest.Client(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log strings.Builder
	began, ended := make(chan struct{}), make(chan error)
	cancels := new(asynqx.Cancels)
	taker := asynqx.Taker{Queue: queue, Types: []string{"ours"}}
	server := asynq.NewServerFromRedisClient(taker.Redis(ctx, c), asynq.Config{
		Queues: map[string]int{queue: 1}, Logger: asynqx.Log(slog.New(slog.NewTextHandler(&log, nil))),
		LogLevel: asynq.ErrorLevel,
	})
	err := server.Start(cancels.Handler(asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
		began <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	var run sync.WaitGroup
	run.Go(func() { cancels.Run(ctx, c) })
	enqueue(t, c, "ours", "one")
	<-began
	redistest.Until(t, "the process has subscribed", func() bool {
		return c.PubSubNumSub(t.Context(), "asynq:cancel").Val()["asynq:cancel"] == 1
	})
	if err := asynq.NewInspectorFromRedisClient(c).CancelProcessing("one"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the context of the task: %v", err)
	}
	stop()
	server.Shutdown()
	run.Wait()
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

// counting counts the pipelines in which asynq lists a server.
type counting struct{ heartbeats atomic.Int32 }

func (c *counting) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "zadd" && cmds[0].Args()[1] == "asynq:servers" {
			c.heartbeats.Add(1)
		}
		return next(ctx, cmds)
	}
}

// An idle server does not write a heartbeat every five seconds as asynq does, but it stays listed. It also forwards due
// tasks of other queues.
func TestHousekeeping(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	c := redistest.Client(t)
	count := new(counting)
	c.AddHook(count)
	inspector := asynq.NewInspectorFromRedisClient(c)
	client := asynq.NewClientFromRedisClient(c)
	for id, q := range map[string]string{"own": queue, "of another": "other"} {
		task := asynq.NewTask("ours", nil, asynq.Queue(q), asynq.TaskID(id), asynq.ProcessIn(time.Second))
		if _, err := client.Enqueue(task); err != nil {
			t.Fatal(err)
		}
	}
	ran := make(chan struct{}, 1)
	taker := asynqx.Taker{Queue: queue, Types: []string{"ours"}, Forwards: []string{"other"}}
	serve(t, taker.Redis(t.Context(), c), asynqx.Weight, func(context.Context, *asynq.Task) error {
		ran <- struct{}{}
		return nil
	})
	<-ran
	redistest.Until(t, "the task of the other queue is pending", func() bool {
		info, err := inspector.GetTaskInfo("other", "of another")
		return err == nil && info.State == asynq.TaskStatePending
	})
	began := time.Now()
	first := count.heartbeats.Load()
	for time.Since(began) < 12*time.Second {
		if all, err := inspector.Servers(); err != nil || len(all) != 1 {
			t.Fatalf("%d servers are listed, %v", len(all), err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := count.heartbeats.Load() - first; n > 1 { // asynq itself writes at least two
		t.Errorf("an idle server has told %d times of itself in 12 s", n)
	}
}

func TestCountFailed(t *testing.T) {
	c := redistest.Client(t)
	enqueue(t, c, "kind", "one")
	for range 2 {
		if err := asynqx.CountFailed(t.Context(), c, queue); err != nil {
			t.Fatal(err)
		}
	}
	inspector := asynq.NewInspectorFromRedisClient(c)
	if info, err := inspector.GetQueueInfo(queue); err != nil || info.Failed != 2 || info.FailedTotal != 2 {
		t.Errorf("asynq says %+v, %v", info, err)
	}
}

func TestRegister(t *testing.T) {
	c := redistest.Client(t)
	inspector := asynq.NewInspectorFromRedisClient(c)
	if _, err := inspector.GetQueueInfo(queue); err == nil {
		t.Fatal("asynq knows a queue that nothing has been on")
	}
	for _, want := range []bool{true, false} {
		if added, err := asynqx.Register(t.Context(), c, queue); err != nil || added != want {
			t.Errorf("added %v, %v, want %v", added, err, want)
		}
	}
	if info, err := inspector.GetQueueInfo(queue); err != nil || info.Size != 0 {
		t.Errorf("then asynq says %+v, %v", info, err)
	}
}

func TestDropStale(t *testing.T) {
	c := redistest.Client(t)
	for _, id := range []string{"kept", "gone"} {
		enqueue(t, c, "kind", id)
	}
	c.Del(t.Context(), asynqx.TaskPrefix(queue)+"gone")
	var dropped []string
	err := asynqx.DropStale(t.Context(), c, queue, func(state, id string) { dropped = append(dropped, state+" "+id) })
	if err != nil || !slices.Equal(dropped, []string{"pending gone"}) {
		t.Errorf("dropped %v, %v", dropped, err)
	}
	if info, err := asynq.NewInspectorFromRedisClient(c).GetQueueInfo(queue); err != nil || info.Pending != 1 {
		t.Errorf("asynq says %+v, %v", info, err)
	}
}

func TestForeign(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	c := redistest.Client(t)
	nothing := func(context.Context, *asynq.Task) error { return nil }
	serve(t, c, asynqx.Weight, nothing)
	inspector := asynq.NewInspectorFromRedisClient(c)
	servers := func(n int) {
		redistest.Until(t, "the servers have their heartbeats", func() bool {
			all, err := inspector.Servers()
			return err == nil && len(all) == n
		})
	}
	servers(1)
	if got, err := asynqx.Foreign(c, "other", queue); err != nil || len(got) > 0 {
		t.Errorf("of ours: %+v, %v", got, err)
	}
	serve(t, c, 1, nothing)
	servers(2)
	got, err := asynqx.Foreign(c, "other", queue)
	if err != nil || len(got) != 1 || got[0].PID != os.Getpid() || !slices.Equal(got[0].Queues, []string{queue}) {
		t.Errorf("%+v, %v", got, err)
	}
}

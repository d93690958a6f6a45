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

// This package depends on the internals of this release. Before you change it here, read the changes in asynq's
// internal/rdb and internal/proto.
func TestAsynqVersion(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "github.com/hibiken/asynq v0.26.0\n") {
		t.Error("go.mod requires another release of asynq than the one that internal/asynqx was written for")
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
		t.Errorf("pending tasks are %v, want one", got)
	}
	if c.HGet(t.Context(), asynqx.TaskPrefix(queue)+"one", "state").Val() != "pending" {
		t.Error("the hash of the task has another key")
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
		t.Errorf("Paused() of running queues = %+v", got)
	}
	inspector := asynq.NewInspectorFromRedisClient(c)
	if err := inspector.PauseQueue(queue); err != nil {
		t.Fatal(err)
	}
	if got := paused(); len(got) != 1 || got[0].Queue != queue || time.Since(got[0].Since) > time.Minute {
		t.Errorf("Paused() = %+v, want the queue, paused just now", got)
	}
	if err := asynqx.Unpause(t.Context(), c, "other", queue); err != nil {
		t.Fatal(err)
	}
	if info, err := inspector.GetQueueInfo(queue); err != nil || info.Paused {
		t.Errorf("queue after Unpause() is %+v, %v", info, err)
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
	ran, finish := make(chan string, 10), make(chan struct{})
	serve(t, taker.Redis(ctx, c), asynqx.Weight, func(ctx context.Context, task *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		ran <- task.Type() + " " + id
		<-finish
		return nil
	})
	// When the first task is taken, Redis does not have asynq's script yet.
	for _, id := range []string{"first", "second"} {
		enqueue(t, c, "theirs", "their-"+id, asynq.MaxRetry(0))
		enqueue(t, c, "ours", id)
		if got := <-ran; got != "ours "+id {
			t.Errorf("the server ran %s, want ours %s", got, id)
		}
		lease := c.ZScore(t.Context(), asynqx.Prefix(queue)+"lease", id).Val()
		if left := time.Until(time.Unix(int64(lease), 0)); left < 20*time.Second || left > 40*time.Second {
			t.Errorf("the lease of %s ends in %s, want 20 to 40 s", id, left)
		}
		finish <- struct{}{}
		redistest.Until(t, "the task is acknowledged", func() bool {
			_, err := inspector.GetTaskInfo(queue, id)
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
		if got := <-foreign; got != "theirs their-"+id {
			t.Errorf("Foreign was called for %s, want theirs their-%s", got, id)
		}
		info, err := inspector.GetTaskInfo(queue, "their-"+id)
		if err != nil || info.State != asynq.TaskStateRetry || info.Retried != 0 || string(info.Payload) != "payload" {
			t.Errorf("the foreign task is %+v, %v, want it to be retried, with its payload", info, err)
		}
	}
	if n := c.ZCard(t.Context(), asynqx.Prefix(queue)+"lease").Val(); n != 0 {
		t.Errorf("%d leases are left, want none", n)
	}
	// The server of the other application runs its tasks when they are due.
	if err := inspector.RunTask(queue, "their-first"); err != nil {
		t.Fatal(err)
	}
}

// asynq computes the end of a lease before it requests a task. So a poll must be much shorter than a lease.
func TestPollIsShorterThanLease(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	c := redistest.Client(t)
	sha := c.ScriptLoad(t.Context(), "return nil").Val()
	prefix := asynqx.Prefix(queue)
	keys := []string{prefix + "pending", prefix + "paused", prefix + "active", prefix + "lease"}
	began := time.Now()
	taking := asynqx.Taker{Queue: queue, Types: []string{"ours"}}.Redis(t.Context(), c)
	if err := taking.EvalSha(t.Context(), sha, keys, 0, asynqx.TaskPrefix(queue)).Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("a poll of an empty queue = %v, want redis.Nil", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the poll took %s, want at most 20 s", took)
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
		t.Errorf("the context of the task ended with %v, want context.Canceled", err)
	}
	stop()
	server.Shutdown()
	run.Wait()
	if log.Len() > 0 {
		t.Errorf("asynq logged an error:\n%s", log.String())
	}
}

// heartbeatCounter counts the pipelines in which asynq registers a server.
type heartbeatCounter struct{ heartbeats atomic.Int32 }

func (c *heartbeatCounter) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (c *heartbeatCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (c *heartbeatCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
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
	counter := new(heartbeatCounter)
	c.AddHook(counter)
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
	first := counter.heartbeats.Load()
	for time.Since(began) < 12*time.Second {
		if all, err := inspector.Servers(); err != nil || len(all) != 1 {
			t.Fatalf("%d servers are listed, %v", len(all), err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := counter.heartbeats.Load() - first; n > 1 { // asynq itself writes at least two
		t.Errorf("an idle server wrote %d heartbeats in 12 s, want at most 1", n)
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
		t.Errorf("queue after CountFailed() is %+v, %v, want 2 failed", info, err)
	}
}

func TestRegister(t *testing.T) {
	c := redistest.Client(t)
	inspector := asynq.NewInspectorFromRedisClient(c)
	if _, err := inspector.GetQueueInfo(queue); err == nil {
		t.Fatal("asynq knows the queue before Register()")
	}
	for _, want := range []bool{true, false} {
		if added, err := asynqx.Register(t.Context(), c, queue); err != nil || added != want {
			t.Errorf("Register() = %v, %v, want %v", added, err, want)
		}
	}
	if info, err := inspector.GetQueueInfo(queue); err != nil || info.Size != 0 {
		t.Errorf("queue after Register() is %+v, %v, want an empty queue", info, err)
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
		t.Errorf("DropStale() dropped %v, %v, want pending gone", dropped, err)
	}
	if info, err := asynq.NewInspectorFromRedisClient(c).GetQueueInfo(queue); err != nil || info.Pending != 1 {
		t.Errorf("queue after DropStale() is %+v, %v, want 1 pending", info, err)
	}
}

func TestForeign(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	c := redistest.Client(t)
	noop := func(context.Context, *asynq.Task) error { return nil }
	serve(t, c, asynqx.Weight, noop)
	inspector := asynq.NewInspectorFromRedisClient(c)
	awaitServers := func(n int) {
		redistest.Until(t, "the servers have their heartbeats", func() bool {
			all, err := inspector.Servers()
			return err == nil && len(all) == n
		})
	}
	awaitServers(1)
	if got, err := asynqx.Foreign(c, "other", queue); err != nil || len(got) > 0 {
		t.Errorf("Foreign() = %+v, %v, want none", got, err)
	}
	serve(t, c, 1, noop)
	awaitServers(2)
	got, err := asynqx.Foreign(c, "other", queue)
	if err != nil || len(got) != 1 || got[0].PID != os.Getpid() || !slices.Equal(got[0].Queues, []string{queue}) {
		t.Errorf("Foreign() = %+v, %v, want the other server of this process", got, err)
	}
}

package enqueue_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/backlog"
	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/worker"
	"tiwsnap/worker/workertest"
)

const app = 1400123480

// drain runs a worker and a simulator until the test ends. Both allow rate requests a
// second.
func drain(t *testing.T, c redis.UniversalClient, rate int) *tiwtest.Server {
	t.Helper()
	sim := tiwtest.Start(t, tiwtest.Options{Limit: rate, TaskDuration: time.Millisecond, Latency: time.Millisecond})
	workertest.Run(t, worker.Options{
		Redis: c, TIW: workertest.API(t, sim, tiw.Options{}), RateLimit: rate, ConfirmAfter: 100 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler),
	})
	return sim
}

// clients returns n producers, each with its own connections.
func clients(t *testing.T, url string, n int) []*enqueue.Client {
	t.Helper()
	all := make([]*enqueue.Client, n)
	for i := range all {
		c, closeRedis, err := rdb.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeRedis() })
		all[i] = enqueue.New(c, keys.Default)
	}
	return all
}

func TestKey(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("makes one snapshot of fifty producers at once, and of fifty more after its end", func(t *testing.T) {
		url := redistest.URL(t)
		producers := clients(t, url, 50)
		atOnce := func() (created int, id string) {
			got := make([]enqueue.Snapshot, len(producers))
			var all sync.WaitGroup
			for i, c := range producers {
				all.Go(func() {
					var err error
					got[i], err = c.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 5}, enqueue.RoomOptions{Key: "lesson 7"})
					if err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			for _, s := range got {
				if s.Created {
					created++
				}
				if s.ID != tasks.KeyID(app, 5, "lesson 7") {
					t.Errorf("%+v", s)
				}
			}
			return created, got[0].ID
		}
		created, id := atOnce()
		if created != 1 {
			t.Errorf("%d of 50 say that they made it", created)
		}

		c, closeRedis, err := rdb.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeRedis() })
		sim := drain(t, c, 20)
		records := ledger.New(c, ledger.Options{})
		redistest.Until(t, "the snapshot ended", func() bool {
			atOnce() // while it runs, too
			s, err := records.Snapshot(t.Context(), id)
			return err == nil && s.State == ledger.Succeeded
		})
		inspector := asynq.NewInspectorFromRedisClient(c)
		redistest.Until(t, "its task is gone", func() bool {
			_, err := inspector.GetTaskInfo(keys.Default.QueueInteractive(), id)
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
		if created, _ := atOnce(); created != 0 {
			t.Errorf("%d say that they made it after its end", created)
		}
		if _, err := inspector.GetTaskInfo(keys.Default.QueueInteractive(), id); !errors.Is(err, asynq.ErrTaskNotFound) {
			t.Errorf("it has a new task: %v", err)
		}
		if n := sim.State().Tasks.Created; n != 1 {
			t.Errorf("%d tasks at Tencent", n)
		}
	})

	t.Run("with other parameters is an error that names the first snapshot", func(t *testing.T) {
		c := redistest.Client(t)
		client := enqueue.New(c, keys.Default)
		first := tasks.Room{SdkAppId: app, RoomId: 5, Label: map[string]string{"Class": "3B", "Day": "Monday"}}
		other := first
		other.SnapshotMode = tasks.ModeLatestMarksOnly
		check := func(when string, room tasks.Room, created, same bool) {
			t.Helper()
			s, err := client.Room(t.Context(), room, enqueue.RoomOptions{Key: "k"})
			want := enqueue.Snapshot{ID: tasks.KeyID(app, 5, "k"), Created: created}
			if s != want || same != (err == nil) || !same && !errors.Is(err, enqueue.ErrExists) {
				t.Errorf("%s: %+v, %v, want %+v", when, s, err, want)
			}
		}
		check("first", first, true, true)
		check("same on the queue", first, false, true)
		check("other on the queue", other, false, false)

		drain(t, c, 20)
		redistest.Until(t, "the snapshot ended", func() bool {
			s, err := ledger.New(c, ledger.Options{}).Snapshot(t.Context(), tasks.KeyID(app, 5, "k"))
			return err == nil && s.State.Ended()
		})
		check("same after its end", first, false, true)
		check("other after its end", other, false, false)
	})

	t.Run("is an error also where the other one comes and goes while this one is enqueued", func(t *testing.T) {
		c := redistest.Client(t)
		other := tasks.SnapshotPayload{ID: tasks.KeyID(app, 5, "k"),
			Room: tasks.Room{SdkAppId: app, RoomId: 5, SnapshotMode: tasks.ModeAllMarks}}
		hooked := redis.NewClient(c.Options())
		defer hooked.Close()
		hooked.AddHook(afterFirst("hgetall", func() {
			if in, err := ledger.New(c, ledger.Options{}).Begin(t.Context(), other, "x", ""); err != nil ||
				in.Verdict != ledger.Send {
				t.Errorf("%+v, %v", in, err)
			}
		}))
		s, err := enqueue.New(hooked, keys.Default).
			Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 5}, enqueue.RoomOptions{Key: "k"})
		if !errors.Is(err, enqueue.ErrExists) || s.ID != other.ID || s.Created {
			t.Errorf("%+v, %v", s, err)
		}
	})

	t.Run("of another application, room or name is another snapshot", func(t *testing.T) {
		client := enqueue.New(redistest.Client(t), keys.Default)
		ids := map[string]bool{}
		for _, r := range []struct {
			app, room uint64
			key       string
		}{{app, 5, "k"}, {app + 1, 5, "k"}, {app, 6, "k"}, {app, 5, "l"}, {app, 5, ""}, {app, 5, ""}} {
			s, err := client.Room(t.Context(), tasks.Room{SdkAppId: r.app, RoomId: r.room}, enqueue.RoomOptions{Key: r.key})
			if err != nil || !s.Created || ids[s.ID] {
				t.Errorf("%+v: %+v, %v", r, s, err)
			}
			ids[s.ID] = true
		}
	})

	t.Run("that is not printable is refused", func(t *testing.T) {
		c := redistest.Client(t)
		_, err := enqueue.New(c, keys.Default).
			Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 5}, enqueue.RoomOptions{Key: "a\nb"})
		var bad *tasks.RoomError
		if !errors.As(err, &bad) {
			t.Errorf("err = %v", err)
		}
		nothing(t, c)
	})
}

// afterFirst runs do after the first command of that name.
func afterFirst(name string, do func()) redis.Hook { return &after{name: name, do: do} }

type after struct {
	name string
	do   func()
	once sync.Once
}

func (a *after) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a *after) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		a.look(cmd)
		return err
	}
}

func (a *after) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, all []redis.Cmder) error {
		err := next(ctx, all)
		for _, cmd := range all {
			a.look(cmd)
		}
		return err
	}
}

func (a *after) look(cmd redis.Cmder) {
	if cmd.Name() == a.name {
		a.once.Do(a.do)
	}
}

// Producers enqueue two lists of rooms under one name at once. One makes the batch, the
// others with the same rooms find it, and those with other rooms get ErrExists.
func TestTwentyProducersOfOneName(t *testing.T) {
	t.Parallel()
	server := redistest.Real(t)
	var created, same, refused atomic.Int64
	var all sync.WaitGroup
	for i, c := range clients(t, server.URL(), 20) {
		all.Go(func() {
			rooms := list(tasks.Room{SdkAppId: app, RoomId: 1}, tasks.Room{SdkAppId: app, RoomId: uint64(2 + i%2)})
			switch b, err := c.Batch(t.Context(), rooms, enqueue.BatchOptions{ID: "monday"}); {
			case errors.Is(err, enqueue.ErrExists):
				refused.Add(1)
			case err != nil:
				t.Error(err)
			case b.Created:
				created.Add(1)
			default:
				same.Add(1)
			}
		})
	}
	all.Wait()
	if created.Load() != 1 || same.Load() != 9 || refused.Load() != 10 {
		t.Errorf("%d made it, %d found their rooms, %d were refused", created.Load(), same.Load(), refused.Load())
	}
}

func TestTwentyProducersOfOneList(t *testing.T) {
	t.Parallel()
	const n = 20_000
	server := redistest.Real(t)
	rooms := func(yield func(tasks.Room, error) bool) {
		for i := range uint64(n) {
			if !yield(tasks.Room{RoomId: i + 1}, nil) {
				return
			}
		}
	}
	got := make([]enqueue.Batch, 20)
	var all sync.WaitGroup
	for i, c := range clients(t, server.URL(), len(got)) {
		all.Go(func() {
			var err error
			got[i], err = c.Batch(t.Context(), rooms, enqueue.BatchOptions{ID: "class-", Defaults: tasks.Room{SdkAppId: app}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	created := 0
	for _, b := range got {
		if b.Created {
			created++
		}
		if b.ID != got[0].ID || b.Rooms != n {
			t.Errorf("%+v", b)
		}
	}
	if created != 1 {
		t.Errorf("%d of 20 say that they made it", created)
	}
	c := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer c.Close()
	if waiting, _, err := backlog.New(c, keys.Default).Waiting(t.Context()); waiting != n || err != nil {
		t.Errorf("%d rooms wait, %v", waiting, err)
	}
	if left := c.Keys(t.Context(), keys.Default.Loading("*")).Val(); len(left) > 0 {
		t.Errorf("loads are left: %v", left)
	}
}

func TestFull(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const maxmemory = 20 << 20
	limited := func(t *testing.T) *redis.Client {
		t.Helper()
		c := redis.NewClient(&redis.Options{Addr: redistest.Real(t, "--maxmemory", "20mb").Addr})
		t.Cleanup(func() { c.Close() })
		return c
	}
	batch := func(t *testing.T, c *redis.Client, n int) (enqueue.Batch, error) {
		return enqueue.New(c, keys.Default).Batch(t.Context(), func(yield func(tasks.Room, error) bool) {
			for i := range uint64(n) {
				if !yield(tasks.Room{SdkAppId: app, RoomId: i + 1}, nil) {
					return
				}
			}
		}, enqueue.BatchOptions{ID: "b-" + strings.ToLower(tasks.NewID()[2:12])})
	}
	// others fills Redis with foreign keys, up to used bytes or a little more.
	others := func(t *testing.T, c *redis.Client, used int64) {
		t.Helper()
		for i := 0; ; i++ {
			servers, err := rdb.Servers(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if servers[0].Memory.Used >= used {
				return
			}
			if err := c.SetRange(t.Context(), fmt.Sprintf("others:%d", i), 50_000, "x").Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	refused := func(t *testing.T, err error) *enqueue.FullError {
		t.Helper()
		var full *enqueue.FullError
		if !errors.As(err, &full) || full.Max != maxmemory || float64(full.Used+full.Reserved) < enqueue.AdmitUpTo*maxmemory {
			t.Fatalf("err = %v, %+v", err, full)
		}
		return full
	}

	t.Run("Redis takes no more, and all that it took comes to its end", func(t *testing.T) {
		c := limited(t)
		others(t, c, 15_000_000)
		rooms := 0
		for {
			b, err := batch(t, c, 50)
			if err != nil {
				refused(t, err)
				break
			}
			rooms += b.Rooms
		}
		if rooms < 500 || rooms > 1300 {
			t.Fatalf("%d rooms of batches accepted", rooms)
		}
		singles := 0
		for ; ; singles++ {
			_, err := enqueue.New(c, keys.Default).Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 9}, enqueue.RoomOptions{})
			if err != nil {
				refused(t, err)
				break
			}
		}

		sim := drain(t, c, 500)
		records := ledger.New(c, ledger.Options{})
		var done, succeeded int
		redistest.Until(t, "all batches ended", func() bool {
			if _, err := batch(t, c, 600); err == nil {
				t.Error("a batch was accepted while the first ones drained")
			}
			all, err := records.Batches(t.Context(), 100)
			if err != nil {
				t.Fatal(err)
			}
			done, succeeded = 0, 0
			for _, b := range all {
				done, succeeded = done+b.Done(), succeeded+b.Succeeded
			}
			return done >= rooms && sim.State().Tasks.Created >= int64(rooms+singles)
		})
		if n := sim.State().Tasks.Created; succeeded != rooms || n != int64(rooms+singles) {
			t.Errorf("%d rooms of batches and %d single ones accepted; %d succeeded, %d tasks at Tencent", rooms,
				singles, succeeded, n)
		}
		t.Logf("%d rooms of batches and %d single ones came to their end", rooms, singles)
		if out := c.Info(t.Context(), "errorstats").Val(); strings.Contains(out, "errorstat_OOM") {
			t.Errorf("Redis refused a write: %s", out)
		}
	})

	t.Run("a batch that would not fit is refused as a whole, however few bytes it has", func(t *testing.T) {
		c := limited(t)
		_, err := batch(t, c, 50_000) // 0.3 MB now, 75 MB of records
		if full := refused(t, err); full.Reserved > 30_000*2000 {
			t.Errorf("refused only after %d bytes were asked for", full.Reserved)
		}
		nothing(t, c)
		if _, err := batch(t, c, 5000); err != nil {
			t.Errorf("a small one after it: %v", err)
		}
	})

	t.Run("what exists is found also in a full Redis", func(t *testing.T) {
		c := limited(t)
		room, o := tasks.Room{SdkAppId: app, RoomId: 5}, enqueue.RoomOptions{Key: "k"}
		drain(t, c, 20)
		if _, err := enqueue.New(c, keys.Default).Room(t.Context(), room, o); err != nil {
			t.Fatal(err)
		}
		redistest.Until(t, "the snapshot is begun",
			func() bool { return c.Exists(t.Context(), keys.Default.Snapshot(tasks.KeyID(app, 5, "k"))).Val() == 1 })
		others(t, c, 18_000_000)
		if s, err := enqueue.New(c, keys.Default).Room(t.Context(), room, o); err != nil || s.Created {
			t.Errorf("%+v, %v", s, err)
		}
		_, err := enqueue.New(c, keys.Default).Room(t.Context(), room, enqueue.RoomOptions{})
		refused(t, err)
	})

	t.Run("the refusal of Redis itself has the figures too", func(t *testing.T) {
		c := limited(t)
		client := enqueue.New(c, keys.Default)
		if _, err := client.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 1}, enqueue.RoomOptions{}); err != nil {
			t.Fatal(err)
		}
		others(t, c, maxmemory-1) // within the second for which the client reuses its last check
		var err error
		for id := uint64(2); err == nil && id < 500; id++ { // the used memory varies a little
			_, err = client.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: id}, enqueue.RoomOptions{})
		}
		full := refused(t, err)
		for _, want := range []string{"21.0 MB;", "MB used", "80 %", "raise maxmemory"} {
			if !strings.Contains(full.Error(), want) {
				t.Errorf("it lacks %q: %v", want, full)
			}
		}
	})

	t.Run("a server without a limit takes everything", func(t *testing.T) {
		c := redistest.Client(t)
		if _, err := batch(t, c, 50_000); err != nil {
			t.Error(err)
		}
	})
}

func TestEviction(t *testing.T) {
	c := redis.NewClient(&redis.Options{Addr: redistest.Real(t, "--maxmemory-policy", "allkeys-lru").Addr})
	defer c.Close()
	_, room := enqueue.New(c, keys.Default).Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 1}, enqueue.RoomOptions{})
	_, batch := enqueue.New(c, keys.Default).
		Batch(t.Context(), list(tasks.Room{SdkAppId: app, RoomId: 1}), enqueue.BatchOptions{})
	for name, err := range map[string]error{"room": room, "batch": batch} {
		var evicts *rdb.EvictionError
		if !errors.As(err, &evicts) || evicts.Policy != "allkeys-lru" {
			t.Errorf("%s: err = %v", name, err)
		}
	}
	nothing(t, c)
}

func TestReplicated(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	master := redistest.Real(t, "--repl-diskless-sync-delay", "0")
	host, port, _ := strings.Cut(master.Addr, ":")
	replica := redistest.Real(t, "--replicaof", host+" "+port)
	m, r := redis.NewClient(&redis.Options{Addr: master.Addr}), redis.NewClient(&redis.Options{Addr: replica.Addr})
	defer m.Close()
	defer r.Close()
	redistest.Until(t, "the replica follows", func() bool {
		return strings.Contains(m.Info(t.Context(), "replication").Val(), "state=online")
	})
	client := enqueue.New(m, keys.Default)
	room := func(key string) (enqueue.Snapshot, error) {
		return client.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 1}, enqueue.RoomOptions{Key: key, Replicated: true})
	}
	batch := func(id string) (enqueue.Batch, error) {
		return client.Batch(t.Context(), list(tasks.Room{SdkAppId: app, RoomId: 1}), enqueue.BatchOptions{
			ID: id, Replicated: true,
		})
	}
	onReplica := func(id string) bool {
		_, err := asynq.NewInspectorFromRedisClient(r).GetTaskInfo(keys.Default.QueueInteractive(), id)
		return err == nil
	}

	t.Run("what is accepted is on the replica", func(t *testing.T) {
		for i := range 20 {
			s, err := room("")
			if err != nil || !onReplica(s.ID) {
				t.Errorf("room %d: %+v, %v", i, s, err)
			}
		}
		if _, err := batch("a"); err != nil ||
			r.Exists(t.Context(), keys.Default.Batch("a"), keys.Default.Rows("a")).Val() != 2 {
			t.Errorf("batch: %v", err)
		}
	})

	t.Run("a frozen replica makes it an error, at first and again, and all is well when it is back", func(t *testing.T) {
		if err := replica.Freeze(); err != nil {
			t.Fatal(err)
		}
		defer replica.Thaw()
		for i, created := range []bool{true, false} {
			s, err := room("k")
			if !errors.Is(err, enqueue.ErrNotReplicated) || s.Created != created ||
				!strings.Contains(err.Error(), s.ID+" is accepted here") {
				t.Errorf("room, call %d: %+v, %v", i+1, s, err)
			}
			b, err := batch("b")
			if !errors.Is(err, enqueue.ErrNotReplicated) || b.Created != created {
				t.Errorf("batch, call %d: %+v, %v", i+1, b, err)
			}
		}
		if err := replica.Thaw(); err != nil {
			t.Fatal(err)
		}
		redistest.Until(t, "the replica is back", func() bool {
			s, err := room("k")
			if err == nil && (s.Created || !onReplica(s.ID)) {
				t.Errorf("%+v, on the replica: %v", s, onReplica(s.ID))
			}
			return err == nil
		})
		if b, err := batch("b"); err != nil || b.Created {
			t.Errorf("%+v, %v", b, err)
		}
	})

	t.Run("a snapshot that a worker has ended already is waited for by its record", func(t *testing.T) {
		drain(t, m, 20)
		s, err := room("ended")
		if err != nil {
			t.Fatal(err)
		}
		redistest.Until(t, "its task is gone", func() bool {
			_, err := asynq.NewInspectorFromRedisClient(m).GetTaskInfo(keys.Default.QueueInteractive(), s.ID)
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
		if s, err = room("ended"); err != nil || s.Created {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

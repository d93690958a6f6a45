package enqueue_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func TestKey(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	t.Run("fifty concurrent producers, before and after the end: one snapshot", func(t *testing.T) {
		url := redistest.URL(t)
		producers := newProducers(t, url, 50)
		enqueueAll := func() (created int, id string) {
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
					t.Errorf("Room() = %+v, want id %s", s, tasks.KeyID(app, 5, "lesson 7"))
				}
			}
			return created, got[0].ID
		}
		created, id := enqueueAll()
		if created != 1 {
			t.Errorf("%d of 50 producers created it, want 1", created)
		}

		c, closeRedis, err := rdb.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeRedis() })
		sim := runWorker(t, c, 20)
		records := ledger.New(c, ledger.Options{})
		redistest.Until(t, "the snapshot ended", func() bool {
			enqueueAll() // while it runs, too
			s, err := records.Snapshot(t.Context(), id)
			return err == nil && s.State == ledger.Succeeded
		})
		inspector := asynq.NewInspectorFromRedisClient(c)
		redistest.Until(t, "its task is gone", func() bool {
			_, err := inspector.GetTaskInfo(keys.Default.QueueInteractive(), id)
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
		if created, _ := enqueueAll(); created != 0 {
			t.Errorf("%d producers created it after its end, want 0", created)
		}
		if _, err := inspector.GetTaskInfo(keys.Default.QueueInteractive(), id); !errors.Is(err, asynq.ErrTaskNotFound) {
			t.Errorf("the snapshot has a new task (%v)", err)
		}
		if n := sim.State().Tasks.Created; n != 1 {
			t.Errorf("%d tasks at Tencent, want 1", n)
		}
	})

	t.Run("other parameters: ErrExists with the first snapshot", func(t *testing.T) {
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
				t.Errorf("%s: Room() = %+v, %v, want %+v", when, s, err, want)
			}
		}
		check("first", first, true, true)
		check("same on the queue", first, false, true)
		check("other on the queue", other, false, false)

		runWorker(t, c, 20)
		redistest.Until(t, "the snapshot ended", func() bool {
			s, err := ledger.New(c, ledger.Options{}).Snapshot(t.Context(), tasks.KeyID(app, 5, "k"))
			return err == nil && s.State.Ended()
		})
		check("same after its end", first, false, true)
		check("other after its end", other, false, false)
	})

	t.Run("other parameters enqueued and begun during the call: ErrExists", func(t *testing.T) {
		c := redistest.Client(t)
		other := tasks.SnapshotPayload{ID: tasks.KeyID(app, 5, "k"),
			Room: tasks.Room{SdkAppId: app, RoomId: 5, SnapshotMode: tasks.ModeAllMarks}}
		hooked := redis.NewClient(c.Options())
		defer hooked.Close()
		hooked.AddHook(runAfterFirst("hgetall", func() {
			if in, err := ledger.New(c, ledger.Options{}).Begin(t.Context(), other, "x", ""); err != nil ||
				in.Verdict != ledger.Send {
				t.Errorf("Begin() = %+v, %v, want Send", in, err)
			}
		}))
		s, err := enqueue.New(hooked, keys.Default).
			Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 5}, enqueue.RoomOptions{Key: "k"})
		if !errors.Is(err, enqueue.ErrExists) || s.ID != other.ID || s.Created {
			t.Errorf("Room() = %+v, %v, want ErrExists", s, err)
		}
	})

	t.Run("other application, room or key: another snapshot", func(t *testing.T) {
		client := enqueue.New(redistest.Client(t), keys.Default)
		ids := map[string]bool{}
		for _, r := range []struct {
			app, room uint64
			key       string
		}{{app, 5, "k"}, {app + 1, 5, "k"}, {app, 6, "k"}, {app, 5, "l"}, {app, 5, ""}, {app, 5, ""}} {
			s, err := client.Room(t.Context(), tasks.Room{SdkAppId: r.app, RoomId: r.room}, enqueue.RoomOptions{Key: r.key})
			if err != nil || !s.Created || ids[s.ID] {
				t.Errorf("Room(%+v) = %+v, %v, want a new snapshot", r, s, err)
			}
			ids[s.ID] = true
		}
	})

	t.Run("not printable: RoomError", func(t *testing.T) {
		c := redistest.Client(t)
		_, err := enqueue.New(c, keys.Default).
			Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 5}, enqueue.RoomOptions{Key: "a\nb"})
		var bad *tasks.RoomError
		if !errors.As(err, &bad) {
			t.Errorf("Room() = %v, want a RoomError", err)
		}
		checkEmpty(t, c)
	})
}

// runAfterFirst runs do after the first command of that name.
func runAfterFirst(name string, do func()) redis.Hook { return &afterHook{name: name, do: do} }

type afterHook struct {
	name string
	do   func()
	once sync.Once
}

func (a *afterHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a *afterHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		a.runOnce(cmd)
		return err
	}
}

func (a *afterHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, all []redis.Cmder) error {
		err := next(ctx, all)
		for _, cmd := range all {
			a.runOnce(cmd)
		}
		return err
	}
}

func (a *afterHook) runOnce(cmd redis.Cmder) {
	if cmd.Name() == a.name {
		a.once.Do(a.do)
	}
}

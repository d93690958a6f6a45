package webtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/internal/syncbuf"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/web"
	"tiwsnap/web/api"
	"tiwsnap/worker"
)

// Installation is a Redis, a simulator, a worker and a server. Its users are ada with the role view and bob with the
// role operate.
type Installation struct {
	*testing.T
	URL       string
	Redis     *redis.Client
	Log       *syncbuf.Buffer
	Simulator *tiwtest.Server // nil without options
}

// NewInstallation starts an installation. Without options it has no simulator and no worker.
func NewInstallation(t *testing.T, o *tiwtest.Options) *Installation {
	t.Helper()
	w := &Installation{T: t, Redis: redistest.Client(t), Log: new(syncbuf.Buffer)}
	apiOptions := api.Options{Redis: w.Redis, Ledger: ledger.New(w.Redis, ledger.Options{})}
	WithSimulator(t)(&apiOptions)
	WithSchedules(t)(&apiOptions)
	if o != nil {
		apiOptions.Limiters = w.work(*o).Limiters()
	}
	log := slog.New(slog.NewTextHandler(w.Log, nil))
	auth, err := web.NewAuth(web.AuthOptions{
		Redis: w.Redis, Log: log,
		Users: []web.User{
			{Name: "ada", Hash: PasswordHash, Roles: []web.Role{web.RoleView}},
			{Name: "bob", Hash: PasswordHash, Roles: []web.Role{web.RoleOperate}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	apiOptions.Log = log
	h, stop := Handler(auth, apiOptions)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.URL = "http://" + l.Addr().String()
	srv := &http.Server{Handler: h}
	srv.RegisterOnShutdown(stop)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("open pages keep the server from shutting down: %v", err)
			srv.Close()
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return w
}

// work starts a simulator and a worker.
func (w *Installation) work(o tiwtest.Options) *worker.Worker {
	w.Helper()
	w.Simulator = tiwtest.Start(w.T, o)
	key := common.NewCredential(tiwtest.DefaultSecret, tiwtest.DefaultSecret)
	api, err := tiw.New(tiw.Options{Endpoint: w.Simulator.URL, Credential: key})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { api.Close() })
	wk, err := worker.New(worker.Options{Redis: w.Redis, TIW: api, ConfirmAfter: 500 * time.Millisecond})
	if err != nil {
		w.Fatal(err)
	}
	ctx, stop := context.WithCancel(w.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- wk.Run(ctx) }()
	w.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			w.Error(err)
		}
	})
	return wk
}

// Hostile is text that does harm if it is run as HTML or JavaScript.
const Hostile = `"'><img src=x onerror=alert(1)><script>alert(2)</script></script><svg ` +
	`onload=alert(3)>{{.}}${alert(4)}javascript:alert(5)`

// Batch enqueues n rooms with hostile text in all labels.
func (w *Installation) Batch(id string, n int) {
	w.Helper()
	rooms := func(yield func(tasks.Room, error) bool) {
		for i := range n {
			room := tasks.Room{
				SdkAppId: 1400123480, RoomId: uint64(i + 1), Label: map[string]string{"class": Hostile},
				Whiteboard: &tasks.Whiteboard{InitParams: `{"a":"<img src=x onerror=alert(6)>"}`},
			}
			if !yield(room, nil) {
				return
			}
		}
	}
	if _, err := enqueue.New(w.Redis, keys.Default).Batch(w.Context(), rooms, enqueue.BatchOptions{ID: id}); err != nil {
		w.Fatal(err)
	}
}

// Rooms enqueues a batch of rooms 1 to n of a class.
func (w *Installation) Rooms(id string, n int) {
	w.Helper()
	rooms := func(yield func(tasks.Room, error) bool) {
		for i := range n {
			label := map[string]string{"Class": fmt.Sprintf("Class %d", i+1)}
			if !yield(tasks.Room{SdkAppId: 1400123480, RoomId: uint64(i + 1), Label: label}, nil) {
				return
			}
		}
	}
	o := enqueue.BatchOptions{ID: id, By: "user bob"}
	if _, err := enqueue.New(w.Redis, keys.Default).Batch(w.Context(), rooms, o); err != nil {
		w.Fatal(err)
	}
}

// Hold makes a snapshot with an unknown outcome, held for review.
func (w *Installation) Hold(id string, room uint64) {
	w.Helper()
	l := ledger.New(w.Redis, ledger.Options{Hold: true})
	p := tasks.SnapshotPayload{ID: id, Room: tasks.Room{SdkAppId: 1400123480, RoomId: room}}
	intent, err := l.Begin(w.Context(), p, "token"+id, "")
	if err == nil {
		err = l.Outcome(w.Context(), id, intent.Attempt, ledger.Outcome{State: ledger.Unknown, Code: "InternalError"})
	}
	if err == nil { // the next attempt holds it for review
		_, err = l.Begin(w.Context(), p, "token"+id, "")
	}
	if s, read := l.Snapshot(w.Context(), id); err != nil || read != nil || !s.Held {
		w.Fatalf("%s is not held: %+v, %v, %v", id, s, err, read)
	}
}

// DeadWebhook makes an archived webhook about a batch.
func (w *Installation) DeadWebhook(batch string) (id string) {
	w.Helper()
	notify, err := tasks.NewNotify("batch.done", batch, time.Now(), "https://school.example/hook").Task("")
	if err == nil {
		var info *asynq.TaskInfo
		c := asynq.NewClientFromRedisClient(w.Redis)
		if info, err = c.EnqueueContext(w.Context(), notify, asynq.ProcessIn(time.Hour)); err == nil {
			id = info.ID
			err = asynq.NewInspectorFromRedisClient(w.Redis).ArchiveTask(keys.Default.QueueWebhooks(), id)
		}
	}
	if err != nil {
		w.Fatal(err)
	}
	return id
}

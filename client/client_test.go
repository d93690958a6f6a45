package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/client"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/worker"
	"tiwsnap/worker/workertest"
)

const (
	app       = 1400123480
	namespace = "school"
)

// classRooms yields n rooms of one application, with RoomIds from 1.
func classRooms(n int) iter.Seq2[client.Room, error] {
	return func(yield func(client.Room, error) bool) {
		for i := range n {
			if !yield(client.Room{SdkAppId: app, RoomId: uint64(i + 1)}, nil) {
				return
			}
		}
	}
}

// openClient returns a client of a new Redis and the URL of that Redis.
func openClient(t *testing.T) (*client.Client, string) {
	t.Helper()
	url := redistest.URL(t)
	c, err := client.Open(url, namespace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, url
}

// runWorker runs a worker and a simulator until the test ends.
func runWorker(t *testing.T, url string) {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	o.ContextTimeoutEnabled = true
	rdb := redis.NewClient(o)
	t.Cleanup(func() { rdb.Close() })
	sim := tiwtest.Start(t, tiwtest.Options{TaskDuration: time.Millisecond})
	workertest.Run(t, worker.Options{
		Redis: rdb, Namespace: namespace, TIW: workertest.API(t, sim, tiw.Options{}), ConfirmAfter: 50 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler),
	})
}

func TestFromEnqueueToResults(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	c, url := openClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	batch, err := c.Batch(ctx, classRooms(3), client.BatchOptions{ID: "monday"})
	if err != nil || batch.ID != "monday" || batch.Rooms != 3 || !batch.Created {
		t.Fatalf("Batch() = %+v, %v", batch, err)
	}
	single, err := c.Room(ctx, client.Room{SdkAppId: app, RoomId: 9}, client.RoomOptions{Key: "lesson-7"})
	if err != nil || !single.Created {
		t.Fatalf("Room() = %+v, %v", single, err)
	}
	if s, err := c.Status(ctx, "monday"); err != nil || s.Ended() || s.Queued != 3 {
		t.Errorf("Status() before a worker runs = %+v, %v", s, err)
	}
	if r, err := c.Result(ctx, single.ID); err != nil || r.State != ledger.Queued || r.Room.RoomId != 9 {
		t.Errorf("Result() before a worker runs = %+v, %v", r, err)
	}

	runWorker(t, url)
	if s, err := c.Wait(ctx, "monday"); err != nil || !s.Ended() || s.Succeeded != 3 {
		t.Errorf("Wait() = %+v, %v", s, err)
	}
	if r, err := c.WaitSnapshot(ctx, single.ID); err != nil || r.State != ledger.Succeeded || len(r.Images) == 0 {
		t.Errorf("WaitSnapshot() = %+v, %v", r, err)
	}
	var got []string
	for r, err := range c.Results(ctx, "monday") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(r.Room.RoomId, " ", r.State))
		if len(r.Images) == 0 {
			t.Errorf("snapshot %s has no image", r.ID)
		}
	}
	if text := strings.Join(got, ","); text != "1 succeeded,2 succeeded,3 succeeded" {
		t.Errorf("Results() = %s, want 1, 2 and 3 succeeded", text)
	}
	for _, id := range []string{"monday", single.ID, "monday.2"} {
		if n, err := c.Cancel(ctx, id); err != nil || n != 0 {
			t.Errorf("Cancel(%s) after the end = %d, %v, want 0", id, n, err)
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	c, _ := openClient(t)
	if _, err := c.Batch(t.Context(), classRooms(5), client.BatchOptions{ID: "monday"}); err != nil {
		t.Fatal(err)
	}
	single, err := c.Room(t.Context(), client.Room{SdkAppId: app, RoomId: 9}, client.RoomOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		id   string
		want int
	}{{"monday.2", 1}, {"monday.2", 0}, {single.ID, 1}, {"monday", 4}, {"monday", 0}} {
		if n, err := c.Cancel(t.Context(), test.id); err != nil || n != test.want {
			t.Errorf("Cancel(%s) = %d, %v, want %d", test.id, n, err, test.want)
		}
	}
	if s, err := c.Wait(t.Context(), "monday"); err != nil || s.Canceled != 5 {
		t.Errorf("Wait() = %+v, %v", s, err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ url, namespace, want string }{
		{"embedded", "", "redis URL embedded: embedded is a Redis inside one process"},
		{"redis://:S3CR3T@h:x", "", "the port is not a number"},
		{"redis://h", "My_School", `namespace "My_School": must be 1 to 32 of a-z, 0-9 and -`},
	} {
		c, err := client.Open(test.url, test.namespace)
		if c != nil || err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "S3CR3T") {
			t.Errorf("Open(%s, %q) = %v, want %s", test.url, test.namespace, err, test.want)
		}
	}

	c, _ := openClient(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, status := c.Status(ctx, "none")
	_, result := c.Result(ctx, "s-none")
	_, waited := c.Wait(ctx, "none")
	_, waitedSnapshot := c.WaitSnapshot(ctx, "none.3")
	_, canceled := c.Cancel(ctx, "none")
	results := func(id string) (err error) {
		for _, err = range c.Results(ctx, id) {
		}
		return err
	}
	for i, err := range []error{status, result, waited, waitedSnapshot, canceled, results("none")} {
		if !errors.Is(err, client.ErrNotFound) {
			t.Errorf("call %d = %v, want ErrNotFound", i, err)
		}
	}
	var wrong *client.RoomError
	if _, err := c.Room(ctx, client.Room{RoomId: 1}, client.RoomOptions{}); !errors.As(err, &wrong) {
		t.Errorf("Room() without SdkAppId = %v, want a RoomError", err)
	}
	if _, err := c.Batch(ctx, classRooms(2), client.BatchOptions{ID: "monday"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Batch(ctx, classRooms(3), client.BatchOptions{ID: "monday"}); !errors.Is(err, client.ErrExists) {
		t.Errorf("Batch() of other rooms with the same id = %v, want ErrExists", err)
	}
	cancel()
	if _, err := c.Wait(ctx, "monday"); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait() with a canceled context = %v", err)
	}
}

func TestEviction(t *testing.T) {
	t.Parallel()
	rdb := redistest.RealClient(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	c, err := client.New(rdb, namespace)
	if err != nil {
		t.Fatal(err)
	}
	var evicts *client.EvictionError
	if _, err := c.Room(t.Context(), client.Room{SdkAppId: app, RoomId: 1},
		client.RoomOptions{}); !errors.As(err, &evicts) {
		t.Errorf("Room() = %v, want an EvictionError", err)
	}
}

// Lost returns what Redis has lost. The same batch can be enqueued again.
func TestLostReportsLoss(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	c, url := openClient(t)
	ctx := t.Context()
	if _, err := c.Batch(ctx, classRooms(3), client.BatchOptions{ID: "monday"}); err != nil {
		t.Fatal(err)
	}
	room, err := c.Room(ctx, client.Room{SdkAppId: app, RoomId: 9}, client.RoomOptions{Key: "lesson"})
	if err != nil {
		t.Fatal(err)
	}
	if loss, err := c.Lost(ctx); loss != nil || err != nil {
		t.Fatalf("Lost() = %v, %v before a loss", loss, err)
	}
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	db := redis.NewClient(o)
	t.Cleanup(func() { db.Close() })
	if err := db.FlushDB(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	var loss *client.Loss
	deadline := time.After(time.Minute)
	for loss == nil {
		select {
		case <-time.Tick(50 * time.Millisecond):
		case <-deadline:
			t.Fatal("Lost() = nil after a minute")
		}
		if loss, err = c.Lost(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(loss.Missing, "monday") || !slices.Contains(loss.Missing, room.ID) {
		t.Fatalf("Lost() = %+v, want monday and %s in Missing", loss, room.ID)
	}
	if _, err := c.Wait(ctx, "monday"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("Wait() for a lost batch = %v, want ErrNotFound", err)
	}
	b, err := c.Batch(ctx, classRooms(3), client.BatchOptions{ID: "monday"})
	if err != nil || !b.Created {
		t.Errorf("Batch() after the loss = %+v, %v, want it created", b, err)
	}
}

package enqueue_test

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/tasks"
)

func TestFullRedis(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	const maxmemory = 20 << 20
	newRedis := func(t *testing.T) *redis.Client {
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
	// fillRedis adds foreign keys, up to used bytes or a little more.
	fillRedis := func(t *testing.T, c *redis.Client, used int64) {
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
	checkFull := func(t *testing.T, err error) *enqueue.FullError {
		t.Helper()
		var full *enqueue.FullError
		if !errors.As(err, &full) || full.Max != maxmemory || float64(full.Used+full.Reserved) < enqueue.AdmitUpTo*maxmemory {
			t.Fatalf("error %v, %+v, want a FullError above %g of maxmemory", err, full, enqueue.AdmitUpTo)
		}
		return full
	}

	t.Run("accepts until full, and all accepted rooms end", func(t *testing.T) {
		c := newRedis(t)
		fillRedis(t, c, 15_000_000)
		rooms := 0
		for {
			b, err := batch(t, c, 50)
			if err != nil {
				checkFull(t, err)
				break
			}
			rooms += b.Rooms
		}
		if rooms < 500 || rooms > 1300 {
			t.Fatalf("%d rooms of batches accepted, want 500 to 1300", rooms)
		}
		singles := 0
		for ; ; singles++ {
			_, err := enqueue.New(c, keys.Default).Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 9}, enqueue.RoomOptions{})
			if err != nil {
				checkFull(t, err)
				break
			}
		}

		sim := runWorker(t, c, 500)
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
		t.Logf("%d rooms of batches and %d single ones ended", rooms, singles)
		if out := c.Info(t.Context(), "errorstats").Val(); strings.Contains(out, "errorstat_OOM") {
			t.Errorf("Redis refused a write: %s", out)
		}
	})

	t.Run("batch whose records do not fit: refused as a whole", func(t *testing.T) {
		c := newRedis(t)
		_, err := batch(t, c, 50_000) // 0.3 MB now, 75 MB of records
		if full := checkFull(t, err); full.Reserved > 30_000*2000 {
			t.Errorf("refused after %d bytes were reserved, want at most %d", full.Reserved, 30_000*2000)
		}
		checkEmpty(t, c)
		if _, err := batch(t, c, 5000); err != nil {
			t.Errorf("small batch after it: %v", err)
		}
	})

	t.Run("existing key is found while full", func(t *testing.T) {
		c := newRedis(t)
		room, o := tasks.Room{SdkAppId: app, RoomId: 5}, enqueue.RoomOptions{Key: "k"}
		runWorker(t, c, 20)
		if _, err := enqueue.New(c, keys.Default).Room(t.Context(), room, o); err != nil {
			t.Fatal(err)
		}
		redistest.Until(t, "the snapshot has begun",
			func() bool { return c.Exists(t.Context(), keys.Default.Snapshot(tasks.KeyID(app, 5, "k"))).Val() == 1 })
		fillRedis(t, c, 18_000_000)
		if s, err := enqueue.New(c, keys.Default).Room(t.Context(), room, o); err != nil || s.Created {
			t.Errorf("Room() = %+v, %v, want the existing snapshot", s, err)
		}
		_, err := enqueue.New(c, keys.Default).Room(t.Context(), room, enqueue.RoomOptions{})
		checkFull(t, err)
	})

	t.Run("OOM of Redis: FullError with the figures", func(t *testing.T) {
		c := newRedis(t)
		client := enqueue.New(c, keys.Default)
		if _, err := client.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: 1}, enqueue.RoomOptions{}); err != nil {
			t.Fatal(err)
		}
		fillRedis(t, c, maxmemory-1) // within the second for which the client reuses its last check
		var err error
		for id := uint64(2); err == nil && id < 500; id++ { // the used memory varies a little
			_, err = client.Room(t.Context(), tasks.Room{SdkAppId: app, RoomId: id}, enqueue.RoomOptions{})
		}
		full := checkFull(t, err)
		for _, want := range []string{"21.0 MB;", "MB used", "80 %", "raise maxmemory"} {
			if !strings.Contains(full.Error(), want) {
				t.Errorf("error lacks %q: %v", want, full)
			}
		}
	})

	t.Run("no maxmemory: accepts everything", func(t *testing.T) {
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
		Batch(t.Context(), roomSeq(tasks.Room{SdkAppId: app, RoomId: 1}), enqueue.BatchOptions{})
	for name, err := range map[string]error{"room": room, "batch": batch} {
		var evicts *rdb.EvictionError
		if !errors.As(err, &evicts) || evicts.Policy != "allkeys-lru" {
			t.Errorf("%s: error %v, want an EvictionError", name, err)
		}
	}
	checkEmpty(t, c)
}

// Every accepted room can end: enqueue accepts no more rooms than the memory of Redis
// holds until their end, with boards of 60 images and with parameters of 12 kB.
func TestAcceptedRoomsCanEnd(t *testing.T) {
	needs.Time(t)
	for _, test := range []struct {
		name       string
		images     int
		parameters int
	}{
		{"boards of 60 images", 60, 0},
		{"parameters of 12 kB", 2, 12_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rdb := redistest.RealClient(t, "--maxmemory", "6mb")
			c := enqueue.New(rdb, keys.Default)
			l := ledger.New(rdb, ledger.Options{})
			room := func(n int) tasks.Room {
				r := tasks.Room{SdkAppId: 1, RoomId: uint64(n)}
				if test.parameters > 0 {
					var text strings.Builder
					for text.Len() < test.parameters {
						text.WriteString(uuid.NewString()) // it compresses badly
					}
					r.Whiteboard = &tasks.Whiteboard{InitParams: strconv.Quote(text.String())}
				}
				return r
			}
			const rooms = 50
			batch := func(first int) iter.Seq2[tasks.Room, error] {
				return func(yield func(tasks.Room, error) bool) {
					for n := range rooms {
						if !yield(room(first+n), nil) {
							return
						}
					}
				}
			}
			var batches []string
			for {
				b, err := c.Batch(t.Context(), batch(1+rooms*len(batches)), enqueue.BatchOptions{
					ID: fmt.Sprintf("b%d", len(batches)),
				})
				var full *enqueue.FullError
				if errors.As(err, &full) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				batches = append(batches, b.ID)
			}
			t.Logf("%d batches of %d rooms were accepted", len(batches), rooms)
			if len(batches) < 3 {
				t.Errorf("%d batches were accepted, want at least 3", len(batches))
			}
			for _, b := range batches {
				for n := 1; n <= rooms; n++ {
					p := tasks.SnapshotPayload{ID: tasks.RowID(b, n), Batch: b, Room: room(n)}
					in, err := l.Begin(t.Context(), p, "x", "")
					if err != nil {
						t.Fatal(err)
					}
					task := uuid.NewString()
					err = l.Outcome(t.Context(), p.ID, in.Attempt, ledger.Outcome{
						State: ledger.Accepted, TaskID: task, RequestID: uuid.NewString(),
					})
					if err != nil {
						t.Fatal(err)
					}
					images := make([]string, test.images)
					for i := range images {
						images[i] = "https://tiw-1259648581.cos.ap-nanjing.myqcloud.com/" + uuid.NewString() + ".png"
					}
					if err := l.Settle(t.Context(), p.ID, task, ledger.Result{State: ledger.Succeeded, Images: images}); err != nil {
						t.Fatal(err)
					}
				}
				for _, id := range rdb.ZRange(t.Context(), keys.Default.Unpacked(), 0, -1).Val() {
					rdb.ZIncrBy(t.Context(), keys.Default.Unpacked(), -float64(time.Minute.Milliseconds()), id)
				}
				if _, err := l.Pack(t.Context(), 1000); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range batches {
				if b, err := l.Batch(t.Context(), id); err != nil || !b.Ended() || b.Succeeded != rooms {
					t.Errorf("batch %+v (%v), want %d succeeded", b, err, rooms)
				}
			}
		})
	}
}

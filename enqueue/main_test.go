package enqueue_test

import (
	"iter"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/tasks"
	"tiwsnap/tiw"
	"tiwsnap/tiw/tiwtest"
	"tiwsnap/worker"
	"tiwsnap/worker/workertest"
)

func TestMain(m *testing.M) { os.Exit(redistest.Both(m).Run()) }

const app = 1400123480

// runWorker runs a worker and a simulator until the test ends. Both allow rate requests a
// second.
func runWorker(t *testing.T, c redis.UniversalClient, rate int) *tiwtest.Server {
	t.Helper()
	sim := tiwtest.Start(t, tiwtest.Options{Limit: rate, TaskDuration: time.Millisecond, Latency: time.Millisecond})
	workertest.Run(t, worker.Options{
		Redis: c, TIW: workertest.API(t, sim, tiw.Options{}), RateLimit: rate, ConfirmAfter: 100 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler),
	})
	return sim
}

// newProducers returns n producers, each with its own connections.
func newProducers(t *testing.T, url string, n int) []*enqueue.Client {
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

// roomSeq yields the rooms.
func roomSeq(rooms ...tasks.Room) iter.Seq2[tasks.Room, error] {
	return func(yield func(tasks.Room, error) bool) {
		for _, r := range rooms {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// checkEmpty checks that Redis has no keys.
func checkEmpty(t *testing.T, rdb *redis.Client) {
	t.Helper()
	if left := rdb.Keys(t.Context(), "*").Val(); len(left) != 0 {
		t.Errorf("Redis has the keys %v, want none", left)
	}
}

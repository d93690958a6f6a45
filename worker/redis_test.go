package worker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/embedded"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/tiw"
)

// newLoggedWorker returns a worker on rdb, and its log.
func newLoggedWorker(t *testing.T, rdb redis.UniversalClient) (*Worker, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	w, err := New(Options{Redis: rdb, TIW: new(tiw.Client), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.create.Close(context.Background()), w.describe.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return w, &log
}

func TestCheckRedis(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	check := func(t *testing.T, addr string) (string, error) {
		t.Helper()
		c, closeRedis, err := rdb.Open("redis://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		defer closeRedis()
		w, log := newLoggedWorker(t, c)
		err = w.CheckRedis(t.Context())
		return log.String(), err
	}

	t.Run("logs nothing about a Redis with an append-only file", func(t *testing.T) {
		if log, err := check(t, redistest.Real(t, "--appendonly", "yes").Addr); log != "" || err != nil {
			t.Errorf("CheckRedis(): error = %v, log:\n%s", err, log)
		}
	})

	evicting := redistest.RealClient(t)
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu",
		"volatile-random", "volatile-ttl"} {
		t.Run("refuses "+policy, func(t *testing.T) {
			if err := evicting.ConfigSet(t.Context(), "maxmemory-policy", policy).Err(); err != nil {
				t.Fatal(err)
			}
			_, err := check(t, evicting.Options().Addr)
			var evicts *rdb.EvictionError
			if !errors.As(err, &evicts) || evicts.Policy != policy ||
				!strings.Contains(err.Error(), "fix: CONFIG SET maxmemory-policy noeviction") {
				t.Errorf("CheckRedis(): error = %v", err)
			}
		})
	}

	t.Run("warns of a Redis without persistence", func(t *testing.T) {
		log, err := check(t, redistest.Real(t).Addr)
		if err != nil || strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "no append-only file") {
			t.Errorf("CheckRedis(): error = %v, log:\n%s", err, log)
		}
	})

	t.Run("warns of a Redis that does not permit INFO", func(t *testing.T) {
		s := redistest.Real(t, "--user", "worker", "on", ">secret", "~*", "&*", "+@all", "-info")
		log, err := check(t, "worker:secret@"+s.Addr)
		if err != nil || strings.Count(log, "level=WARN") != 1 ||
			!strings.Contains(log, "maxmemory-policy must be noeviction") {
			t.Errorf("CheckRedis(): error = %v, log:\n%s", err, log)
		}
	})

	t.Run("logs nothing about the embedded Redis", func(t *testing.T) {
		c, closeRedis, err := embedded.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer closeRedis()
		w, log := newLoggedWorker(t, c)
		if err := w.CheckRedis(t.Context()); err != nil || log.Len() > 0 {
			t.Errorf("CheckRedis(): error = %v, log:\n%s", err, log)
		}
	})

	t.Run("fails if Redis is not reachable", func(t *testing.T) {
		s := redistest.Real(t)
		s.Kill()
		if _, err := check(t, s.Addr+"?max_retries=-1"); err == nil || !strings.Contains(err.Error(), s.Addr) {
			t.Errorf("CheckRedis(): error = %v", err)
		}
	})
}

func TestWatchRedis(t *testing.T) {
	server := redistest.Real(t)
	synctest.Test(t, func(t *testing.T) { // the clock of the bubble differs from that of Redis
		c := redis.NewClient(&redis.Options{Addr: server.Addr})
		defer c.Close()
		w, log := newLoggedWorker(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		var loop sync.WaitGroup
		loop.Go(func() { w.watchRedis(ctx) })
		countLog := func() (errors, warnings int) {
			synctest.Wait()
			defer log.Reset()
			return strings.Count(log.String(), "level=ERROR"), strings.Count(log.String(), "level=WARN")
		}
		for _, step := range []struct {
			policy string
			wait   time.Duration
			errors int
		}{
			{"noeviction", 3 * time.Minute, 0},
			{"allkeys-lru", 5 * time.Minute, 5},
			{"noeviction", 2 * time.Minute, 0},
		} {
			if err := c.ConfigSet(t.Context(), "maxmemory-policy", step.policy).Err(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(step.wait + time.Second) // by the clock of the bubble
			if errors, warnings := countLog(); errors != step.errors || warnings != int(step.wait/time.Minute) {
				t.Errorf("%s: %d errors and %d warnings of clock skew in %s, want %d and one a minute", step.policy, errors,
					warnings, step.wait, step.errors)
			}
		}
		cancel()
		loop.Wait()
	})
}

package schedule_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/schedule"
)

func TestSourceFailureIsRetried(t *testing.T) {
	var status atomic.Int64
	var requests atomic.Int64
	status.Store(http.StatusServiceUnavailable)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.Header.Get("Authorization") != "Bearer T0KEN" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(int(status.Load()))
		io.WriteString(w, csv)
	}))
	t.Cleanup(server.Close)
	source, err := schedule.URL(server.URL+"/S3CR3T", "T0KEN")
	if err != nil {
		t.Fatal(err)
	}
	c := newClockwork(t, source)
	clock := c.newClock()
	c.tick(clock, 1)
	c.setTime(30 * time.Second)
	c.tick(clock, 5) // the source is not read again before the retry is due
	if s := c.status(); requests.Load() != 1 || s.Trying == nil || s.Trying.Failures != 1 ||
		!strings.Contains(s.Trying.Error, "it answers 503") || strings.Contains(s.Trying.Error, "S3CR3T") {
		t.Errorf("%d requests, want 1; Status() = %+v", requests.Load(), s)
	}
	status.Store(http.StatusOK)
	c.setTime(33 * time.Second)
	c.tick(c.newClock(), 1) // another worker retries
	c.wantBatches("120100")
	if s := c.status(); s.Trying != nil || s.Last.Result != schedule.Enqueued {
		t.Errorf("Status() = %+v", s)
	}

	status.Store(http.StatusNotFound)
	for d := 90 * time.Second; d < 149*time.Second; d += time.Second {
		c.setTime(d)
		c.tick(clock, 1)
	}
	if s := c.status(); s.Last.Result != schedule.Failed || s.Trying != nil || !strings.Contains(s.Last.Error, "404") {
		t.Errorf("Status() = %+v", s)
	}
	status.Store(http.StatusOK)
	c.setTime(150 * time.Second)
	c.tick(clock, 1)
	c.wantBatches("120100 120300")
}

// A tick waits while Redis rejects writes.
func TestTickWaitsWhileRedisRejectsWrites(t *testing.T) {
	client, closeRedis, err := rdb.Open(redistest.Real(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeRedis() })
	c := &clockwork{T: t, rdb: client, schedule: yearly(t, client, schedule.List(csv), 1, nil)}
	clock := c.newClock()
	setMaxmemory := func(limit string) {
		if err := client.ConfigSet(t.Context(), "maxmemory", limit).Err(); err != nil {
			t.Fatal(err)
		}
	}
	setMaxmemory("1")
	if err := clock.Tick(t.Context()); err == nil {
		t.Error("Tick() succeeded while Redis rejects writes")
	}
	if ids := c.batchTicks(); ids != "" {
		t.Errorf("batches = %s, want none", ids)
	}
	setMaxmemory("0")
	c.tick(clock, 1)
	if ids := c.batchTicks(); ids == "" {
		t.Error("no batch after Redis accepts writes again")
	}
}

// Exactly one of three clocks gives up a tick that cannot be made, and adds its webhook to the outbox.
func TestTickIsGivenUpOnce(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(down.Close)
	source, err := schedule.URL(down.URL+"/S3CR3T", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, notify := range []bool{true, false} {
		t.Run(fmt.Sprintf("notifications %v", notify), func(t *testing.T) {
			t.Parallel()
			client := redistest.Client(t)
			// The next failure is the last.
			tried := schedule.Trying{
				Begun: time.Now().Add(-time.Hour), RetryAt: time.Now(), Failures: 9, Error: "previous error",
			}
			c := &clockwork{T: t, rdb: client, schedule: yearly(t, client, source, 1, &tried)}
			l := ledger.New(client, ledger.Options{})
			if err := l.SetNotifications(t.Context(), false, false, false, notify); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				c.runClock()
			}
			c.eventually("the tick is given up", func() bool { return c.status().Last.Result == schedule.Failed })
			if e := c.status().Last.Error; !strings.HasSuffix(e, "it answers 404 Not Found") || strings.Contains(e, "S3CR3T") {
				t.Errorf("Status().Last.Error = %q", e)
			}
			want := 0
			if notify {
				want = 1
			}
			notices := client.ZRange(t.Context(), keys.Default.Outbox(), 0, -1).Val()
			kept := client.Keys(t.Context(), keys.Default.FailedTick("*")).Val()
			if len(notices) != want || len(kept) != want {
				t.Errorf("outbox %v, failed ticks %v, want %d of each", notices, kept, want)
			}
		})
	}
}

// A tick waits while Redis is too full for new work.
func TestTickWaitsWhileRedisIsFull(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	// full returns a Redis above the limit for new work, but below maxmemory.
	full := func(t *testing.T) *redis.Client {
		c := redistest.RealClient(t)
		if err := c.SetRange(t.Context(), "ballast", 13<<20, "x").Err(); err != nil {
			t.Fatal(err)
		}
		servers, err := rdb.Servers(t.Context(), c, "memory")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.ConfigSet(t.Context(), "maxmemory", fmt.Sprint(servers[0].Memory.Used*100/85)).Err(); err != nil {
			t.Fatal(err)
		}
		return c
	}

	t.Run("and is made once after memory was freed", func(t *testing.T) {
		t.Parallel()
		client := full(t)
		c := &clockwork{T: t, rdb: client, schedule: yearly(t, client, schedule.List(csv), 1, nil)}
		for range 2 {
			c.runClock()
		}
		c.eventually("the tick waits", func() bool {
			s := c.status()
			return s.Trying != nil && s.Trying.Waits && strings.Contains(s.Trying.Error, "Redis is full") && s.Overdue.IsZero()
		})
		c.wantBatches("")
		if keys := client.Keys(t.Context(), keys.Default.Loading("*")).Val(); len(keys) != 0 {
			t.Errorf("keys of an incomplete batch: %v", keys)
		}
		if err := client.Del(t.Context(), "ballast").Err(); err != nil {
			t.Fatal(err)
		}
		c.eventually("the tick is made", func() bool { return c.status().Last.Batch != "" })
		if s := c.status(); s.Trying != nil || s.Missed != 0 || s.Last.Rooms != 2 ||
			len(strings.Fields(c.batchTicks())) != 1 {
			t.Errorf("Status() = %+v, batches %q", s, c.batchTicks())
		}
	})

	t.Run("and fails when the next tick is due", func(t *testing.T) {
		t.Parallel()
		client := full(t)
		waits := schedule.Trying{
			Begun: time.Now(), RetryAt: time.Now().Add(time.Hour), Failures: 9, Error: "Redis was full", Waits: true,
		}
		c := &clockwork{T: t, rdb: client, schedule: yearly(t, client, schedule.List(csv), 2, &waits)}
		c.runClock()
		c.eventually("the next tick waits", func() bool {
			s := c.status()
			return s.Trying != nil && s.Trying.Waits && s.Trying.Tick.After(waits.Tick)
		})
		if o := c.status().Last; o.Result != schedule.Failed || o.Error != "Redis was full" || !o.Tick.Equal(waits.Tick) {
			t.Errorf("Status().Last = %+v", o)
		}
	})
}

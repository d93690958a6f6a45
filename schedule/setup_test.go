package schedule_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/embedded"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
)

// clockwork is a schedule on a Redis whose time the test sets.
type clockwork struct {
	*testing.T
	redis    *embedded.Server
	rdb      redis.UniversalClient
	schedule schedule.Schedule
	now      time.Time
}

var monday = time.Date(2026, 11, 23, 12, 0, 30, 0, time.UTC)

func newClockwork(t *testing.T, source schedule.Source) *clockwork {
	m := redistest.Embedded(t)
	c, closeRedis, err := rdb.Open(m.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeRedis() })
	spec, err := schedule.ParseSpec("* * * * *", "UTC")
	if err != nil {
		t.Fatal(err)
	}
	w := &clockwork{t, m, c, schedule.Schedule{
		Name: "s", Cron: "* * * * *", Zone: "UTC", Spec: spec, Source: source,
		Defaults: tasks.Room{SdkAppId: app}, Missed: schedule.MissedOne, MissedWithin: 24 * time.Hour,
	}, monday}
	w.setTime(0)
	return w
}

// setTime sets the time of Redis to monday plus d.
func (c *clockwork) setTime(d time.Duration) {
	c.now = monday.Add(d)
	c.redis.SetTime(c.now)
}

func (c *clockwork) newClock() *schedule.Clock {
	log := slog.New(slog.NewTextHandler(c.Output(), nil))
	return schedule.NewClock(c.rdb, keys.Default, []schedule.Schedule{c.schedule}, log)
}

// runClock runs a clock until the test ends.
func (c *clockwork) runClock() {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { c.newClock().Run(ctx) })
	c.Cleanup(func() {
		cancel()
		all.Wait()
	})
}

// eventually polls every 20 ms, for at most two minutes.
func (c *clockwork) eventually(what string, done func() bool) {
	c.Helper()
	redistest.Until(c, what, done)
}

// tick makes the due ticks of a clock this many times.
func (c *clockwork) tick(clock *schedule.Clock, times int) {
	c.Helper()
	for range times {
		if err := clock.Tick(c.Context()); err != nil {
			c.Fatal(err)
		}
	}
}

// batchTicks returns the ticks in the ids of all batches, oldest first.
func (c *clockwork) batchTicks() string {
	c.Helper()
	ids, err := c.rdb.ZRange(c.Context(), keys.Default.Batches(), 0, -1).Result()
	if err != nil {
		c.Fatal(err)
	}
	for i := range ids {
		ids[i] = strings.TrimSuffix(strings.TrimPrefix(ids[i], "s-20261123t"), "z")
	}
	return strings.Join(ids, " ")
}

func (c *clockwork) wantBatches(want string) {
	c.Helper()
	if got := c.batchTicks(); got != want {
		c.Errorf("batches at %s = %q, want %q", c.now.Format(time.TimeOnly), got, want)
	}
}

func (c *clockwork) status() schedule.Status {
	c.Helper()
	all, err := schedule.NewStore(c.rdb, keys.Default).Status(c.Context(), []schedule.Schedule{c.schedule})
	if err != nil {
		c.Fatal(err)
	}
	return all[0]
}

const app = 1400123480

const csv = "RoomId\n1\n2\nx\n"

// yearly returns a schedule on a real Redis with this many due ticks. The last one is the tick of this year. trying,
// unless nil, gets the first one.
func yearly(t *testing.T, c redis.UniversalClient, source schedule.Source, due int,
	trying *schedule.Trying) (s schedule.Schedule) {
	t.Helper()
	spec, err := schedule.ParseSpec("@yearly", "UTC")
	if err != nil {
		t.Fatal(err)
	}
	s = schedule.Schedule{
		Name: "s", Cron: "@yearly", Zone: "UTC", Spec: spec, Source: source,
		Defaults: tasks.Room{SdkAppId: app}, Missed: schedule.MissedOne, MissedWithin: 10 * 366 * 24 * time.Hour,
	}
	store := schedule.NewStore(c, keys.Default)
	_, now, err := store.State(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	last := time.Date(now.Year()-due, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := store.Settle(t.Context(), s, schedule.Outcome{Tick: last, Result: schedule.Enqueued}); err != nil {
		t.Fatal(err)
	}
	if trying != nil {
		trying.Tick = last.AddDate(1, 0, 0)
		if err := store.Try(t.Context(), s, *trying); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

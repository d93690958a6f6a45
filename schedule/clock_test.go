package schedule_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/enqueue"
	"tiwsnap/internal/embedded"
	"tiwsnap/internal/keys"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/rdb"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
)

// clockwork has a schedule and clocks on a Redis whose time the test sets.
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
	w.at(0)
	return w
}

// at sets the time of Redis to monday plus d.
func (c *clockwork) at(d time.Duration) {
	c.now = monday.Add(d)
	c.redis.SetTime(c.now)
}

func (c *clockwork) clock() *schedule.Clock {
	log := slog.New(slog.NewTextHandler(c.Output(), nil))
	return schedule.NewClock(c.rdb, keys.Default, []schedule.Schedule{c.schedule}, log)
}

// run runs a clock until the test ends.
func (c *clockwork) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { c.clock().Run(ctx) })
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

// tick lets a clock make due ticks this many times.
func (c *clockwork) tick(w *schedule.Clock, times int) {
	c.Helper()
	for range times {
		if err := w.Tick(c.Context()); err != nil {
			c.Fatal(err)
		}
	}
}

// batches returns the ticks in the ids of all batches, oldest first.
func (c *clockwork) batches() string {
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

func (c *clockwork) want(batches string) {
	c.Helper()
	if got := c.batches(); got != batches {
		c.Errorf("at %s there are the batches %q, want %q", c.now.Format(time.TimeOnly), got, batches)
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

const list = "RoomId\n1\n2\nx\n"

func TestTickIsOneBatchWhoeverMakesIt(t *testing.T) {
	c := newClockwork(t, schedule.List(list))
	var clocks []*schedule.Clock
	for range 3 {
		clocks = append(clocks, c.clock())
	}
	everybody := func() {
		var all sync.WaitGroup
		for _, w := range clocks {
			all.Go(func() {
				if err := w.Tick(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	everybody()
	c.want("") // a schedule ticks from the time when a worker first sees it
	c.at(30 * time.Second)
	everybody()
	everybody()
	c.want("120100")
	c.at(91 * time.Second)
	everybody()
	c.want("120100 120200")
	c.at(20 * time.Second) // the time jumps back and forward
	everybody()
	c.at(92 * time.Second)
	everybody()
	c.want("120100 120200")

	s := c.status()
	if o := s.Last; o == nil || o.Result != schedule.Enqueued || o.Rooms != 2 || o.BadRows != 1 ||
		len(o.Reasons) != 1 || !strings.Contains(o.Reasons[0], "line 4") {
		t.Errorf("the outcome is %+v", o)
	}
	if want := monday.Add(150 * time.Second); !s.Next.Equal(want) || s.Missed != 0 || !s.Overdue.IsZero() {
		t.Errorf("it stands at %+v", s)
	}
	b, err := ledger.New(c.rdb, ledger.Options{}).Batch(t.Context(), "s-20261123t120100z")
	if err != nil || b.Total != 2 {
		t.Errorf("%+v, %v", b, err)
	}
}

// Two clocks read the source, which changes in between. The tick keeps the rooms of the first one.
func TestTickThatAnotherWorkerMakesMeanwhile(t *testing.T) {
	var c *clockwork
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		batch, err := enqueue.New(c.rdb, keys.Default).Batch(r.Context(), func(yield func(tasks.Room, error) bool) {
			yield(tasks.Room{SdkAppId: 1, RoomId: 99}, nil)
		}, enqueue.BatchOptions{ID: c.schedule.BatchID(c.now.Truncate(time.Minute))})
		if err != nil || !batch.Created {
			c.Errorf("%+v, %v", batch, err)
		}
		io.WriteString(w, list)
	}))
	t.Cleanup(server.Close)
	source, err := schedule.URL(server.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	c = newClockwork(t, source)
	w := c.clock()
	c.tick(w, 1)
	c.at(30 * time.Second)
	c.tick(w, 1)
	if s := c.status(); s.Last == nil || s.Last.Result != schedule.Enqueued || s.Last.Rooms != 1 || s.Trying != nil {
		t.Errorf("%+v", s.Last)
	}
}

func TestTickOfAWorkerThatDies(t *testing.T) {
	t.Run("before the batch is made", func(t *testing.T) {
		c := newClockwork(t, schedule.List(list))
		w := c.clock()
		c.tick(w, 1)
		c.at(30 * time.Second)
		if err := c.rdb.Set(t.Context(), keys.Default.Ticking("s"), "dead", 10*time.Second).Err(); err != nil {
			t.Fatal(err)
		}
		c.tick(w, 1)
		c.want("")
		c.at(41 * time.Second)
		c.tick(w, 1)
		c.want("120100")
	})

	t.Run("right after it", func(t *testing.T) {
		c := newClockwork(t, schedule.List(list))
		w := c.clock()
		c.tick(w, 1)
		c.at(30 * time.Second)
		rooms := func(yield func(tasks.Room, error) bool) { yield(tasks.Room{RoomId: 9}, nil) }
		if _, err := enqueue.New(c.rdb, keys.Default).Batch(t.Context(), rooms,
			enqueue.BatchOptions{ID: "s-20261123t120100z", Defaults: c.schedule.Defaults}); err != nil {
			t.Fatal(err)
		}
		c.tick(w, 2)
		c.want("120100")
		if o := c.status().Last; o == nil || o.Result != schedule.Enqueued || o.Rooms != 1 {
			t.Errorf("the outcome is %+v", o)
		}
	})
}

// A tick is overdue if no worker makes it, but not while a slow worker makes it.
func TestOverdueTick(t *testing.T) {
	c := newClockwork(t, schedule.List(list))
	w := c.clock()
	c.tick(w, 1)
	c.at(4 * time.Minute)
	if s := c.status(); !s.Overdue.Equal(monday.Add(30 * time.Second)) {
		t.Errorf("nobody is at it, and it stands at %+v", s)
	}
	if err := c.rdb.Set(t.Context(), keys.Default.Ticking("s"), "somebody", 10*time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	if s := c.status(); !s.Overdue.IsZero() {
		t.Errorf("somebody is at it, and it stands at %+v", s)
	}
	c.at(4*time.Minute + 11*time.Second)
	c.tick(w, 1)
	if s := c.status(); !s.Overdue.IsZero() {
		t.Errorf("it was made, and stands at %+v", s)
	}
}

func TestMissedTicks(t *testing.T) {
	for _, test := range []struct {
		missed schedule.Missed
		within time.Duration
		away   time.Duration
		want   string
		lost   int
	}{
		{schedule.MissedOne, time.Hour, 4*time.Minute + 45*time.Second, "120500", 4},
		{schedule.MissedAll, time.Hour, 4*time.Minute + 45*time.Second, "120100 120200 120300 120400 120500", 0},
		{schedule.MissedSkip, time.Hour, 4*time.Minute + 45*time.Second, "120500", 4}, // 15 s late: not missed
		{schedule.MissedAll, 2 * time.Minute, 4*time.Minute + 45*time.Second, "120400 120500", 0},
	} {
		t.Run(string(test.missed)+" "+test.within.String(), func(t *testing.T) {
			c := newClockwork(t, schedule.List(list))
			c.schedule.Missed, c.schedule.MissedWithin = test.missed, test.within
			c.tick(c.clock(), 1)
			c.at(test.away)
			w := c.clock()
			c.tick(w, 10)
			c.want(test.want)
			if s := c.status(); s.Missed != test.lost {
				t.Errorf("%d ticks were missed, want %d", s.Missed, test.lost)
			}
		})
	}

	t.Run("skip, of a schedule that ticks seldom", func(t *testing.T) {
		c := newClockwork(t, schedule.List(list))
		c.schedule.Missed, c.schedule.Cron = schedule.MissedSkip, "5 * * * *"
		c.schedule.Spec, _ = schedule.ParseSpec("5 * * * *", "UTC")
		w := c.clock()
		c.tick(w, 1)
		c.at(10 * time.Minute)
		c.tick(w, 2)
		c.want("")
		if s := c.status(); s.Missed != 1 || s.Last == nil || s.Last.Result != schedule.Late {
			t.Errorf("it stands at %+v", s)
		}
	})

	t.Run("at most a hundred", func(t *testing.T) {
		c := newClockwork(t, schedule.List(list))
		c.schedule.Missed = schedule.MissedAll
		w := c.clock()
		c.tick(w, 1)
		c.at(150 * time.Minute)
		c.tick(w, 120)
		if n := len(strings.Fields(c.batches())); n != schedule.MaxMissed || c.status().Missed != 50 {
			t.Errorf("%d batches, %d missed", n, c.status().Missed)
		}
	})
}

func TestOverlap(t *testing.T) {
	c := newClockwork(t, schedule.List(list))
	c.schedule.SkipOverlap = true
	w := c.clock()
	c.tick(w, 1)
	c.at(30 * time.Second)
	c.tick(w, 1)
	c.at(90 * time.Second)
	c.tick(w, 1)
	c.want("120100")
	if o := c.status().Last; o.Result != schedule.Skipped ||
		!strings.Contains(o.Error, "s-20261123t120100z is still in progress") {
		t.Errorf("the outcome is %+v", o)
	}
	if err := c.rdb.HSet(t.Context(), keys.Default.Batch("s-20261123t120100z"), "ended_at",
		c.now.UnixMilli()).Err(); err != nil {
		t.Fatal(err)
	}
	c.at(150 * time.Second)
	c.tick(w, 1)
	c.want("120100 120300")
}

func TestSourceThatFails(t *testing.T) {
	var status atomic.Int64
	var asked atomic.Int64
	status.Store(http.StatusServiceUnavailable)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Authorization") != "Bearer T0KEN" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(int(status.Load()))
		io.WriteString(w, list)
	}))
	t.Cleanup(server.Close)
	source, err := schedule.URL(server.URL+"/S3CR3T", "T0KEN")
	if err != nil {
		t.Fatal(err)
	}
	c := newClockwork(t, source)
	w := c.clock()
	c.tick(w, 1)
	c.at(30 * time.Second)
	c.tick(w, 5) // the source is not read again before the retry is due
	if s := c.status(); asked.Load() != 1 || s.Trying == nil || s.Trying.Failures != 1 ||
		!strings.Contains(s.Trying.Error, "it answers 503") || strings.Contains(s.Trying.Error, "S3CR3T") {
		t.Errorf("it was asked %d times and stands at %+v", asked.Load(), s)
	}
	status.Store(http.StatusOK)
	c.at(33 * time.Second)
	c.tick(c.clock(), 1) // another worker retries
	c.want("120100")
	if s := c.status(); s.Trying != nil || s.Last.Result != schedule.Enqueued {
		t.Errorf("it stands at %+v", s)
	}

	status.Store(http.StatusNotFound)
	for d := 90 * time.Second; d < 149*time.Second; d += time.Second {
		c.at(d)
		c.tick(w, 1)
	}
	if s := c.status(); s.Last.Result != schedule.Failed || s.Trying != nil || !strings.Contains(s.Last.Error, "404") {
		t.Errorf("it stands at %+v", s)
	}
	status.Store(http.StatusOK)
	c.at(150 * time.Second)
	c.tick(w, 1)
	c.want("120100 120300")
}

// A tick waits while Redis rejects writes.
func TestRedisThatTakesNothing(t *testing.T) {
	client, closeRedis, err := rdb.Open(redistest.Real(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeRedis() })
	c := &clockwork{T: t, rdb: client, schedule: yearly(t, client, schedule.List(list), 1, nil)}
	w := c.clock()
	full := func(limit string) {
		if err := client.ConfigSet(t.Context(), "maxmemory", limit).Err(); err != nil {
			t.Fatal(err)
		}
	}
	full("1")
	if err := w.Tick(t.Context()); err == nil {
		t.Error("a Redis that takes nothing took a tick")
	}
	if ids := c.batches(); ids != "" {
		t.Errorf("it made %s", ids)
	}
	full("0")
	c.tick(w, 1)
	if ids := c.batches(); ids == "" {
		t.Error("the tick was not made after all")
	}
}

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

// Exactly one of three clocks gives up a tick that cannot be made, and adds its webhook to the outbox.
func TestTickIsGivenUpOnce(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(down.Close)
	source, err := schedule.URL(down.URL+"/S3CR3T", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprintf("told %v", told), func(t *testing.T) {
			t.Parallel()
			client := redistest.Client(t)
			// The next failure is the last.
			tried := schedule.Trying{
				Begun: time.Now().Add(-time.Hour), RetryAt: time.Now(), Failures: 9, Error: "the one before",
			}
			c := &clockwork{T: t, rdb: client, schedule: yearly(t, client, source, 1, &tried)}
			if err := ledger.New(client, ledger.Options{}).SetNotifications(t.Context(), false, false, false, told); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				c.run()
			}
			c.eventually("the tick is given up", func() bool { return c.status().Last.Result == schedule.Failed })
			if e := c.status().Last.Error; !strings.HasSuffix(e, "it answers 404 Not Found") || strings.Contains(e, "S3CR3T") {
				t.Errorf("it says %q", e)
			}
			want := 0
			if told {
				want = 1
			}
			notices := client.ZRange(t.Context(), keys.Default.Outbox(), 0, -1).Val()
			kept := client.Keys(t.Context(), keys.Default.FailedTick("*")).Val()
			if len(notices) != want || len(kept) != want {
				t.Errorf("noted %v, kept %v, want %d", notices, kept, want)
			}
		})
	}
}

// A tick waits while Redis is too full for new work.
func TestTickThatFindsNoRoom(t *testing.T) {
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

	t.Run("and it is made once when there is some", func(t *testing.T) {
		t.Parallel()
		client := full(t)
		c := &clockwork{T: t, rdb: client, schedule: yearly(t, client, schedule.List(list), 1, nil)}
		for range 2 {
			c.run()
		}
		c.eventually("the tick waits", func() bool {
			s := c.status()
			return s.Trying != nil && s.Trying.Waits && strings.Contains(s.Trying.Error, "Redis is full") && s.Overdue.IsZero()
		})
		c.want("")
		if keys := client.Keys(t.Context(), keys.Default.Loading("*")).Val(); len(keys) != 0 {
			t.Errorf("half a batch is left: %v", keys)
		}
		if err := client.Del(t.Context(), "ballast").Err(); err != nil {
			t.Fatal(err)
		}
		c.eventually("the tick is made", func() bool { return c.status().Last.Batch != "" })
		if s := c.status(); s.Trying != nil || s.Missed != 0 || s.Last.Rooms != 2 || len(strings.Fields(c.batches())) != 1 {
			t.Errorf("it stands at %+v, and there are the batches %q", s, c.batches())
		}
	})

	t.Run("and it fails where there is none until the next one is due", func(t *testing.T) {
		t.Parallel()
		client := full(t)
		waits := schedule.Trying{
			Begun: time.Now(), RetryAt: time.Now().Add(time.Hour), Failures: 9, Error: "Redis was full", Waits: true,
		}
		c := &clockwork{T: t, rdb: client, schedule: yearly(t, client, schedule.List(list), 2, &waits)}
		c.run()
		c.eventually("the next one waits", func() bool {
			s := c.status()
			return s.Trying != nil && s.Trying.Waits && s.Trying.Tick.After(waits.Tick)
		})
		if o := c.status().Last; o.Result != schedule.Failed || o.Error != "Redis was full" || !o.Tick.Equal(waits.Tick) {
			t.Errorf("the outcome is %+v", o)
		}
	})
}

package schedule_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tiwsnap/enqueue"
	"tiwsnap/internal/keys"
	"tiwsnap/ledger"
	"tiwsnap/schedule"
	"tiwsnap/tasks"
)

func TestConcurrentClocksMakeOneBatchPerTick(t *testing.T) {
	c := newClockwork(t, schedule.List(csv))
	var clocks []*schedule.Clock
	for range 3 {
		clocks = append(clocks, c.newClock())
	}
	tickAll := func() {
		var all sync.WaitGroup
		for _, clock := range clocks {
			all.Go(func() {
				if err := clock.Tick(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	tickAll()
	c.wantBatches("") // a schedule ticks from the time when a worker first sees it
	c.setTime(30 * time.Second)
	tickAll()
	tickAll()
	c.wantBatches("120100")
	c.setTime(91 * time.Second)
	tickAll()
	c.wantBatches("120100 120200")
	c.setTime(20 * time.Second) // the clock of Redis jumps back and forward
	tickAll()
	c.setTime(92 * time.Second)
	tickAll()
	c.wantBatches("120100 120200")

	s := c.status()
	if o := s.Last; o == nil || o.Result != schedule.Enqueued || o.Rooms != 2 || o.BadRows != 1 ||
		len(o.Reasons) != 1 || !strings.Contains(o.Reasons[0], "line 4") {
		t.Errorf("Status().Last = %+v", o)
	}
	if want := monday.Add(150 * time.Second); !s.Next.Equal(want) || s.Missed != 0 || !s.Overdue.IsZero() {
		t.Errorf("Status() = %+v", s)
	}
	b, err := ledger.New(c.rdb, ledger.Options{}).Batch(t.Context(), "s-20261123t120100z")
	if err != nil || b.Total != 2 {
		t.Errorf("Batch() = %+v, %v, want 2 rooms", b, err)
	}
}

// Another worker makes the batch of a tick while this one reads the source. The tick keeps the rooms of that batch.
func TestTickKeepsTheFirstBatch(t *testing.T) {
	var c *clockwork
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		batch, err := enqueue.New(c.rdb, keys.Default).Batch(r.Context(), func(yield func(tasks.Room, error) bool) {
			yield(tasks.Room{SdkAppId: 1, RoomId: 99}, nil)
		}, enqueue.BatchOptions{ID: c.schedule.BatchID(c.now.Truncate(time.Minute))})
		if err != nil || !batch.Created {
			c.Errorf("Batch() = %+v, %v, want a new batch", batch, err)
		}
		io.WriteString(w, csv)
	}))
	t.Cleanup(server.Close)
	source, err := schedule.URL(server.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	c = newClockwork(t, source)
	clock := c.newClock()
	c.tick(clock, 1)
	c.setTime(30 * time.Second)
	c.tick(clock, 1)
	if s := c.status(); s.Last == nil || s.Last.Result != schedule.Enqueued || s.Last.Rooms != 1 || s.Trying != nil {
		t.Errorf("Status().Last = %+v, want one room", s.Last)
	}
}

func TestTickAfterAWorkerDied(t *testing.T) {
	t.Run("before the batch is made", func(t *testing.T) {
		c := newClockwork(t, schedule.List(csv))
		clock := c.newClock()
		c.tick(clock, 1)
		c.setTime(30 * time.Second)
		if err := c.rdb.Set(t.Context(), keys.Default.Ticking("s"), "dead", 10*time.Second).Err(); err != nil {
			t.Fatal(err)
		}
		c.tick(clock, 1)
		c.wantBatches("")
		c.setTime(41 * time.Second)
		c.tick(clock, 1)
		c.wantBatches("120100")
	})

	t.Run("after the batch is made", func(t *testing.T) {
		c := newClockwork(t, schedule.List(csv))
		clock := c.newClock()
		c.tick(clock, 1)
		c.setTime(30 * time.Second)
		rooms := func(yield func(tasks.Room, error) bool) { yield(tasks.Room{RoomId: 9}, nil) }
		if _, err := enqueue.New(c.rdb, keys.Default).Batch(t.Context(), rooms,
			enqueue.BatchOptions{ID: "s-20261123t120100z", Defaults: c.schedule.Defaults}); err != nil {
			t.Fatal(err)
		}
		c.tick(clock, 2)
		c.wantBatches("120100")
		if o := c.status().Last; o == nil || o.Result != schedule.Enqueued || o.Rooms != 1 {
			t.Errorf("Status().Last = %+v", o)
		}
	})
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
			c := newClockwork(t, schedule.List(csv))
			c.schedule.Missed, c.schedule.MissedWithin = test.missed, test.within
			c.tick(c.newClock(), 1)
			c.setTime(test.away)
			clock := c.newClock()
			c.tick(clock, 10)
			c.wantBatches(test.want)
			if s := c.status(); s.Missed != test.lost {
				t.Errorf("Status().Missed = %d, want %d", s.Missed, test.lost)
			}
		})
	}

	t.Run("skip of an hourly schedule", func(t *testing.T) {
		c := newClockwork(t, schedule.List(csv))
		c.schedule.Missed, c.schedule.Cron = schedule.MissedSkip, "5 * * * *"
		c.schedule.Spec, _ = schedule.ParseSpec("5 * * * *", "UTC")
		clock := c.newClock()
		c.tick(clock, 1)
		c.setTime(10 * time.Minute)
		c.tick(clock, 2)
		c.wantBatches("")
		if s := c.status(); s.Missed != 1 || s.Last == nil || s.Last.Result != schedule.Late {
			t.Errorf("Status() = %+v", s)
		}
	})

	t.Run("at most MaxMissed ticks", func(t *testing.T) {
		c := newClockwork(t, schedule.List(csv))
		c.schedule.Missed = schedule.MissedAll
		clock := c.newClock()
		c.tick(clock, 1)
		c.setTime(150 * time.Minute)
		c.tick(clock, 120)
		if n := len(strings.Fields(c.batchTicks())); n != schedule.MaxMissed || c.status().Missed != 50 {
			t.Errorf("%d batches and %d missed ticks, want %d and 50", n, c.status().Missed, schedule.MaxMissed)
		}
	})
}

func TestSkipOverlap(t *testing.T) {
	c := newClockwork(t, schedule.List(csv))
	c.schedule.SkipOverlap = true
	clock := c.newClock()
	c.tick(clock, 1)
	c.setTime(30 * time.Second)
	c.tick(clock, 1)
	c.setTime(90 * time.Second)
	c.tick(clock, 1)
	c.wantBatches("120100")
	if o := c.status().Last; o.Result != schedule.Skipped ||
		!strings.Contains(o.Error, "s-20261123t120100z is still in progress") {
		t.Errorf("Status().Last = %+v", o)
	}
	if err := c.rdb.HSet(t.Context(), keys.Default.Batch("s-20261123t120100z"), "ended_at",
		c.now.UnixMilli()).Err(); err != nil {
		t.Fatal(err)
	}
	c.setTime(150 * time.Second)
	c.tick(clock, 1)
	c.wantBatches("120100 120300")
}

package schedule_test

import (
	"testing"
	"time"

	"tiwsnap/internal/keys"
	"tiwsnap/schedule"
)

// A tick is overdue if no worker makes it, but not while a slow worker makes it.
func TestOverdueTick(t *testing.T) {
	c := newClockwork(t, schedule.List(csv))
	clock := c.newClock()
	c.tick(clock, 1)
	c.setTime(4 * time.Minute)
	if s := c.status(); !s.Overdue.Equal(monday.Add(30 * time.Second)) {
		t.Errorf("no worker makes the tick: Status() = %+v", s)
	}
	if err := c.rdb.Set(t.Context(), keys.Default.Ticking("s"), "another", 10*time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	if s := c.status(); !s.Overdue.IsZero() {
		t.Errorf("a worker makes the tick: Status() = %+v", s)
	}
	c.setTime(4*time.Minute + 11*time.Second)
	c.tick(clock, 1)
	if s := c.status(); !s.Overdue.IsZero() {
		t.Errorf("after the tick: Status() = %+v", s)
	}
}

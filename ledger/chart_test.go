package ledger_test

import (
	"testing"
	"testing/synctest"
	"time"

	"tiwsnap/internal/keys"
	"tiwsnap/internal/redistest"
	"tiwsnap/ledger"
)

// The chart counts each request and each result in the bar of its time. The bars get wider with the age of the batch.
func TestChart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { checkChart(t, setupOn(t, redistest.InBubble(t), 10)) })
}

func checkChart(t *testing.T, f fixture) {
	setAge := func(by time.Duration) {
		f.rdb.HSet(t.Context(), keys.Default.Batch("b"), "created_at", time.Now().Add(-by).UnixMilli())
	}
	want := func(when string, width time.Duration, sent, ended int) ledger.Chart {
		t.Helper()
		c, err := f.Chart(t.Context(), f.batch())
		if err != nil {
			t.Fatal(err)
		}
		var all ledger.Bar
		for _, b := range c.Bars {
			all.Sent, all.Ended = all.Sent+b.Sent, all.Ended+b.Ended
		}
		if all != (ledger.Bar{Sent: sent, Ended: ended}) || c.Width != width || len(c.Bars) > 60 {
			t.Errorf("%s: %+v in %d bars of %s, want %d sent, %d ended, %s", when, all, len(c.Bars), c.Width, sent, ended, width)
		}
		return c
	}
	want("before the first request", time.Second, 0, 0)
	setAge(time.Second)
	f.begin(row(1), "x")
	f.outcome(row(1), 1, ledger.Outcome{State: ledger.Queued, Code: "RequestLimitExceeded"})
	f.begin(row(1), "y")
	f.outcome(row(1), 2, accepted("t1"))
	f.settle(row(1), "t1", ledger.Succeeded)
	f.cancel(row(9))
	want("after one room", time.Second, 2, 1)
	setAge(10 * time.Minute)
	f.begin(row(2), "x")
	c := want("ten minutes later", 16*time.Second, 3, 1)
	if last := c.Bars[len(c.Bars)-1]; last != (ledger.Bar{Sent: 1}) || c.Bars[0].Sent < 2 {
		t.Errorf("bars = %+v", c.Bars)
	}
	f.outcome(row(2), 1, ledger.Outcome{State: ledger.Failed, Code: "InvalidParameter"})
	setAge(7 * 24 * time.Hour)
	f.begin(row(3), "x")
	want("a week later", 16384*time.Second, 4, 2)
}

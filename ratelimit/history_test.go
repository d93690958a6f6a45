package ratelimit_test

import (
	"testing"
	"time"

	"tiwsnap/internal/redistest"
	"tiwsnap/ratelimit"
)

func TestTheHistoryOfALimit(t *testing.T) {
	rdb := redistest.Client(t)
	limiter := func() *ratelimit.Limiter {
		l, err := ratelimit.New(ratelimit.Options{Redis: rdb, Key: "{t}:limit:history", Limit: 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close(t.Context()) })
		return l
	}
	a, b := limiter(), limiter()
	for _, l := range []*ratelimit.Limiter{a, b, a} {
		if err := l.Record(t.Context(), 50, 2); err != nil {
			t.Fatal(err)
		}
	}
	// What is a turn of the ring old is not what was sent now.
	rdb.HSet(t.Context(), "{t}:limit:history:history:15m", "999", "5 7 7 7")
	for span, want := range map[ratelimit.Span]struct{ n, seconds int }{
		ratelimit.Quarter: {180, 5}, ratelimit.Day: {288, 300}, ratelimit.Week: {336, 1800},
	} {
		h, err := limiter().History(t.Context(), span)
		if err != nil {
			t.Fatal(err)
		}
		sent, refused, limit := 0, 0, 0
		for i, p := range h.Points {
			sent, refused, limit = sent+p.Sent, refused+p.Refused, max(limit, p.Limit)
			if i > 0 && p.At.Sub(h.Points[i-1].At) != time.Duration(h.Slot)*time.Second {
				t.Fatalf("%s: %v after %v", span, p.At, h.Points[i-1].At)
			}
		}
		if len(h.Points) != want.n || h.Slot != want.seconds || sent != 150 || refused != 6 || limit != 20 {
			t.Errorf("%s: %d points of %d s, %d sent, %d refused, limit %d", span, len(h.Points), h.Slot, sent, refused, limit)
		}
		if age := time.Since(h.Points[len(h.Points)-1].At); age < -time.Minute ||
			age > time.Duration(h.Slot)*time.Second+time.Minute {
			t.Errorf("%s: the last point is %s old", span, age)
		}
	}
	if _, err := a.History(t.Context(), "1y"); err == nil {
		t.Error("there is a history of a year")
	}
}

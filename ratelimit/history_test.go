package ratelimit_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tiwsnap/internal/redistest"
	"tiwsnap/ratelimit"
)

// send uses a permit.
func send(t *testing.T, l *ratelimit.Limiter) *ratelimit.Permit {
	t.Helper()
	p := mustAcquire(t, l, ratelimit.Bulk)
	mustUse(t, p)
	p.Sent()
	return p
}

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
		for range 3 {
			send(t, l)
		}
		send(t, l).Throttled()
		if err := l.Record(t.Context()); err != nil {
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
		if len(h.Points) != want.n || h.Slot != want.seconds || sent != 12 || refused != 3 || limit != 20 {
			t.Errorf("%s: %d points of %d s, %d sent, %d refused, limit %d", span, len(h.Points), h.Slot, sent, refused, limit)
		}
		if age := time.Since(h.Points[len(h.Points)-1].At); age < -time.Minute ||
			age > time.Duration(h.Slot)*time.Second+time.Minute {
			t.Errorf("%s: the last point is %s old", span, age)
		}
		if over := h.Points[h.Complete].At; time.Since(over) < -time.Minute ||
			time.Since(over) > ratelimit.RecordWithin+time.Duration(h.Slot)*time.Second+time.Minute {
			t.Errorf("%s: complete until %s ago", span, time.Since(over))
		}
	}
	if _, err := a.History(t.Context(), "1y"); err == nil {
		t.Error("there is a history of a year")
	}
}

// A worker reports late on a busy machine: what it has sent belongs to the slot in
// which it was sent all the same.
func TestALateReportAddsToTheSlotsOfItsRequests(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t)
	l, err := ratelimit.New(ratelimit.Options{Redis: rdb, Key: "{t}:limit:late", Limit: 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(t.Context()) })
	clock := func() time.Time {
		now, err := rdb.Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return now.UTC()
	}
	// points are those of the finest span where something was sent.
	points := func() (all []ratelimit.Point) {
		h, err := l.History(t.Context(), ratelimit.Quarter)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range h.Points {
			if p.Sent+p.Refused > 0 {
				all = append(all, p)
			}
		}
		return all
	}
	// wait waits for the clock of Redis.
	wait := func(until func(now time.Time) bool) time.Time {
		for {
			if now := clock(); until(now) {
				return now
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	// burst uses permits in one slot, and returns when that began, or not ok where this took too long.
	const slot = 5 * time.Second
	burst := func(n int) (began time.Time, last *ratelimit.Permit, ok bool) {
		began = wait(func(now time.Time) bool { return now.Sub(now.Truncate(slot)) < slot/2 }).Truncate(slot)
		for range n {
			last = send(t, l)
		}
		return began, last, clock().Before(began.Add(slot))
	}

	// Three requests in one slot and two in a later one, and a single report after that.
	var first, second time.Time
	for range 5 {
		send(t, l) // the bucket of the first round opens
		if err := l.Record(t.Context()); err != nil {
			t.Fatal(err)
		}
		rdb.Del(t.Context(), "{t}:limit:late:history:15m")

		began, refused, whole := burst(3)
		wait(func(now time.Time) bool { return !now.Before(began.Add(slot)) })
		later, _, alsoWhole := burst(2)
		refused.Throttled()
		if whole && alsoWhole {
			first, second = began, later
			break
		}
	}
	if second.IsZero() {
		t.Fatal("five permits never came within their two slots")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Record(gone); err == nil {
		t.Fatal("it was recorded with a context that was over")
	}
	if err := l.Record(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []ratelimit.Point{{At: first, Sent: 3, Refused: 1, Limit: 20}, {At: second, Sent: 2, Limit: 20}}
	if diff := cmp.Diff(want, points()); diff != "" {
		t.Error(diff)
	}
	// Where there is nothing to say Redis is not called.
	if err := l.Record(gone); err != nil {
		t.Errorf("nothing was recorded: %v", err)
	}
}

package ratelimit_test

import (
	"context"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ratelimit"
)

// send acquires a permit and uses it.
func send(t *testing.T, l *ratelimit.Limiter) *ratelimit.Permit {
	t.Helper()
	p := mustAcquire(t, l, ratelimit.Bulk)
	mustUse(t, p)
	p.Sent()
	return p
}

func TestHistory(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	rdb := redistest.Client(t)
	newLimiter := func() *ratelimit.Limiter {
		l, err := ratelimit.New(ratelimit.Options{Redis: rdb, Key: "{t}:limit:history", Limit: 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close(t.Context()) })
		return l
	}
	a, b := newLimiter(), newLimiter()
	for _, l := range []*ratelimit.Limiter{a, b, a} {
		for range 3 {
			send(t, l)
		}
		send(t, l).Throttled()
		if err := l.Record(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// A slot from the previous turn of the ring buffer does not count.
	rdb.HSet(t.Context(), "{t}:limit:history:history:15m", "999", "5 7 7 7")
	for span, want := range map[ratelimit.Span]struct{ n, seconds int }{
		ratelimit.Quarter: {180, 5}, ratelimit.Day: {288, 300}, ratelimit.Week: {336, 1800},
	} {
		h, err := newLimiter().History(t.Context(), span)
		if err != nil {
			t.Fatal(err)
		}
		sent, refused, limit := 0, 0, 0
		for i, p := range h.Points {
			sent, refused, limit = sent+p.Sent, refused+p.Refused, max(limit, p.Limit)
			if i > 0 && p.At.Sub(h.Points[i-1].At) != time.Duration(h.Slot)*time.Second {
				t.Fatalf("%s: point of %v follows %v, want a distance of %d s", span, p.At, h.Points[i-1].At, h.Slot)
			}
		}
		if len(h.Points) != want.n || h.Slot != want.seconds || sent != 12 || refused != 3 || limit != 20 {
			t.Errorf("%s: %d points of %d s, %d sent, %d refused, limit %d", span, len(h.Points), h.Slot, sent, refused, limit)
		}
		if age := time.Since(h.Points[len(h.Points)-1].At); age < -time.Minute ||
			age > time.Duration(h.Slot)*time.Second+time.Minute {
			t.Errorf("%s: the last point is %s old, want less than a slot", span, age)
		}
		if over := h.Points[h.Complete].At; time.Since(over) < -time.Minute ||
			time.Since(over) > ratelimit.RecordWithin+time.Duration(h.Slot)*time.Second+time.Minute {
			t.Errorf("%s: the history is complete until %s ago", span, time.Since(over))
		}
	}
	if _, err := a.History(t.Context(), "1y"); err == nil {
		t.Error("History(1y) succeeded, but there is no such span")
	}
}

// If a busy worker reports late, a request still counts in the slot in which it was sent.
func TestLateRecord(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		_, redis := w.link(t, nil)
		l := newLimiter(t, ratelimit.Options{Redis: redis, Limit: 20})
		const slot = 5 * time.Second
		// sendIn uses n permits in the next slot.
		sendIn := func(n int) (began time.Time, last *ratelimit.Permit) {
			began = time.Now().Truncate(slot).Add(slot).UTC()
			time.Sleep(time.Until(began) + time.Second)
			for range n {
				last = send(t, l)
			}
			return began, last
		}
		first, refused := sendIn(3)
		second, _ := sendIn(2)
		refused.Throttled()

		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Record(canceled); err == nil {
			t.Fatal("Record() with a canceled context succeeded")
		}
		if err := l.Record(t.Context()); err != nil {
			t.Fatal(err)
		}
		h, err := l.History(t.Context(), ratelimit.Quarter)
		if err != nil {
			t.Fatal(err)
		}
		points := slices.DeleteFunc(h.Points, func(p ratelimit.Point) bool { return p.Sent+p.Refused == 0 })
		want := []ratelimit.Point{{At: first, Sent: 3, Refused: 1, Limit: 20}, {At: second, Sent: 2, Limit: 20}}
		if diff := cmp.Diff(want, points); diff != "" {
			t.Errorf("points (-want +got):\n%s", diff)
		}
		// Record does not call Redis if it has nothing to report.
		if err := l.Record(canceled); err != nil {
			t.Errorf("Record() without a request called Redis: %v", err)
		}
	})
}

// lostReply is a hook that drops the reply of Redis if the context has a lostReply as a value.
type lostReply struct{}

func (lostReply) DialHook(next redis.DialHook) redis.DialHook { return next }

func (lostReply) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (lostReply) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if ctx.Value(lostReply{}) != nil {
			err = io.ErrUnexpectedEOF
			cmd.SetErr(err)
		}
		return err
	}
}

// A request counts once, even if the reply of Redis to Record is lost.
func TestRecordAfterALostReply(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	rdb := redistest.Client(t)
	rdb.AddHook(lostReply{})
	l, err := ratelimit.New(ratelimit.Options{Redis: rdb, Key: "{t}:limit:once", Limit: 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(t.Context()) })
	want := 0
	for range 3 {
		send(t, l)
		want++
		if err := l.Record(t.Context()); err != nil {
			t.Fatal(err)
		}
		send(t, l)
		want++
		if err := l.Record(context.WithValue(t.Context(), lostReply{}, true)); err == nil {
			t.Fatal("Record() succeeded without a reply")
		}
	}
	if err := l.Record(t.Context()); err != nil {
		t.Fatal(err)
	}
	h, err := l.History(t.Context(), ratelimit.Week)
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, p := range h.Points {
		sent += p.Sent
	}
	if sent != want {
		t.Errorf("history has %d requests, want %d", sent, want)
	}
}

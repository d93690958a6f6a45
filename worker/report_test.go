package worker_test

import (
	"testing"
	"time"

	"tiwsnap/gate"
	"tiwsnap/internal/needs"
	"tiwsnap/internal/redistest"
	"tiwsnap/ratelimit"
	"tiwsnap/tiw/tiwtest"
)

// The quota is lower than the limit, so that some requests are refused.
func TestRateHistoryHasAllRequests(t *testing.T) {
	needs.Time(t)
	t.Parallel()
	w := newWorld(t, redistest.Client(t), tiwtest.Options{Limit: 3}) // a slow machine exceeds it, too
	stop := w.work()
	w.enqueue("a", 15)
	w.waitForEnd("a")
	stop() // the last report

	l, err := ratelimit.New(ratelimit.Options{
		Redis: w.rdb, Key: w.ns.Limit(gate.ActionCreate), Limit: 20, Follows: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(t.Context()) })
	h, err := l.History(t.Context(), ratelimit.Quarter)
	if err != nil {
		t.Fatal(err)
	}
	var sent, refused int
	for _, p := range h.Points {
		sent, refused = sent+p.Sent, refused+p.Refused
		if p.Sent > 20*h.Slot || p.Refused > p.Sent {
			t.Errorf("%s: %d requests in %d s, %d refused", p.At.Format(time.TimeOnly), p.Sent, h.Slot, p.Refused)
		}
	}
	calls := w.sim.State().Actions[tiwtest.ActionCreate]
	if sent != int(calls.Received.Requests) || refused != int(calls.Rejected) || refused == 0 {
		t.Errorf("history has %d requests, %d refused; the API received %d and refused %d", sent, refused,
			calls.Received.Requests, calls.Rejected)
	}
}

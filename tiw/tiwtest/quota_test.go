package tiwtest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"tiwsnap/tiw/tiwtest"
)

// burst is a number of requests at one time. The time counts from a whole second.
type burst struct {
	at    time.Duration
	calls int
}

// play sends the bursts and returns how many requests of each were accepted.
func play(t *testing.T, o tiwtest.Options, bursts ...burst) ([]int, *tiwtest.Server) {
	t.Helper()
	start := time.Unix(1760000000, 0)
	clk := newClock(start)
	o.Clock = clk.now
	srv := newServer(t, o)
	c := newCaller("h")
	c.now = clk.now
	passed := make([]int, len(bursts))
	for i, b := range bursts {
		clk.ns.Store(start.Add(b.at).UnixNano())
		for range b.calls {
			switch code := direct(t, srv, c.request(t, create, room7)).code(); code {
			case "OK":
				passed[i]++
			case "RequestLimitExceeded":
			default:
				t.Fatalf("got %s", code)
			}
		}
	}
	return passed, srv
}

func TestQuota(t *testing.T) {
	ms := time.Millisecond
	for _, test := range []struct {
		name   string
		opt    tiwtest.Options
		bursts []burst
		passed []int
		// Peak calendar second and peak sliding second: of the received requests, then of the accepted ones.
		peaks [4]int
	}{
		{name: "twenty in a second pass", bursts: []burst{{0, 21}}, passed: []int{20}, peaks: [4]int{21, 21, 20, 20}},
		{name: "a calendar second begins anew", bursts: []burst{{999 * ms, 20}, {1000 * ms, 20}}, passed: []int{20, 20},
			peaks: [4]int{20, 40, 20, 40}},
		{name: "a calendar second forgets what was rejected before it",
			bursts: []burst{{500 * ms, 60}, {1000 * ms, 20}}, passed: []int{20, 20}, peaks: [4]int{60, 80, 20, 40}},
		{name: "a sliding second does not begin anew", opt: tiwtest.Options{Window: tiwtest.Sliding},
			bursts: []burst{{999 * ms, 20}, {1000 * ms, 20}}, passed: []int{20, 0}, peaks: [4]int{20, 40, 20, 20}},
		{name: "a call leaves the sliding second exactly one second later", opt: tiwtest.Options{Window: tiwtest.Sliding},
			bursts: []burst{{999 * ms, 20}, {1998*ms + 999*time.Microsecond, 0}, {1999 * ms, 21}},
			passed: []int{20, 0, 20}, peaks: [4]int{21, 21, 20, 20}},
		{name: "rejected calls count in a sliding second", opt: tiwtest.Options{Window: tiwtest.Sliding},
			bursts: []burst{{0, 20}, {500 * ms, 10}, {1000 * ms, 20}}, passed: []int{20, 0, 10}, peaks: [4]int{30, 30, 20, 20}},
		{name: "a caller who does not stop never gets through", opt: tiwtest.Options{Window: tiwtest.Sliding},
			bursts: []burst{{0, 20}, {900 * ms, 20}, {1800 * ms, 20}, {2700 * ms, 20}}, passed: []int{20, 0, 0, 0},
			peaks: [4]int{40, 40, 20, 20}},
		{name: "rejected calls can be free", opt: tiwtest.Options{Window: tiwtest.Sliding, RejectedFree: true},
			bursts: []burst{{0, 20}, {500 * ms, 10}, {1000 * ms, 20}}, passed: []int{20, 0, 20}, peaks: [4]int{30, 30, 20, 20}},
		{name: "the limit can be another", opt: tiwtest.Options{Limit: 3}, bursts: []burst{{0, 5}}, passed: []int{3},
			peaks: [4]int{5, 5, 3, 3}},
		{name: "there can be no limit", opt: tiwtest.Options{Limit: -1}, bursts: []burst{{0, 50}}, passed: []int{50},
			peaks: [4]int{50, 50, 50, 50}},
		{name: "somebody else's calls count in a calendar second",
			opt:    tiwtest.Options{Faults: tiwtest.Faults{ForeignLoad: 10}},
			bursts: []burst{{500 * ms, 20}, {1000 * ms, 0}, {1990 * ms, 20}}, passed: []int{15, 0, 10},
			peaks: [4]int{20, 20, 15, 15}},
		{name: "somebody else's calls count in a sliding second",
			opt:    tiwtest.Options{Window: tiwtest.Sliding, Faults: tiwtest.Faults{ForeignLoad: 10}},
			bursts: []burst{{500 * ms, 5}, {1450 * ms, 20}}, passed: []int{5, 5}, peaks: [4]int{20, 25, 5, 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			passed, srv := play(t, test.opt, test.bursts...)
			if d := cmp.Diff(test.passed, passed); d != "" {
				t.Errorf("passed (-want +got):\n%s", d)
			}
			a := srv.State().Actions[create]
			got := [4]int{a.Received.CalendarSecond.Requests, a.Received.SlidingSecond.Requests,
				a.Accepted.CalendarSecond.Requests, a.Accepted.SlidingSecond.Requests}
			if got != test.peaks {
				t.Errorf("fullest seconds are %v, want %v", got, test.peaks)
			}
			sent, ok := 0, 0
			for i, b := range test.bursts {
				sent += b.calls
				ok += test.passed[i]
			}
			if a.Received.Requests != int64(sent) || a.Accepted.Requests != int64(ok) || a.Rejected != int64(sent-ok) {
				t.Errorf("counted %d, accepted %d, rejected %d of %d, %d",
					a.Received.Requests, a.Accepted.Requests, a.Rejected, sent, ok)
			}
		})
	}
}

func TestQuotasAreApart(t *testing.T) {
	clk := newClock(time.Unix(1760000000, 0))
	srv := newServer(t, tiwtest.Options{
		Clock: clk.now, Limit: 2, Credentials: map[string]tiwtest.Secret{"a": "k", "b": "k"},
	})
	codes := func(id, action, body string) (codes []string) {
		c := newCaller("h")
		c.id, c.key, c.now = id, "k", clk.now
		for range 3 {
			codes = append(codes, direct(t, srv, c.request(t, action, body)).code())
		}
		return codes
	}
	want := []string{"OK", "OK", "RequestLimitExceeded"}
	if d := cmp.Diff(want, codes("a", create, room7)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want, codes("b", create, room7)); d != "" {
		t.Errorf("of another secret id: %s", d)
	}
	want[0], want[1] = "InvalidParameter.TaskNotFound", "InvalidParameter.TaskNotFound"
	if d := cmp.Diff(want, codes("a", describe, `{"TaskID":"x","SdkAppId":1}`)); d != "" {
		t.Errorf("of another action: %s", d)
	}
	codes("nobody", create, room7)
	a := srv.State().Actions[create]
	if a.Received.Requests != 6 || a.Received.CalendarSecond.Requests != 3 {
		t.Errorf("received %+v: want both secret ids in the sum, one in the fullest second, an unknown "+
			"one in neither", a.Received)
	}
}

func TestQuotaMessage(t *testing.T) {
	clk := newClock(time.Unix(1760000000, 0))
	srv := newServer(t, tiwtest.Options{Clock: clk.now, Limit: 2})
	for _, test := range []struct{ language, want string }{
		{"", "您当前每秒请求 `3` 次，超过了每秒频率上限 `2`"},
		{"zh-CN", "您当前每秒请求 `4` 次"},
		{"en-US", "Your current request times equals to `5` in a second, which exceeds the frequency limit `2`"},
	} {
		c := newCaller("h")
		c.now = clk.now
		c.header = map[string]string{"X-TC-Language": test.language}
		for srv.State().Actions[create].Accepted.Requests < 2 {
			direct(t, srv, c.request(t, create, room7))
		}
		a := direct(t, srv, c.request(t, create, room7))
		if a.Error == nil || !strings.Contains(a.Error.Message, test.want) {
			t.Errorf("in %q: %+v, want %q", test.language, a.Error, test.want)
		}
	}
}

// The peak seconds are compared with a slow count.
func TestFullestSecondsOfAnyTraffic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		window := rapid.SampledFrom([]tiwtest.Window{tiwtest.Calendar, tiwtest.Sliding}).Draw(rt, "window")
		gaps := rapid.SliceOfN(rapid.SampledFrom([]int64{0, 1, 1e6, 3e8, 5e8, 999_999_999, 1e9, 1_000_000_001}), 1, 60).
			Draw(rt, "gaps")
		clk := newClock(time.Unix(1760000000, 123_456_789))
		srv := tiwtest.New(tiwtest.Options{
			Clock: clk.now, Limit: 4, Window: window, RejectedFree: rapid.Bool().Draw(rt, "free"),
		})
		defer srv.Close()
		c := newCaller("h")
		c.now = clk.now
		var received, accepted []int64
		for _, gap := range gaps {
			clk.advance(time.Duration(gap))
			received = append(received, clk.ns.Load())
			if direct(t, srv, c.request(t, create, room7)).code() == "OK" {
				accepted = append(accepted, clk.ns.Load())
			}
		}
		a := srv.State().Actions[create]
		for _, f := range []struct {
			name  string
			flow  tiwtest.Flow
			times []int64
		}{{"received", a.Received, received}, {"accepted", a.Accepted, accepted}} {
			calendar, sliding := slowPeaks(f.times)
			want := tiwtest.Flow{Requests: int64(len(f.times)), CalendarSecond: calendar, SlidingSecond: sliding}
			if d := cmp.Diff(want, f.flow, cmpopts.IgnoreFields(tiwtest.Peak{}, "BeginNs")); d != "" {
				rt.Fatalf("%s (-want +got):\n%s", f.name, d)
			}
		}
		limit := a.Accepted.CalendarSecond.Requests
		if window == tiwtest.Sliding {
			limit = a.Accepted.SlidingSecond.Requests
		}
		if limit > 4 {
			rt.Fatalf("%d passed in a %s second, the limit is 4", limit, window)
		}
	})
}

func slowPeaks(times []int64) (calendar, sliding tiwtest.Peak) {
	for _, a := range times {
		c, s := 0, 0
		for _, b := range times {
			if a/1e9 == b/1e9 {
				c++
			}
			if b >= a && b < a+1e9 {
				s++
			}
		}
		calendar.Requests, sliding.Requests = max(calendar.Requests, c), max(sliding.Requests, s)
	}
	return calendar, sliding
}

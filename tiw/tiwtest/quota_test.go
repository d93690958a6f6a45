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
	at       time.Duration
	requests int
}

// sendBursts sends the bursts and returns how many requests of each were accepted.
func sendBursts(t *testing.T, o tiwtest.Options, bursts ...burst) ([]int, *tiwtest.Server) {
	t.Helper()
	start := time.Unix(1760000000, 0)
	clk := newClock(start)
	o.Clock = clk.now
	srv := newServer(t, o)
	c := newCaller("h")
	c.now = clk.now
	accepted := make([]int, len(bursts))
	for i, b := range bursts {
		clk.ns.Store(start.Add(b.at).UnixNano())
		for range b.requests {
			switch code := serve(t, srv, c.request(t, create, room7)).code(); code {
			case "OK":
				accepted[i]++
			case "RequestLimitExceeded":
			default:
				t.Fatalf("got %s, want OK or RequestLimitExceeded", code)
			}
		}
	}
	return accepted, srv
}

func TestQuota(t *testing.T) {
	ms := time.Millisecond
	for _, test := range []struct {
		name     string
		opt      tiwtest.Options
		bursts   []burst
		accepted []int
		// Peak calendar second and peak sliding second: of the received requests, then of the accepted ones.
		peaks [4]int
	}{
		{name: "twenty requests in a second are accepted", bursts: []burst{{0, 21}}, accepted: []int{20},
			peaks: [4]int{21, 21, 20, 20}},
		{name: "a calendar second starts at zero", bursts: []burst{{999 * ms, 20}, {1000 * ms, 20}}, accepted: []int{20, 20},
			peaks: [4]int{20, 40, 20, 40}},
		{name: "a calendar second does not count earlier rejected requests",
			bursts: []burst{{500 * ms, 60}, {1000 * ms, 20}}, accepted: []int{20, 20}, peaks: [4]int{60, 80, 20, 40}},
		{name: "a sliding second counts across calendar seconds", opt: tiwtest.Options{Window: tiwtest.Sliding},
			bursts: []burst{{999 * ms, 20}, {1000 * ms, 20}}, accepted: []int{20, 0}, peaks: [4]int{20, 40, 20, 20}},
		{name: "a request leaves the sliding second exactly one second later", opt: tiwtest.Options{Window: tiwtest.Sliding},
			bursts:   []burst{{999 * ms, 20}, {1998*ms + 999*time.Microsecond, 0}, {1999 * ms, 21}},
			accepted: []int{20, 0, 20}, peaks: [4]int{21, 21, 20, 20}},
		{name: "rejected requests count in a sliding second", opt: tiwtest.Options{Window: tiwtest.Sliding},
			bursts: []burst{{0, 20}, {500 * ms, 10}, {1000 * ms, 20}}, accepted: []int{20, 0, 10},
			peaks: [4]int{30, 30, 20, 20}},
		{name: "a caller without pauses stays rejected", opt: tiwtest.Options{Window: tiwtest.Sliding},
			bursts: []burst{{0, 20}, {900 * ms, 20}, {1800 * ms, 20}, {2700 * ms, 20}}, accepted: []int{20, 0, 0, 0},
			peaks: [4]int{40, 40, 20, 20}},
		{name: "RejectedFree: rejected requests do not count",
			opt:    tiwtest.Options{Window: tiwtest.Sliding, RejectedFree: true},
			bursts: []burst{{0, 20}, {500 * ms, 10}, {1000 * ms, 20}}, accepted: []int{20, 0, 20},
			peaks: [4]int{30, 30, 20, 20}},
		{name: "Limit", opt: tiwtest.Options{Limit: 3}, bursts: []burst{{0, 5}}, accepted: []int{3},
			peaks: [4]int{5, 5, 3, 3}},
		{name: "no limit", opt: tiwtest.Options{Limit: -1}, bursts: []burst{{0, 50}}, accepted: []int{50},
			peaks: [4]int{50, 50, 50, 50}},
		{name: "ForeignLoad counts in a calendar second",
			opt:    tiwtest.Options{Faults: tiwtest.Faults{ForeignLoad: 10}},
			bursts: []burst{{500 * ms, 20}, {1000 * ms, 0}, {1990 * ms, 20}}, accepted: []int{15, 0, 10},
			peaks: [4]int{20, 20, 15, 15}},
		{name: "ForeignLoad counts in a sliding second",
			opt:    tiwtest.Options{Window: tiwtest.Sliding, Faults: tiwtest.Faults{ForeignLoad: 10}},
			bursts: []burst{{500 * ms, 5}, {1450 * ms, 20}}, accepted: []int{5, 5}, peaks: [4]int{20, 25, 5, 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			accepted, srv := sendBursts(t, test.opt, test.bursts...)
			if d := cmp.Diff(test.accepted, accepted); d != "" {
				t.Errorf("accepted (-want +got):\n%s", d)
			}
			a := srv.State().Actions[create]
			got := [4]int{a.Received.CalendarSecond.Requests, a.Received.SlidingSecond.Requests,
				a.Accepted.CalendarSecond.Requests, a.Accepted.SlidingSecond.Requests}
			if got != test.peaks {
				t.Errorf("peak seconds are %v, want %v", got, test.peaks)
			}
			sent, ok := 0, 0
			for i, b := range test.bursts {
				sent += b.requests
				ok += test.accepted[i]
			}
			if a.Received.Requests != int64(sent) || a.Accepted.Requests != int64(ok) || a.Rejected != int64(sent-ok) {
				t.Errorf("State() has %d received, %d accepted, %d rejected, want %d, %d and the rest",
					a.Received.Requests, a.Accepted.Requests, a.Rejected, sent, ok)
			}
		})
	}
}

func TestQuotaPerSecretIDAndAction(t *testing.T) {
	clk := newClock(time.Unix(1760000000, 0))
	srv := newServer(t, tiwtest.Options{
		Clock: clk.now, Limit: 2, Credentials: map[string]tiwtest.Secret{"a": "k", "b": "k"},
	})
	codes := func(id, action, body string) (codes []string) {
		c := newCaller("h")
		c.id, c.key, c.now = id, "k", clk.now
		for range 3 {
			codes = append(codes, serve(t, srv, c.request(t, action, body)).code())
		}
		return codes
	}
	want := []string{"OK", "OK", "RequestLimitExceeded"}
	if d := cmp.Diff(want, codes("a", create, room7)); d != "" {
		t.Errorf("first secret id (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want, codes("b", create, room7)); d != "" {
		t.Errorf("second secret id (-want +got):\n%s", d)
	}
	want[0], want[1] = "InvalidParameter.TaskNotFound", "InvalidParameter.TaskNotFound"
	if d := cmp.Diff(want, codes("a", describe, `{"TaskID":"x","SdkAppId":1}`)); d != "" {
		t.Errorf("second action (-want +got):\n%s", d)
	}
	codes("nobody", create, room7)
	a := srv.State().Actions[create]
	if a.Received.Requests != 6 || a.Received.CalendarSecond.Requests != 3 {
		t.Errorf("received %+v, want both secret ids in the sum, one in the peak second, the unknown one in neither",
			a.Received)
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
			serve(t, srv, c.request(t, create, room7))
		}
		a := serve(t, srv, c.request(t, create, room7))
		if a.Error == nil || !strings.Contains(a.Error.Message, test.want) {
			t.Errorf("language %q: got %+v, want %q", test.language, a.Error, test.want)
		}
	}
}

// The peak seconds are compared with those of a quadratic algorithm.
func TestPeakSeconds(t *testing.T) {
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
			if serve(t, srv, c.request(t, create, room7)).code() == "OK" {
				accepted = append(accepted, clk.ns.Load())
			}
		}
		a := srv.State().Actions[create]
		for _, f := range []struct {
			name  string
			flow  tiwtest.Flow
			times []int64
		}{{"received", a.Received, received}, {"accepted", a.Accepted, accepted}} {
			calendar, sliding := quadraticPeaks(f.times)
			want := tiwtest.Flow{Requests: int64(len(f.times)), CalendarSecond: calendar, SlidingSecond: sliding}
			if d := cmp.Diff(want, f.flow, cmpopts.IgnoreFields(tiwtest.Peak{}, "BeginNs")); d != "" {
				rt.Fatalf("%s (-want +got):\n%s", f.name, d)
			}
		}
		peak := a.Accepted.CalendarSecond.Requests
		if window == tiwtest.Sliding {
			peak = a.Accepted.SlidingSecond.Requests
		}
		if peak > 4 {
			rt.Fatalf("%d requests were accepted in a %s second, want at most 4", peak, window)
		}
	})
}

func quadraticPeaks(times []int64) (calendar, sliding tiwtest.Peak) {
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
